"""Every key of every table is built and parsed here, nowhere else."""

from hashlib import sha256

from chalicelib.core.capacity import name_pool

INSTALLATION = "INSTALLATION"
ACCOUNT = "ACCOUNT"
CATALOG = "CATALOG"
ENROLMENT = "ENROLMENT"
HOST = "HOST"
HEARTBEAT = "HEARTBEAT"
RENTAL = "RENTAL"
RESERVATION = "RESERVATION"
CALENDAR_HEAD = "HEAD"
LOG = "LOG"
WORKLOAD = "WORKLOAD"
LINE = "LINE"
QUOTA = "QUOTA"
POOLS = "POOLS"
POOL_STATE = "STATE"
LAUNCH = "LAUNCH"
OPEN_PREFIX = "OPEN#"
ENDED_PREFIX = "ENDED#"
TICKET_PREFIX = "TICKET#"
METER_PREFIX = "METER#"
DUPLICATES = "DUPLICATES"
JOURNAL = "JOURNAL"
BALANCE = "BALANCE"
RESPONSE = "RESPONSE"
TEMPLATE = "TEMPLATE"
PUBLIC = "PUBLIC"
GPU_PREFIX = "GPU#"
GPU_TYPE_PREFIX = "GPU_TYPE#"
PRICE_PREFIX = "PRICE#"
AGREEMENT_PREFIX = "AGREEMENT#"
VOLUME_PRICE_PREFIX = "VOLUME_PRICE#"
ENERGY_PREFIX = "ENERGY#"
COMMAND_PREFIX = "COMMAND#"
#: The last instant that 13 digits can name, in the year 2286.
LAST_MS = 10**13 - 1
HOLD_PREFIX = "HOLD#"
ENTRY_PREFIX = "ENTRY#"
NUMBERS = "NUMBERS"
BILLING_DETAILS = "DETAILS"
SEALS = "SEALS"
TAMPERING = "TAMPERING"
TOP_UP = "TOP_UP"
KEY = "KEY"
CUSTOMER = "CUSTOMER"
ORDER_PREFIX = "ORDER#"
EVENT = "EVENT"
STRIPE_CURSOR = "STRIPE_CURSOR"
MOVEMENT = "MOVEMENT"
RECONCILED = "RECONCILED"
UNMATCHED = "UNMATCHED"
WATCH = "WATCH"
WINDOW = "WINDOW"
OPEN_WINDOWS = "OPEN"
POOL_TOTALS_PREFIX = "POOL#"
BOOKING_PREFIX = "BOOKING#"
ENDPOINTS = "ENDPOINTS"
BUCKET = "BUCKET"
EVENT_PREFIX = "EVENT#"


def account(account_id: str) -> str:
    return f"ACCOUNT#{account_id}"


def read_account(key: str) -> str:
    """Return the id of a key of `account`."""
    return key.removeprefix("ACCOUNT#")


def event(event_id: str) -> str:
    """Sorts by time, as event ids do."""
    return f"{EVENT_PREFIX}{event_id}"


def read_event(key: str) -> str:
    """Return the id of a key of `event`."""
    return key.removeprefix(EVENT_PREFIX)


def api_key(key_id: str) -> str:
    return f"KEY#{key_id}"


def read_api_key(key: str) -> str:
    """Return the id of a key of `api_key`."""
    return key.removeprefix("KEY#")


def issuer(account_id: str, issuer_id: str) -> str:
    return f"ISSUER#{account_id}#{issuer_id}"


def gpu_type(name: str) -> str:
    return f"{GPU_TYPE_PREFIX}{name}"


def price(gpu_type_name: str, region: str, billing_class: str) -> str:
    return f"{PRICE_PREFIX}{gpu_type_name}#{region}#{billing_class}"


def volume_price(region: str) -> str:
    return f"{VOLUME_PRICE_PREFIX}{region}"


def agreement(account_id: str) -> str:
    return f"{AGREEMENT_PREFIX}{account_id}"


def price_history(gpu_type_name: str, region: str, billing_class: str) -> str:
    return f"PRICES#{gpu_type_name}#{region}#{billing_class}"


def price_point(from_ms: int, version: int | None = None) -> str:
    """Sorts by instant, then version; without a version, before every point of that instant."""
    return f"{from_ms:013d}" if version is None else f"{from_ms:013d}#{version:012d}"


def template(template_id: str) -> str:
    return f"TEMPLATE#{template_id}"


def enrolment(enrolment_id: str) -> str:
    return f"ENROLMENT#{enrolment_id}"


def host(host_id: str) -> str:
    return f"HOST#{host_id}"


def read_host(key: str) -> str:
    """Return the id of a key of `host`."""
    return key.removeprefix("HOST#")


def gpu(gpu_uuid: str) -> str:
    return f"{GPU_PREFIX}{gpu_uuid}"


def pool(gpu_type_name: str, region: str) -> str:
    """The index key under which schedulable hosts of one GPU type and region are found."""
    return name_pool(gpu_type_name, region)


def closed_pool(gpu_type_name: str, region: str) -> str:
    """The index key of the hosts of that pool that get nothing new."""
    return f"CLOSED#{gpu_type_name}#{region}"


def region(name: str) -> str:
    return f"REGION#{name}"


def totals(region_name: str) -> str:
    return f"TOTALS#{region_name}"


def pool_totals(gpu_type_name: str, shard: int | None = None) -> str:
    """Without a shard: what the keys of all shards begin with."""
    return f"{POOL_TOTALS_PREFIX}{gpu_type_name}#{'' if shard is None else shard}"


def read_pool_totals(key: str) -> str:
    """Return the GPU type of a key of `pool_totals`."""
    return key.removeprefix(POOL_TOTALS_PREFIX).rpartition("#")[0]


def pool_score(gpu_type_name: str) -> str:
    return f"SCORE#{gpu_type_name}"


def incidents(month: str) -> str:
    return f"INCIDENTS#{month}"


def read_open_window(cursor: str) -> dict[str, dict[str, str]] | None:
    """Return where a listing of open windows goes on after a key of `created`; ``None`` for no such key."""
    due_at_ms, _, window_id = cursor.partition("#")
    if not (due_at_ms.isdigit() and len(due_at_ms) == len(created(0, "")) - 1 and window_id):
        return None
    return {
        "pk": {"S": window(window_id)},
        "sk": {"S": WINDOW},
        "open_key": {"S": OPEN_WINDOWS},
        "due_at_ms": {"N": str(int(due_at_ms))},
    }


def window(window_id: str) -> str:
    return f"WINDOW#{window_id}"


def reservable_pool(gpu_type_name: str, region: str) -> str:
    """The index key of the hosts of that pool that are kept for reservations, and lent to spot."""
    return f"RESERVABLE#{gpu_type_name}#{region}"


def fabric(fabric_id: str) -> str:
    """The hosts that one network joins."""
    return f"FABRIC#{fabric_id}"


def command(command_id: str) -> str:
    return f"{COMMAND_PREFIX}{command_id}"


def line(pool_name: str) -> str:
    """The line before a pool: its tickets and its count."""
    return f"LINE#{pool_name}"


def ticket(ticket_key: str) -> str:
    return f"{TICKET_PREFIX}{ticket_key}"


def spot_stays(pool_name: str) -> str:
    return f"SPOT#{pool_name}"


def spot_stay(host_id: str, rental_id: str) -> str:
    return f"{host_id}#{rental_id}"


def spread(account_id: str, group: str) -> str:
    return f"SPREAD#{account_id}#{group}"


def scaling_pool(pool_name: str) -> str:
    """A pool's minute and its launches."""
    return f"POOL#{pool_name}"


def launch(launch_id: str, *, ended: bool) -> str:
    return f"{ENDED_PREFIX if ended else OPEN_PREFIX}{launch_id}"


def meter(segment: int) -> str:
    return f"{METER_PREFIX}{segment:04d}"


def rental(rental_id: str) -> str:
    return f"RENTAL#{rental_id}"


def reservation(reservation_id: str) -> str:
    return f"RESERVATION#{reservation_id}"


def booking(host_id: str) -> str:
    return f"{BOOKING_PREFIX}{host_id}"


def calendar(host_id: str) -> str:
    return f"CALENDAR#{host_id}"


def day(name: str) -> str:
    """``name`` is ``yyyy-mm-dd``, UTC."""
    return f"DAY#{name}"


def created(created_at_ms: int, entity_id: str) -> str:
    """Sorts by creation time; the id makes it unique."""
    return f"{created_at_ms:013d}#{entity_id}"


def energy(hour: str, gpu_uuid: str, epoch: int) -> str:
    """The epoch tells the stays of a rental on one GPU apart."""
    return f"{ENERGY_PREFIX}{hour}#{gpu_uuid}#{epoch}"


def capture_unit(host_id: str, unit_id: str) -> str:
    return f"CAPTURE#{host_id}#{unit_id}"


def read_datapoint(key: str) -> tuple[int, str, str]:
    """Return instant, sensor and quantity of a key of `datapoint`."""
    sampled_at_ms, rest = key.split("#", 1)
    sensor_id, _, quantity = rest.rpartition("#")
    return int(sampled_at_ms), sensor_id, quantity


def datapoint(sampled_at_ms: int, sensor_id: str, quantity: str) -> str:
    """Sorts by the instant of the reading."""
    return f"{sampled_at_ms:013d}#{sensor_id}#{quantity}"


def telemetry_boot(host_id: str, boot_id: str) -> str:
    return f"HOST#{host_id}#BOOT#{boot_id}"


def sequence(seq: int) -> str:
    return f"{seq:016d}"


def telemetry_parts(host_id: str, boot_id: str) -> str:
    """Apart from the records, so that whoever lists a boot's records finds nothing else."""
    return f"PARTS#{host_id}#BOOT#{boot_id}"


def telemetry_part(seq: int, number: int) -> str:
    return f"{sequence(seq)}#{number:04d}"


def journal(source: str, source_id: str) -> str:
    return f"JOURNAL#{source}#{source_id}"


def tampering(event_id: str) -> str:
    return f"TAMPERING#{event_id}"


def journal_of(journal_key: str) -> str:
    """The key of the journal that a leg names."""
    return f"JOURNAL#{journal_key}"


def chain(account_id: str) -> str:
    """All legs of a customer, of whichever purse."""
    return f"LEGS#cust:{account_id}"


def legs(ledger_account: str) -> str:
    return f"LEGS#{ledger_account}"


def leg_version(version: int) -> str:
    return f"{version:012d}"


def entry(version: int) -> str:
    """Sorts by the chain."""
    return f"{ENTRY_PREFIX}{version:012d}"


def read_entry(key: str) -> int:
    """Return the version of a key of `entry`."""
    return int(key.removeprefix(ENTRY_PREFIX))


def statement_numbers(year: str) -> str:
    return f"NUMBERS#{year}"


def top_up(top_up_id: str) -> str:
    return f"TOP_UP#{top_up_id}"


def order(account_id: str) -> str:
    return f"{ORDER_PREFIX}{account_id}"


def read_order(key: str) -> str:
    """Return the account of a key of `order`."""
    return key.removeprefix(ORDER_PREFIX)


def top_up_key(account_id: str, key: str) -> str:
    """A digest: what a client chose may be anything, and stands here for ever."""
    return f"ACCOUNT#{account_id}#{sha256(key.encode()).hexdigest()}"


def movement(movement_id: str) -> str:
    return f"MOVEMENT#{movement_id}"


def hold(hold_id: str) -> str:
    return f"{HOLD_PREFIX}{hold_id}"


def idempotency(account_id: str, key: str) -> str:
    return f"ACCOUNT#{account_id}#{key}"


def bucket(name: str) -> str:
    """``name``: scope, identity and cost class of a rate limit, or of what mails are counted by."""
    return f"BUCKET#{name}"
