"""Statements: their documents and who signs them."""

from functools import cache
from typing import TYPE_CHECKING, Any

from chalicelib.wiring.rentals import billing_ports
from chalicelib.wiring.system import aws_client, bind_tables, clock, settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from chalicelib.statements.model import Statement
    from chalicelib.statements.ports import StatementPorts


def _connect_s3() -> Any:
    # Links are signed as version 2 otherwise, which no new region takes.
    return aws_client("s3", signature="s3v4")


def _connect_printer() -> "Callable[[Statement], bytes]":
    from chalicelib.statements.pdf_gateway import print_statement

    return print_statement


@cache
def statement_ports() -> "StatementPorts":
    from chalicelib.statements.document_gateway import S3Documents
    from chalicelib.statements.model import Party
    from chalicelib.statements.ports import StatementPorts
    from chalicelib.statements.store import DynamoStatementStore

    bind_tables()
    named = settings()
    lines = tuple(line.strip() for line in named.seller_address.split("|") if line.strip())
    return StatementPorts(
        DynamoStatementStore(),
        S3Documents(_connect_s3, named.documents_bucket, clock()),
        billing_ports(),
        Party(named.seller_name, lines, named.seller_country, named.seller_tax_id),
        _connect_printer,
    )
