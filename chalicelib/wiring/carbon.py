"""Grid intensity: which providers the stage has keys for."""

import json
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.payments import LOCAL_STAGE
from chalicelib.wiring.system import aws_client, bind_tables, clock, settings

if TYPE_CHECKING:
    from chalicelib.carbon.ports import GridPorts, IntensityProvider
    from chalicelib.runtime.secrets import CachedSecret


@cache
def grid_ports() -> "GridPorts":
    from chalicelib.carbon.ports import GridPorts
    from chalicelib.carbon.store import DynamoIntensityStore

    bind_tables()
    return GridPorts(DynamoIntensityStore(), clock(), connect_providers)


@cache
def _grid_secret() -> "CachedSecret":
    from chalicelib.runtime.secrets import CachedSecret

    return CachedSecret(aws_client("secretsmanager"), settings().grid_secret_id, clock())


def connect_providers() -> "Mapping[str, IntensityProvider]":
    """A provider is asked where the secret has an object under its name."""
    found: dict[str, dict[str, Any]] = json.loads(_grid_secret().read())
    local = settings().stage == LOCAL_STAGE
    return build_providers(found, local=local)


def build_providers(
    keys: Mapping[str, Mapping[str, Any]], *, local: bool
) -> "Mapping[str, IntensityProvider]":
    """``api_base``, where the simulator listens, counts on the local stage alone."""
    from chalicelib.carbon import electricity_maps_gateway, uk_intensity_gateway, watttime_gateway
    from chalicelib.carbon.grid import ELECTRICITY_MAPS, UK, WATTTIME
    from chalicelib.carbon.http_gateway import JsonFetcher

    fetch = JsonFetcher(loopback=local)

    def choose(name: str, address: str) -> str:
        return str(keys[name].get("api_base", address)) if local else address

    providers: dict[str, IntensityProvider] = {}
    if UK in keys:
        address = choose(UK, uk_intensity_gateway.ADDRESS)
        providers[UK] = uk_intensity_gateway.UkCarbonIntensity(fetch, clock(), address)
    if ELECTRICITY_MAPS in keys:
        address = choose(ELECTRICITY_MAPS, electricity_maps_gateway.ADDRESS)
        token = keys[ELECTRICITY_MAPS]["token"]
        providers[ELECTRICITY_MAPS] = electricity_maps_gateway.ElectricityMaps(fetch, clock(), token, address)
    if WATTTIME in keys:
        address = choose(WATTTIME, watttime_gateway.ADDRESS)
        username, password = keys[WATTTIME]["username"], keys[WATTTIME]["password"]
        providers[WATTTIME] = watttime_gateway.WattTime(fetch, clock(), username, password, address)
    return providers
