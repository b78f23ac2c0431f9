"""Bodies of organisations that are received, as the API sends them. See `provocative.models`."""

from typing import TypedDict


class Caller(TypedDict):
    account_id: str
    actor_id: str
    role: str
    user_id: str | None
    permissions: list[str]
    #: What could be done beside if the account were not suspended.
    withheld: list[str]
    allowed_networks: list[str]
    expires_at: str | None


class Organisation(TypedDict):
    account_id: str
    name: str
    currency: str
    created_at: str
    suspended_at: str | None
    closed_at: str | None


class Member(TypedDict):
    account_id: str
    user_id: str
    role: str
    created_at: str


class Invitation(TypedDict):
    """Whom it is for is in the mail alone."""

    invitation_id: str
    account_id: str
    role: str
    invited_by: str
    created_at: str
    expires_at: str


class Project(TypedDict):
    #: The label of what belongs to it.
    project_id: str
    account_id: str
    name: str
    created_at: str
    archived_at: str | None


class ServiceAccount(TypedDict):
    service_account_id: str
    account_id: str
    name: str
    role: str
    created_at: str
    disabled_at: str | None
