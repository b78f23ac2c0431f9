"""What every model builds on. One table per life cycle, see docs/architecture.md.

Tables and indexes are created by CDK from the same names (`infra.cdk.tables`); nothing here creates them.
Call `chalicelib.storage.connection.bind` once before the first use. Numbers are integers only: a float or a
bool is refused on write.
"""

from typing import Any

from pynamodb.attributes import Attribute, UnicodeAttribute
from pynamodb.constants import NUMBER
from pynamodb.models import Model


class IntegerAttribute(Attribute[int]):
    """A number that is an ``int``: money, energy and time never pass through a float."""

    attr_type = NUMBER

    def serialize(self, value: Any) -> str:
        if type(value) is not int:
            raise TypeError(f"an integer is needed, not {type(value).__name__}")
        return str(value)

    def deserialize(self, value: str) -> int:
        return int(value)


class TableMeta:
    #: Named without the stage's prefix, which `chalicelib.storage.connection.bind` puts before it.
    table_name = ""
    logical_name = ""
    region = "us-east-1"
    # Well under API Gateway's 29 s for the sum of a request's calls.
    connect_timeout_seconds = 1
    read_timeout_seconds = 3
    max_retry_attempts = 2
    max_pool_connections = 32


class Table(Model):
    pk = UnicodeAttribute(hash_key=True)
    sk = UnicodeAttribute(range_key=True)

    Meta = TableMeta  # type: ignore[assignment]  # the metaclass fills in the rest
