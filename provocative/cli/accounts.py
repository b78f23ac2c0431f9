"""Verbs of accounts, keys, credits and quotas."""

import sys
from typing import Annotated

import typer

from provocative.cli import options
from provocative.cli.fleet_views import show_keys
from provocative.cli.money_views import show_quota, show_top_up, show_wallet
from provocative.cli.output import print_line
from provocative.cli.paging import fetch_page, show_page
from provocative.cli.parsing import given, parse_duration, parse_instant, parse_money
from provocative.cli.session import Session
from provocative.cli.verbs import group, verb
from provocative.models import Account, IssuedKey
from provocative.requests import CreditRequest, KeyRequest

_AccountId = Annotated[str, typer.Argument(metavar="ACCOUNT", help="acc_….")]
_KeyId = Annotated[str, typer.Argument(metavar="KEY", help="As keys shows it, key_….")]
_Text = Annotated[str, typer.Argument(metavar="NAME", help="Of the renter.")]
_Amount = Annotated[int, typer.Argument(metavar="AMOUNT", parser=parse_money, help="Such as 100 or 12.50.")]
_Promo = Annotated[bool, typer.Option("--promo", help="Promotional: spent first, and it may expire.")]
_Expires = Annotated[
    str | None, typer.Option("--expires-at", metavar="INSTANT", parser=parse_instant, help="With --promo.")
]
_TopUpId = Annotated[str, typer.Argument(metavar="TOP_UP", help="top_….")]
_JournalKey = Annotated[str, typer.Argument(metavar="ENTRY", help="The key that ledger shows.")]
_Gpus = Annotated[int, typer.Argument(metavar="GPUS", min=0, help="At once.")]
_Name = Annotated[str, typer.Option("--label", "-l", metavar="TEXT", help="What the key is for.")]
_Permissions = Annotated[
    list[str] | None,
    typer.Option("--permission", metavar="NAME", help="Such as rentals:read; without it all. Repeatable."),
]
_Networks = Annotated[
    list[str] | None,
    typer.Option("--network", metavar="CIDR", help="From there alone: 203.0.113.0/24. Repeatable."),
]
_FoundAt = Annotated[str | None, typer.Option("--url", metavar="URL", help="Where it was found.")]
_Overlap = Annotated[
    int | None,
    typer.Option("--overlap", metavar="DURATION", parser=parse_duration, help="0s to 7d; 24h unless given."),
]
_Until = Annotated[
    str | None,
    typer.Option("--expires-at", metavar="INSTANT", parser=parse_instant, help="Within 365 days."),
]


def register(app: typer.Typer) -> None:
    accounts = group(app, "accounts", "Renters, for operators: create, credit, quota.")
    verb(accounts)(create)
    verb(accounts)(credit)
    verb(accounts)(charge)
    verb(accounts)(refund)
    verb(accounts)(reverse)
    verb(accounts, "quota")(set_quota)
    verb(accounts, "reserved-quota")(set_reserved_quota)
    nested = group(app, "keys", "Keys of the API: list, create, rotate, revoke, report a leak.", keys)
    verb(nested, "create")(create_key)
    verb(nested)(rotate)
    verb(nested)(revoke)
    verb(nested)(report_leak)


def create(session: Session, name: _Text) -> None:
    """Create an account; keys and credit come after."""

    def render(body: Account) -> None:
        session.say(f"Next: provocative keys create {body['account_id']} --label first")
        print_line(body["account_id"])

    session.show(session.client.accounts.create(name), render)


def credit(
    session: Session,
    account_id: _AccountId,
    amount: _Amount,
    *,
    reason: options.Reason,
    promo: _Promo = False,
    expires_at: _Expires = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Grant an account credit; repeat with the same --idempotency-key, and it is granted once."""
    request: CreditRequest = given(
        amount_micros=amount, reason=reason, kind="promo" if promo else None, expires_at=expires_at
    )
    wallet = session.client.accounts.grant_credit(account_id, request, idempotency_key=idempotency_key)
    session.show(wallet, show_wallet)


def charge(
    session: Session,
    account_id: _AccountId,
    amount: _Amount,
    *,
    reason: options.Reason,
    yes: options.Yes = False,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Charge an account once for something beside GPU time; the reason stands in its statement."""
    session.confirm(f"Charge {account_id}?", yes=yes)
    wallet = session.client.accounts.charge(account_id, amount, reason, idempotency_key=idempotency_key)
    session.show(wallet, show_wallet)


def refund(
    session: Session,
    top_up_id: _TopUpId,
    amount: _Amount,
    *,
    yes: options.Yes = False,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Give money back the way it came; repeat with the same --idempotency-key, and it is given once."""
    session.confirm(f"Give back of {top_up_id}?", yes=yes)
    made = session.client.accounts.refund(top_up_id, amount, idempotency_key=idempotency_key)
    session.show(made, show_top_up)


def reverse(
    session: Session, journal_key: _JournalKey, *, reason: options.Reason, yes: options.Yes = False
) -> None:
    """Undo a charge or a credit by its opposite; both stay in the books."""
    session.confirm(f"Post the opposite of {journal_key}?", yes=yes)
    session.show(session.client.accounts.reverse_posting(journal_key, reason), show_wallet)


def set_quota(session: Session, account_id: _AccountId, gpus: _Gpus) -> None:
    """Set how many GPUs an account may have at once."""
    session.show(session.client.accounts.set_quota(account_id, gpus), show_quota)


def set_reserved_quota(session: Session, account_id: _AccountId, gpus: _Gpus) -> None:
    """Set how many GPUs an account may have in reservations that are not over."""
    session.show(session.client.accounts.set_reserved_quota(account_id, gpus), show_quota)


def keys(
    session: Session,
    *,
    limit: options.Limit = None,
    cursor: options.Cursor = None,
    everything: options.All = False,
) -> None:
    """List the keys of this account."""
    page = fetch_page(session.client.accounts.list_keys, limit=limit, cursor=cursor, everything=everything)
    show_page(session, page, show_keys)


def create_key(
    session: Session,
    account_id: _AccountId,
    *,
    label: _Name,
    permission: _Permissions = None,
    network: _Networks = None,
    expires_at: _Until = None,
) -> None:
    """Make a key for an account, which may do no more than yours. It is shown once."""
    request: KeyRequest = given(
        label=label, permissions=permission, allowed_networks=network, expires_at=expires_at
    )
    made = session.client.accounts.create_key(account_id, request)
    session.show(made, lambda body: _show_issued(session, body))


def rotate(
    session: Session,
    key_id: _KeyId,
    *,
    overlap: _Overlap = None,
    idempotency_key: options.IdempotencyKey = None,
) -> None:
    """Make a key's successor with the same limits, shown once; the key ends after the overlap."""
    made = session.client.accounts.rotate_key(key_id, overlap, idempotency_key=idempotency_key)
    session.show(made, lambda body: _show_issued(session, body))


def _show_issued(session: Session, key: IssuedKey) -> None:
    session.say(f"{key['key_id']}, '{key['label']}', of {key['account_id']}. It is shown once:")
    print_line(key["key"])


def revoke(session: Session, key_id: _KeyId, *, yes: options.Yes = False) -> None:
    """End a key; whoever uses it is refused from the next call on."""
    session.confirm(f"End {key_id}? Whoever uses it is refused at once.", yes=yes)
    session.client.accounts.revoke_key(key_id)
    session.show({"key_id": key_id, "revoked": True}, lambda _: print_line(f"{key_id} is revoked."))


def report_leak(session: Session, *, url: _FoundAt = None) -> None:
    """Report a key that others can read, asked for or from standard input. If it is one, it is revoked."""
    if sys.stdin.isatty():
        found = typer.prompt("Key (not shown)", hide_input=True, err=True)
    else:
        found = sys.stdin.readline()
    session.client.accounts.report_leaked_key(found.strip(), url=url)
    session.show({"received": True}, lambda _: print_line("Received. If it is a key, it works no more."))
