"""Who is given how much of a captured mass: by heat that their GPUs gave, to the milligram. Pure."""

from collections.abc import Mapping

from chalicelib.core.capacity import PLATFORM


def allocate(mass_mg: int, energy_millijoules: Mapping[str, int]) -> dict[str, int]:
    """Return each tenant's milligrams: ``mass_mg * energy / sum`` by the largest remainder.

    They sum to the mass. Equal remainders go by tenant id, so the order in which energy came in changes
    nothing. What no heat stands against is the platform's.

    Raises:
        ValueError: a mass or an energy is negative.
    """
    if mass_mg < 0 or any(energy < 0 for energy in energy_millijoules.values()):
        raise ValueError("neither mass nor energy is negative")
    total = sum(energy_millijoules.values())
    if total == 0:
        return {PLATFORM: mass_mg}
    parts = {tenant: divmod(mass_mg * energy, total) for tenant, energy in sorted(energy_millijoules.items())}
    given = {tenant: whole for tenant, (whole, _) in parts.items()}
    left = mass_mg - sum(given.values())
    # Sorting is stable, and the tenants are in their order.
    for tenant in sorted(parts, key=lambda each: -parts[each][1])[:left]:
        given[tenant] += 1
    return given
