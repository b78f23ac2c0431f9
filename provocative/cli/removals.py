"""Verbs of captured CO2: what is the account's, what stands behind a serial, and the operators' acts."""

from typing import Annotated, Literal

import typer

from provocative.cli import options
from provocative.cli.output import Column, print_table
from provocative.cli.parsing import given
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.models import Listing, Page
from provocative.removal_models import Certificate, CreditBatch, Proof, Removal, RemovalAction, RemovalShare

_Host = Annotated[str, typer.Argument(metavar="HOST", help="hst_….")]
_Unit = Annotated[str, typer.Argument(metavar="UNIT", help="As its host names it.")]
_Day = Annotated[str, typer.Argument(metavar="DAY", help="yyyy-mm-dd, UTC.")]
_Serial = Annotated[str, typer.Argument(metavar="SERIAL", help="PC-….")]
_Action = Annotated[Literal["submit", "verify", "fail", "issue"], typer.Argument(metavar="ACTION")]
_Revision = Annotated[int, typer.Option("--revision", min=1, help="The one that was looked at.")]
_Evidence = Annotated[str | None, typer.Option("--evidence", help="Of verify and fail: what it rests on.")]
_Buffer = Annotated[int | None, typer.Option("--buffer-ppm", min=0, help="Of issue: kept for reversals.")]
_Mass = Annotated[int, typer.Argument(metavar="MILLIGRAMS", min=1)]
_Who = Annotated[str, typer.Argument(metavar="NAME")]


def register(app: typer.Typer) -> None:
    nested = group(app, "removals", "Captured CO2: shares, certificates, statements.", removals)
    for each in (certificate, draw, show, act, sell, allocate, split, retire):
        verb(nested)(each)


def removals(session: Session) -> None:
    """List what of captured CO2 is the account's, newest day first."""
    session.show(session.client.removals.list_shares(), show_shares)


def certificate(session: Session, serial: _Serial) -> None:
    """Show what stands behind a certificate or a batch, and whether its register is unbroken."""
    session.show(session.client.removals.prove(serial), show_proof)


def draw(session: Session, host_id: _Host, unit_id: _Unit, day: _Day) -> None:
    """Draw a unit's day from its records as they are now."""
    session.show(session.client.removals.draw(host_id, unit_id, day, {}), show_removal)


def show(session: Session, host_id: _Host, unit_id: _Unit, day: _Day) -> None:
    """Show the latest revision of a unit's day."""
    session.show(session.client.removals.read(host_id, unit_id, day), show_removal)


def act(
    session: Session,
    host_id: _Host,
    unit_id: _Unit,
    day: _Day,
    action: _Action,
    *,
    revision: _Revision,
    evidence: _Evidence = None,
    buffer_ppm: _Buffer = None,
) -> None:
    """Submit a revision, verify or fail it with evidence, or issue credits for it."""
    body: RemovalAction = given(action=action, revision=revision, evidence=evidence, buffer_ppm=buffer_ppm)
    session.show(session.client.removals.act(host_id, unit_id, day, body), show_removal)


def sell(session: Session, batch: _Serial, buyer: _Who, mass_mg: _Mass) -> None:
    """Cut a certificate for a buyer from what is free of a batch."""
    session.show(session.client.removals.sell(batch, buyer, mass_mg), show_certificate)


def allocate(session: Session, batch: _Serial) -> None:
    """Share out what is left of a batch among those whose GPUs gave the heat."""
    session.show(session.client.removals.allocate(batch), show_batch)


def split(session: Session, serial: _Serial, first_mg: _Mass) -> None:
    """Cut a certificate in two."""
    session.show(session.client.removals.split(serial, first_mg), show_certificates)


def retire(session: Session, serial: _Serial, beneficiary: _Who, *, yes: options.Yes = False) -> None:
    """Retire a certificate for a beneficiary, for ever and in public."""
    session.confirm(f"Retire {serial} for {beneficiary}?", yes=yes)
    session.show(session.client.removals.retire(serial, beneficiary), show_certificates)


def show_shares(page: Page[RemovalShare]) -> None:
    columns = [Column("DAY"), Column("MG", right=True), Column("STATE"), Column("CERTIFICATE")]
    rows = [
        [each["day"], str(each["mass_mg"]), each["state"], each["serial"] or "-"] for each in page["items"]
    ]
    print_table(columns, rows, empty="Nothing was captured by the account's heat.")


def show_removal(found: Removal) -> None:
    typer.echo(f"{found['day']} revision {found['revision']} is {found['state']}.")
    typer.echo(f"{found['gross_mg']} mg gross, {found['net_mg']} mg net,")
    typer.echo(f"{found['credited_mg']} mg credited, {found['due_mg']} mg due.")
    for component in found["components"]:
        if component["estimated"]:
            share = f"{component['annual_ppm'] / 10_000:.1f} %"
            typer.echo(
                f"estimated: {component['kind']} of {component['mass_mg']} mg, {share} by an annual figure"
            )
    for each in found["findings"]:
        typer.echo(f"{each['severity']}: {each['code']}")
        typer.echo(f"  {each['detail']}")
    if found["serial"]:
        typer.echo(f"Issued as {found['serial']}.")


def show_batch(found: CreditBatch) -> None:
    typer.echo(f"{found['serial']}: {found['issued_mg']} mg issued,")
    typer.echo(f"{found['allocated_mg']} allocated, {found['sold_mg']} sold, {found['buffer_mg']} kept,")
    typer.echo(f"{found['free_mg']} free, {found['retired_mg']} retired.")


def show_certificate(found: Certificate) -> None:
    for_whom = f" for {found['beneficiary']}" if found["beneficiary"] else ""
    typer.echo(f"{found['serial']}: {found['mass_mg']} mg, {found['state']}{for_whom}.")


def show_certificates(found: Listing[Certificate]) -> None:
    for each in found["items"]:
        show_certificate(each)


def show_proof(found: Proof) -> None:
    if found["certificate"] is not None:
        show_certificate(found["certificate"])
    show_batch(found["batch"])
    typer.echo(f"register: {found['register_fault'] or 'unbroken'}, {len(found['entries'])} entries")
