"""Keys of the organisations' table."""

HEAD = "HEAD"
MEMBER_PREFIX = "MEMBER#"
INVITATION_PREFIX = "INVITATION#"
PROJECT_PREFIX = "PROJECT#"


def organisation(account_id: str) -> str:
    return f"ORGANISATION#{account_id}"


def read_organisation(key: str) -> str:
    """Return the account's id of a key of `organisation`."""
    return key.removeprefix("ORGANISATION#")


def member(user_id: str) -> str:
    return f"{MEMBER_PREFIX}{user_id}"


def invitation(invitation_id: str) -> str:
    return f"{INVITATION_PREFIX}{invitation_id}"


def read_invitation(key: str) -> str:
    """Return the id of a key of `invitation`."""
    return key.removeprefix(INVITATION_PREFIX)


def project(project_id: str) -> str:
    return f"{PROJECT_PREFIX}{project_id}"


def read_project(key: str) -> str:
    """Return the id of a key of `project`."""
    return key.removeprefix(PROJECT_PREFIX)


def is_service_account(issuer_id: str) -> bool:
    return issuer_id.startswith("sva_")


def service_account(service_account_id: str) -> str:
    return f"SERVICE_ACCOUNT#{service_account_id}"


def read_service_account(key: str) -> str:
    """Return the id of a key of `service_account`."""
    return key.removeprefix("SERVICE_ACCOUNT#")
