"""A plant that does the same all day: 1 kg of gas of 95 %, a cycle, 2 kWh of heat and 0.65 of power an
hour.
"""

from chalicelib.removals.measuring import UNITS, Datapoint

DAY_MS = 86_400_000
#: 2027-01-15T00:00:00Z.
START = 1_799_971_200_000
STEP_MS = 60_000
HOUR_MS = 3_600_000
HEAT_JOULES = 7_200_000
POWER_JOULES = 2_340_000


def tell(sensor, quantity, value, at_ms, *, deviation=0, unit=None):
    return Datapoint(sensor, quantity, value, deviation, unit or UNITS[quantity], at_ms, at_ms)


def read_plant(*, start_ms=START, step_ms=STEP_MS, days=1):
    """Return its readings of a day, from one before it to one at its end."""
    points = []
    for at_ms in range(start_ms - step_ms, start_ms + days * DAY_MS + 1, step_ms):
        since_ms = at_ms - start_ms + step_ms
        points += [
            tell("FT-1", "gas_mass_flow", 1_000_000, at_ms, deviation=10_000),
            tell("AT-1", "co2_mass_fraction", 950_000_000, at_ms, deviation=10_000_000),
            tell("QT-1", "heat", since_ms * HEAT_JOULES // HOUR_MS, at_ms),
            tell("ET-1", "electricity", since_ms * POWER_JOULES // HOUR_MS, at_ms),
            tell("CY-1", "cycle", since_ms // HOUR_MS, at_ms),
            tell("WT-1", "tank_mass", since_ms * 950 // HOUR_MS, at_ms, deviation=500),
        ]
    return points
