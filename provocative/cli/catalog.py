"""Verbs of the catalogue: offers, prices, GPU types."""

from typing import Annotated, Any

import typer

from provocative.cli import carbon_views, options
from provocative.cli.flexible import show_saving
from provocative.cli.output import (
    Column,
    format_instant,
    format_memory,
    format_micros,
    print_line,
    print_table,
)
from provocative.cli.paging import fetch_page
from provocative.cli.parsing import given, parse_duration, parse_instant, parse_mib, parse_money, parse_share
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.cli.views import show_history, show_offers, show_points, show_starts
from provocative.requests import GpuTypeRequest, PriceRequest

_SpotShare = Annotated[
    int | None,
    typer.Option(metavar="SHARE", parser=parse_share, help="Of the on-demand price, such as 30%."),
]


_Signal = Annotated[str | None, typer.Option("--signal", metavar="SIGNAL", help="average or marginal.")]


def register(app: typer.Typer) -> None:
    verb(app)(offers)
    prices = group(app, "prices", "Prices that were ever set or announced; operators set them.")
    verb(prices)(history)
    verb(prices, "set")(set_price)
    verb(prices, "volumes")(list_volume_prices)
    verb(prices, "set-volume")(set_volume_price)
    carbon = group(app, "carbon", "What the grid of a region emits for each kWh.")
    verb(carbon, "intensity")(show_intensity)
    verb(carbon, "forecast")(show_forecast)
    verb(carbon, "best-start")(show_best_start)
    verb(carbon, "methodology")(show_methodology)
    verb(carbon, "saving")(show_saving)
    types = group(app, "gpu-types", "What operators sell.")
    verb(types, "set")(set_gpu_type)


def offers(
    session: Session,
    *,
    gpu_type: options.GpuType = None,
    gpus: options.GpuCount = None,
    region: options.Region = None,
    billing_class: options.Class = None,
    max_price: options.MaxPrice = None,
    min_memory: options.MinMemory = None,
    max_intensity: options.MaxIntensity = None,
    min_reliability: options.MinReliability = None,
    sort: Annotated[
        str | None,
        typer.Option("--sort", metavar="BY", help="price, -price, availability, carbon or reliability."),
    ] = None,
) -> None:
    """Show what can be rented now, at what price, and why something would not fit."""
    filters = given(
        gpu_type=gpu_type,
        gpu_count=gpus,
        region=region,
        billing_class=billing_class,
        max_price_micros_per_gpu_hour=max_price,
        min_memory_mib=min_memory,
        max_intensity_mg_per_kwh=max_intensity,
        min_reliability_ppm=min_reliability,
        sort=sort,
    )
    session.show(session.client.catalog.list_offers(**filters), lambda body: show_offers(body["items"]))


def history(
    session: Session,
    gpu_type: options.GpuTypeName,
    region: options.RegionName,
    *,
    billing_class: options.Class = None,
    from_: options.From = None,
    to: options.To = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """Show the prices of a GPU type in a region, newest first."""
    page = fetch_page(
        session.client.catalog.list_price_history,
        limit=limit,
        cursor=cursor,
        everything=everything,
        gpu_type=gpu_type,
        region=region,
        billing_class=billing_class,
        from_=from_,
        to=to,
    )
    session.show(page, show_history)
    if page.get("next_cursor"):
        session.say(f"There are more: --all, or --cursor {page['next_cursor']}")


def show_intensity(
    session: Session,
    region: options.RegionName,
    *,
    signal: _Signal = None,
    from_: options.From = None,
    to: options.To = None,
) -> None:
    """Show what is known of a region's grid, with its source; the last day by itself."""
    found = session.client.catalog.list_intensity(region=region, signal=signal, from_=from_, to=to)
    session.show(found, lambda body: show_points(body["items"]))


def show_forecast(
    session: Session,
    region: options.RegionName,
    *,
    signal: _Signal = None,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="INSTANT", parser=parse_instant, help="As it was known then."),
    ] = None,
) -> None:
    """Show what the providers forecast of a region's grid."""
    found = session.client.catalog.list_forecasts(region=region, signal=signal, at=at)
    session.show(found, lambda body: show_points([p for each in body["items"] for p in each["points"]]))


def show_best_start(
    session: Session,
    region: options.RegionName,
    *,
    duration: Annotated[
        int, typer.Option(metavar="DURATION", parser=parse_duration, help="How long it runs, such as 6h.")
    ],
    deadline: Annotated[
        str, typer.Option(metavar="INSTANT", parser=parse_instant, help="By when it is done, such as +24h.")
    ],
    earliest: Annotated[
        str | None, typer.Option(metavar="INSTANT", parser=parse_instant, help="Not before; else now.")
    ] = None,
    elsewhere: Annotated[
        list[str] | None,
        typer.Option("--or-region", metavar="REGION", help="Where it may run too; repeat for more."),
    ] = None,
    gpu_type: Annotated[
        str | None, typer.Option("--gpu-type", "-g", metavar="NAME", help="Show, and cap, its price.")
    ] = None,
    max_price: options.MaxPrice = None,
    signal: _Signal = None,
) -> None:
    """Rank when and where work of some hours starts best, by what is forecast of the grids."""
    found = session.client.catalog.list_best_starts(
        region=region,
        duration_seconds=duration,
        deadline=deadline,
        earliest=earliest,
        regions=[region, *elsewhere] if elsewhere else [],
        gpu_type=gpu_type,
        max_price_micros_per_gpu_hour=max_price,
        signal=signal,
    )
    session.show(found, show_starts)


def show_methodology(session: Session) -> None:
    """Show by which formulas and sources energy, emissions and removals are counted."""
    session.show(session.client.catalog.read_methodology(), carbon_views.show_methodology)


def set_price(
    session: Session,
    gpu_type: options.GpuTypeName,
    region: options.RegionName,
    price: Annotated[
        int, typer.Argument(metavar="AMOUNT", parser=parse_money, help="Per GPU and hour, such as 2.49.")
    ],
    *,
    billing_class: options.Class = None,
    from_: options.From = None,
    spot_floor: _SpotShare = None,
    spot_cap: _SpotShare = None,
) -> None:
    """Set a price, from now or from an instant to come. Running rentals keep theirs."""
    request: PriceRequest = given(
        price_micros_per_gpu_hour=price,
        billing_class=billing_class,
        effective_from=from_,
        spot_floor_ppm=spot_floor,
        spot_cap_ppm=spot_cap,
    )

    def render(body: Any) -> None:
        amount = format_micros(body["price_micros_per_gpu_hour"])
        where = f"{body['gpu_type']} in {body['region']}, {body['billing_class']}"
        print_line(f"{where}: {amount} per GPU-hour from {format_instant(body['effective_from'])}.")

    session.show(session.client.catalog_desk.put_price(gpu_type, region, request), render)


def list_volume_prices(session: Session) -> None:
    """Show what a GiB of a stopped rental's volume costs an hour; what is not listed is free."""

    def render(body: Any) -> None:
        columns = [Column("REGION", rank=1), Column("PER GIB-HOUR", rank=1, right=True)]
        rows = [
            (each["region"], format_micros(each["price_micros_per_gib_hour"], each["currency"]))
            for each in body["items"]
        ]
        print_table(columns, rows, empty="Volumes cost nothing anywhere.")

    session.show(session.client.catalog.list_volume_prices(), render)


def set_volume_price(
    session: Session,
    region: options.RegionName,
    price: Annotated[
        int, typer.Argument(metavar="AMOUNT", parser=parse_money, help="Per GiB and hour, such as 0.0001.")
    ],
) -> None:
    """Set what volumes of rentals cost, while they are stopped, that are placed from now on."""

    def render(body: Any) -> None:
        amount = format_micros(body["price_micros_per_gib_hour"], body["currency"])
        print_line(f"{body['region']}: {amount} per GiB-hour of a stopped rental's volume.")

    session.show(session.client.catalog_desk.put_volume_price(region, price), render)


def set_gpu_type(
    session: Session,
    gpu_type: options.GpuTypeName,
    *,
    architecture: Annotated[str, typer.Option(metavar="NAME", help="Such as Hopper.")],
    memory: Annotated[int, typer.Option(metavar="SIZE", parser=parse_mib, help="Such as 81559MiB.")],
    power: Annotated[int, typer.Option(metavar="WATTS", help="The limit of one GPU.")],
    interconnect: Annotated[
        str | None, typer.Option(metavar="KIND", help="nvswitch, nvlink, pcie or none.")
    ] = None,
    mig_profile: Annotated[str | None, typer.Option(metavar="PROFILE", help="Such as 1g.10gb.")] = None,
    parent: Annotated[str | None, typer.Option(metavar="GPU_TYPE", help="Whose slices these are.")] = None,
) -> None:
    """Create or replace a GPU type."""
    request: GpuTypeRequest = given(
        architecture=architecture,
        memory_mib=memory,
        power_limit_watts=power,
        interconnect=interconnect,
        mig_profile=mig_profile,
        parent_gpu_type=parent,
    )

    def render(body: Any) -> None:
        print_line(
            f"{body['gpu_type']}: {body['architecture']}, {format_memory(body['memory_mib'])}, "
            f"{body['power_limit_watts']} W, {body['interconnect']}"
        )

    session.show(session.client.catalog_desk.put_gpu_type(gpu_type, request), render)
