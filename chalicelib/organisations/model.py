"""Who belongs to an organisation, which is an account: what is owned, billed and audited together."""

from dataclasses import dataclass

from chalicelib.core.principal import Role


@dataclass(frozen=True, slots=True)
class Membership:
    """A person's role in one organisation; one per pair."""

    account_id: str
    user_id: str
    role: Role
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """A program that acts in an organisation's name, with a role like a person's, and never signs in."""

    service_account_id: str
    account_id: str
    name: str
    role: Role
    created_at_ms: int
    disabled_at_ms: int | None = None
