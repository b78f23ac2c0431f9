"""A host with a capture unit whose day is over, and two tenants and the platform that warmed it."""

from dataclasses import replace

from chalicelib.core.capacity import PLATFORM
from chalicelib.core.clock import format_hour
from chalicelib.metering.model import CaptureDatapoint, SiteUse
from chalicelib.removals.accounting import Component
from chalicelib.removals.model import Window
from chalicelib.removals.retiring import SellCredits, issue_credits, sell_credits
from chalicelib.removals.service import DrawStatement, draw_statement, submit_statement, verify_statement
from tests.factories import add_renter, seed_cloud
from tests.unit.removals.plant import DAY_MS, START, read_plant

DAY = "2027-01-15"
UNIT = "dac-1"
LOSS = Component("loss", 1_000, 100, "piping")


def warm(cloud, host_id, energies, at_ms):
    tx = cloud.db.begin()
    uses = [
        SiteUse(account_id, f"rnt_{account_id}", 1, energy, 0, 0) for account_id, energy in energies.items()
    ]
    cloud.meters.store.add_site_energy(tx, host_id, format_hour(at_ms), uses)
    tx.commit()


def keep(cloud, host_id, points):
    for each in points:
        point = CaptureDatapoint(
            UNIT,
            each.sensor_id,
            each.quantity,
            each.value,
            each.standard_deviation,
            each.unit,
            each.sampled_at_ms,
        )
        assert cloud.meters.store.keep_datapoint(host_id, point, each.received_at_ms)


class Site:
    """``a`` and ``b`` used 2 and 1 parts of the GPUs' energy, nobody 1 part."""

    def __init__(self):
        self.seeded = seed_cloud()
        self.cloud, self.operator = self.seeded.cloud, self.seeded.operator
        self.ports, self.db = self.cloud.removals, self.cloud.db
        self.a = self.seeded.renter.account_id
        self.b = add_renter(self.seeded, name="b").account_id
        (self.host_id,) = self.db.table("hosts")
        self.window = Window(self.host_id, UNIT, DAY)
        self.cloud.clock.value_ms = START + DAY_MS + 3_600_000
        self.warm({self.a: 100 * 10**9 + 3, self.b: 50 * 10**9, PLATFORM: 50 * 10**9})
        self.tell(read_plant(step_ms=300_000))

    def warm(self, energies, hour=5):
        warm(self.cloud, self.host_id, energies, START + hour * 3_600_000)

    def tell(self, points):
        keep(self.cloud, self.host_id, points)

    def tell_late(self):
        """Another pair of meters that nobody had read yet: more was captured."""
        more = [
            replace(each, sensor_id=f"{each.sensor_id}b")
            for each in read_plant(step_ms=300_000)
            if each.quantity in ("gas_mass_flow", "co2_mass_fraction", "tank_mass")
        ]
        self.tell(more)

    def draw(self, *additions, **more):
        return draw_statement(
            self.ports, self.operator, DrawStatement(self.window, additions or (LOSS,), **more)
        )

    def submit(self, revision=1):
        return submit_statement(self.ports, self.operator, self.window, revision)

    def verify(self, revision=1, evidence="report 7"):
        return verify_statement(self.ports, self.operator, self.window, revision, evidence)

    def issue(self, revision=1, buffer_ppm=50_000):
        return issue_credits(self.ports, self.operator, self.window, revision, buffer_ppm)

    def issue_all(self):
        """From the records to a batch."""
        revision = self.draw().revision
        self.submit(revision)
        self.verify(revision)
        return self.issue(revision)

    def sell(self, serial, mass_mg, key="sale", buyer="Buyer Ltd"):
        command = SellCredits(
            serial, buyer, mass_mg, key, f"{buyer} {mass_mg}", lambda certificate: certificate.serial
        )
        return sell_credits(self.ports, self.operator, command)

    def batch(self, serial):
        return self.ports.certificates.get_batch(serial)

    def audit(self, *actions):
        return [each for each in self.db.table("audit").values() if each.action in actions]
