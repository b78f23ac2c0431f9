"""What is said of an item and its attributes: what they are of a person, what export and erasure do."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: ``none``: of no person. ``pseudonymous``: an opaque id. ``sealed``: under the person's key.
#: ``plain``: personal and readable, which the row's ``because`` justifies. ``financial``: kept as the law
#: says, whatever is asked. ``digest``: of a secret; neither shown nor exported.
Kind = Literal["none", "pseudonymous", "sealed", "plain", "financial", "digest"]
#: What erasing does with an item of the account: ``clear`` takes what is plain out of it.
Erasure = Literal["keep", "clear", "delete"]
#: What stands where a text was that cannot be absent.
ERASED = "erased"


@dataclass(frozen=True, slots=True)
class Row:
    """``owned``: items of it are found by account, and are in its export (all but digests).

    ``of_person``: they are found by person, and are in the person's export.
    """

    item: str
    table: str
    purpose: str
    owned: bool
    on_erasure: Erasure
    fields: Mapping[str, Kind]
    because: str = ""
    of_person: bool = False

    def list_plain(self) -> list[str]:
        return [name for name, kind in self.fields.items() if kind == "plain"]

    def list_exported(self) -> list[str]:
        return [name for name, kind in self.fields.items() if kind != "digest"]


def describe(
    item: str,
    table: str,
    purpose: str,
    *,
    owned: bool = False,
    of_person: bool = False,
    on_erasure: Erasure = "keep",
    because: str = "",
    **names: str,
) -> Row:
    fields: dict[str, Kind] = {}
    kinds: tuple[Kind, ...] = ("none", "pseudonymous", "sealed", "plain", "financial", "digest")
    assert set(names) <= set(kinds), f"{item}: unknown kind"
    for kind in kinds:
        for name in names.get(kind, "").split():
            assert name not in fields, f"{item}: {name} has two kinds"
            fields[name] = kind
    return Row(item, table, purpose, owned, on_erasure, fields, because, of_person)


#: Why labels are not sealed.
NAMES = "chosen by the account to find its things again; shown to it, searched by nobody"
