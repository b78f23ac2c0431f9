"""Verbs of the audit trail: read it, have it verified, export it, check an export without the API."""

from pathlib import Path
from typing import Annotated, Any

import typer

from provocative.auditing import ExportCheck, check_export
from provocative.cli import options
from provocative.cli.fleet_views import show_audit
from provocative.cli.output import print_facts, print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import parse_instant
from provocative.cli.session import Refused, Session
from provocative.cli.verbs import group, verb
from provocative.fleet_models import AuditProof

_Target = Annotated[
    str | None, typer.Option("--target", metavar="ID", help="What it was done to: a host, a rental, a pool.")
]
_Actor = Annotated[str | None, typer.Option("--actor", metavar="ID", help="Who did it, key_… or usr_….")]
_Action = Annotated[
    str | None, typer.Option("--action", metavar="PREFIX", help="How the action begins, such as key.")
]
_Account = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="For operators: whose trail, acc_….")
]
_File = Annotated[Path, typer.Argument(metavar="FILE", dir_okay=False, help="What to write, .ndjson.")]
_Export = Annotated[
    Path, typer.Argument(metavar="FILE", dir_okay=False, exists=True, help="As export has written it.")
]
_Start = Annotated[
    str, typer.Option("--from", metavar="INSTANT", parser=parse_instant, help="Such as 2026-11-01T00:00Z.")
]
_End = Annotated[str, typer.Option("--to", metavar="INSTANT", parser=parse_instant, help="Until before it.")]
_Root = Annotated[
    str | None, typer.Option("--root", metavar="HASH", help="The anchor's root, as you have noted it.")
]


def register(app: typer.Typer) -> None:
    nested = group(app, "audit", "Who did what: list, verify, export, check an export.", audit)
    verb(nested)(verify)
    verb(nested)(export)
    verb(nested)(check)


def audit(
    session: Session,
    *,
    target: _Target = None,
    actor: _Actor = None,
    action: _Action = None,
    from_: options.From = None,
    to: options.To = None,
    account: _Account = None,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List what was done in the account, newest first; operators name --target, --actor or --account."""
    page = fetch_page(
        session.client.audit.list,
        limit=limit,
        cursor=cursor,
        everything=everything,
        target=target,
        actor=actor,
        action=action,
        from_=from_,
        to=to,
        account_id=account,
    )
    show_page(session, page, show_audit)


def verify(session: Session, *, account: _Account = None) -> None:
    """Have the whole trail verified now: entries, chain, and the last anchor; fails where one disagrees."""
    proof = session.client.audit.verify(account_id=account)
    session.show(proof, _show_proof)
    if proof["result"] != "verified":
        raise Refused(
            f"The trail of {proof['account_id']} contradicts itself: {proof['problem_count']} problems.",
            code="audit_contradicted",
        )


def export(session: Session, file: _File, *, from_: _Start, to: _End, account: _Account = None) -> None:
    """Write a period of the trail to a file, with its chain and an anchor, and check it."""
    made = session.client.audit.export(from_=from_, to=to, account_id=account)
    part = file.with_name(f"{file.name}.part")
    try:
        with part.open("wb") as output:
            for piece in session.client.audit.download(made):
                output.write(piece)
        found = _check(part, None if made["anchor"] is None else made["anchor"]["root"])
        part.replace(file)
    except OSError as error:
        raise Refused(f"{file} cannot be written: {error.strerror}.", code="not_written") from error
    finally:
        part.unlink(missing_ok=True)
    body: dict[str, Any] = {name: value for name, value in made.items() if name != "url"}
    session.show(body | {"file": str(file)}, lambda _: _show_check(found))


def check(session: Session, file: _Export, *, root: _Root = None) -> None:
    """Check an export without the API: each entry, the chain, and that the anchor holds it."""
    found = _check(file, root)
    body: dict[str, Any] = {
        "account_id": found.account_id,
        "entries": found.entries,
        "first_sequence": found.first,
        "last_sequence": found.last,
        "anchored_until": found.anchored_until,
        "waiting": found.waiting,
        "anchor_number": found.anchor_number,
        "anchor_root": found.anchor_root,
    }
    session.show(body, lambda _: _show_check(found))


def _check(file: Path, root: str | None) -> ExportCheck:
    with file.open("rb") as lines:
        found = check_export(lines, root)
    if found.problems:
        told = "; ".join(found.problems[:5])
        raise Refused(f"{file.name} proves nothing: {told}.", code="export_contradicted")
    return found


def _show_check(found: ExportCheck) -> None:
    span = f"{found.first} to {found.last}" if found.first else "none is linked"
    anchored = found.anchored_until - found.first + 1 if found.anchored_until else 0
    print_facts(
        [
            ("account", found.account_id),
            ("period", f"{found.from_} to {found.to}"),
            ("entries", f"{found.entries:,} ({span})"),
            ("anchored", f"{anchored:,}"),
            ("not linked yet", f"{found.waiting:,}"),
            ("anchor", f"{found.anchor_number}" if found.anchor_number else "none"),
            ("root", found.anchor_root or "none"),
        ]
    )


def _show_proof(proof: AuditProof) -> None:
    anchor = proof["last_anchor"]
    print_facts(
        [
            ("account", proof["account_id"]),
            ("result", proof["result"]),
            ("entries", f"{proof['links']:,}"),
            ("head", f"{proof['head_sequence']}, {proof['head_hash']}"),
            ("anchored", "not yet" if anchor is None else f"{anchor['sequence']}, {anchor['at']}"),
            ("anchor", "none" if anchor is None else f"{anchor['number']}, {anchor['root']}"),
        ]
    )
    for each in proof["problems"]:
        print_line(f"{each['kind']} at {each['sequence'] or '-'} {each['audit_id']}")
