"""The chain of the audit trail, its anchors and its exports."""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.system import aws_client, bind_tables, clock, ids, settings, start_transaction

if TYPE_CHECKING:
    from chalicelib.compliance.ports import ChainPorts
    from chalicelib.core.ports import AuditEntry


def _connect_s3() -> Any:
    # Links are signed as version 2 otherwise, which no new region takes.
    return aws_client("s3", signature="s3v4")


@cache
def chain_ports() -> "ChainPorts":
    from chalicelib.billing.vault_gateway import S3Vault
    from chalicelib.compliance.chain_store import DynamoChainStore
    from chalicelib.compliance.ports import ChainPorts
    from chalicelib.statements.document_gateway import S3Documents

    bind_tables()
    named = settings()
    return ChainPorts(
        DynamoChainStore(),
        S3Vault(_connect_s3, named.seals_bucket),
        S3Documents(_connect_s3, named.documents_bucket, clock()),
        start_transaction,
        clock(),
        ids(),
    )


def read_audit_image(image: Mapping[str, Any]) -> "AuditEntry":
    """Read an entry as the stream of the trail tells it."""
    from chalicelib.compliance.store import read_image

    return read_image(image)
