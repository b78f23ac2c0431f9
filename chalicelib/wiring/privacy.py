"""What is personal: the vault that seals it, and what people ask of it."""

from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.accounts import account_ports
from chalicelib.wiring.system import aws_client, bind_tables, clock, ids, settings, start_transaction

if TYPE_CHECKING:
    from chalicelib.core.ports import PersonVault
    from chalicelib.privacy.people import Grants
    from chalicelib.privacy.service import People, PrivacyPorts


def _connect_kms() -> Any:
    return aws_client("kms")


@cache
def person_vault() -> "PersonVault":
    from chalicelib.privacy.cipher_gateway import AesGcm
    from chalicelib.privacy.key_store import DynamoPersonKeys
    from chalicelib.privacy.kms_gateway import KmsKeyService
    from chalicelib.privacy.vault import Vault

    bind_tables()
    service = KmsKeyService(_connect_kms, settings().person_key_id)
    return Vault(DynamoPersonKeys(), service, AesGcm(), clock())


def _connect_s3() -> Any:
    # Links are signed as version 2 otherwise, which no new region takes.
    return aws_client("s3", signature="s3v4")


def people() -> "People":
    """Who people are. What keeps them is connected when somebody asks about a person."""
    from chalicelib.privacy.people import KnownPeople
    from chalicelib.wiring.identity import identity_ports
    from chalicelib.wiring.organisations import organisation_ports

    return KnownPeople(identity_ports, organisation_ports, _grants)


def _grants() -> "Grants":
    from chalicelib.oauth.store import DynamoOAuthStore

    return DynamoOAuthStore()


@cache
def privacy_ports() -> "PrivacyPorts":
    from chalicelib.compliance.store import DynamoAuditTrail
    from chalicelib.privacy.archive_gateway import S3Archive
    from chalicelib.privacy.record_store import DynamoRecords
    from chalicelib.privacy.service import PrivacyPorts
    from chalicelib.privacy.store import DynamoConsentStore, DynamoRequestStore
    from chalicelib.storage.idempotency import DynamoIdempotencyStore

    bind_tables()
    return PrivacyPorts(
        DynamoRequestStore(),
        DynamoConsentStore(),
        DynamoRecords(),
        people(),
        person_vault(),
        S3Archive(_connect_s3, settings().documents_bucket, clock()),
        account_ports().store,
        DynamoIdempotencyStore(),
        DynamoAuditTrail(),
        start_transaction,
        clock(),
        ids(),
    )
