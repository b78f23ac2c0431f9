"""A day of a cloud for the tests of reports: a rental that runs, energy of its GPUs and of idle ones."""

from dataclasses import replace

from chalicelib.core.clock import parse_instant
from chalicelib.metering.model import HOUR_MS, UNRENTED, Interval
from chalicelib.metering.ports import TelemetryRecord
from chalicelib.metering.service import store_telemetry
from chalicelib.reporting.model import Owner, name_day
from tests.factories import REGION, seed_cloud, start

DAY_MS = 24 * HOUR_MS
FAR_MS = 10**15


class Fleet:
    """One host of eight GPUs; ``rental`` has two of them since 08:00 (the tests' first instant)."""

    def __init__(self, **seed):
        self.seeded = seed_cloud(**seed)
        self.cloud = self.seeded.cloud
        self.ports, self.db, self.clock = self.cloud.reports, self.cloud.db, self.cloud.clock
        self.rental = start(self.seeded, 2, label="train")
        self.host_id = self.rental.host_id
        self.account = Owner("account", self.rental.account_id)
        self.site = Owner("site", REGION)
        self.start_ms = self.clock.value_ms
        self.day = name_day(self.start_ms)
        self.day_ms = parse_instant(f"{self.day}T00:00:00Z")
        self.seq = 0

    def use(self, from_ms, length_ms, energy, *, lease=0, rental=None, idle=False, estimated=False):
        """Tell an interval of one GPU; return the record's arguments, to be told again."""
        rental = rental or self.rental
        used = rental.leases[lease]
        self.seq += 1
        interval = Interval(
            UNRENTED if idle else rental.rental_id,
            used.gpu_uuid,
            0 if idle else used.epoch,
            self.seq,
            final=False,
            started_at_ms=from_ms,
            ended_at_ms=from_ms + length_ms,
            energy_millijoules=energy,
            estimated=estimated,
        )
        told = TelemetryRecord(rental.host_id, "boot-1", self.seq, "{}", from_ms + length_ms), [interval]
        store_telemetry(self.cloud.meters, *told)
        return told

    def live_until(self, at_ms):
        """Prove the rental alive up to an instant."""
        meters = self.cloud.meters.store
        meter = meters.get_meter(self.rental.rental_id, 1)
        self.db.table("meters")[(self.rental.rental_id, 1)] = replace(meter, alive_through_ms=at_ms)

    def end_day(self, days=1, hours=7):
        self.clock.value_ms = self.day_ms + days * DAY_MS + hours * HOUR_MS
