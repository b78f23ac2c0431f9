"""An export proves itself without us: complete, in order, unchanged, and under an anchor."""

import hashlib
import itertools
import json
import random

import pytest

from chalicelib.compliance import exporting
from chalicelib.compliance.exporting import export_trail
from chalicelib.core.errors import InvalidInput
from provocative.auditing import check_export
from tests.fakes.database import START_MS
from tests.unit.compliance.trails import ACCOUNT, Trail

ANCHORED = 20


@pytest.fixture
def trail():
    """Twenty entries under an anchor, five that are linked, two that are not; somebody else's among them."""
    made = Trail()
    for _ in range(4):
        made.write(5)
        made.write(1, "acc_other")
    made.anchor()
    made.write(5)
    made.act(2)
    return made


def export(trail, from_ms=0, to_ms=10**13 - 1):
    made = export_trail(trail.ports, ACCOUNT, from_ms, to_ms)
    return made, read_lines(trail)


def read_lines(trail):
    return list(trail.documents.files.values())[-1].splitlines(keepends=True)


def seal(lines):
    """The same lines with an end that is right: a forger knows how it is made."""
    body = b"".join(lines)
    end = {"kind": "end", "lines": len(lines), "sha256": hashlib.sha256(body).hexdigest()}
    return [*lines, json.dumps(end, sort_keys=True, separators=(",", ":")).encode() + b"\n"]


def test_an_export_is_whole_and_says_what_is_anchored(trail):
    made, lines = export(trail)
    found = check_export(lines, root=made.anchor.anchor.root)
    assert found.problems == []
    assert (found.account_id, found.first, found.last, found.entries) == (ACCOUNT, 1, 25, 25)
    assert (found.anchored_until, found.waiting, found.anchor_number) == (20, 2, 1)
    assert (made.entries, made.first_sequence, made.last_sequence) == (27, 1, 25)
    assert b"acc_other" not in b"".join(lines)


def test_a_period_in_the_middle_leads_to_the_anchor_that_covers_it(trail):
    entries = [trail.entries[link.audit_id] for link in trail.list_chain()]
    made, lines = export(trail, entries[4].at_ms, entries[9].at_ms)
    found = check_export(lines)
    assert found.problems == []
    assert (found.first, found.last, found.entries, found.anchored_until) == (5, 9, 5, 9)
    assert made.anchor.head.sequence == 20
    assert [json.loads(line)["kind"] for line in lines].count("link") == 11


def test_a_period_without_entries_is_an_export_too(trail):
    _, lines = export(trail, 0, START_MS)
    found = check_export(lines)
    assert (found.problems, found.entries, found.first) == ([], 0, 0)


def test_a_trail_without_an_anchor_is_exported_without_one():
    trail = Trail()
    trail.write(3)
    made, lines = export(trail)
    found = check_export(lines)
    assert (made.anchor, found.problems, found.anchored_until, found.entries) == (None, [], 0, 3)
    assert check_export(lines, root="e" * 64).problems


def test_too_much_at_once_and_a_period_that_ends_before_it_begins_are_refused(trail, monkeypatch):
    with pytest.raises(InvalidInput, match="ends before"):
        export(trail, 5, 5)
    monkeypatch.setattr(exporting, "ENTRIES", 10)
    with pytest.raises(InvalidInput, match="less at once") as refused:
        export(trail)
    assert refused.value.code == "period_too_long"


def test_every_flipped_bit_of_a_file_is_found(trail):
    """All bits of all bytes of some lines of each kind, and one bit of every 29th byte of the rest."""
    _, lines = export(trail)
    body = b"".join(lines)
    places = {at for at in range(len(body)) if at % 29 == 0}
    places |= set(range(len(lines[0]))) | set(range(len(body) - len(lines[-1]), len(body)))
    flips = found = 0
    for at in sorted(places):
        flipped = bytearray(body)
        flipped[at] ^= 1 << (at % 8)
        flips += 1
        found += bool(check_export(bytes(flipped).splitlines(keepends=True)).problems)
    assert found == flips > 500


def list_forgeries(lines):
    """Yield files that a forger made: each with an end that is right."""
    body = lines[:-1]
    anchor = next(at for at, line in enumerate(body) if b'"kind":"anchor"' in line)
    for at in range(1, anchor):
        yield "dropped", [*body[:at], *body[at + 1 :]]
        yield "twice", [*body[:at], body[at], *body[at:]]
        if at + 1 < anchor:
            yield "swapped", [*body[:at], body[at + 1], body[at], *body[at + 2 :]]
        facts = json.loads(body[at])
        for path, value in (("actor", "key_x"), ("at_ms", 1), ("details", {}), ("account_id", "acc_x")):
            changed = facts | {"entry": facts["entry"] | {path: value}}
            yield "changed", [*body[:at], render(changed), *body[at + 1 :]]
        yield "bare", [*body[:at], render({"kind": "link", "link": facts["link"]}), *body[at + 1 :]]
    # Behind the anchored head nothing tells a cut from an export that was made earlier.
    for cut in range(1, ANCHORED + 1):
        header = json.loads(body[0]) | {"last_sequence": cut - 1}
        yield "truncated", [render(header), *body[1:cut], *body[anchor:]]
    for member, value in (("sequence", 19), ("hash", "e" * 64), ("root", "e" * 64), ("size", 9)):
        yield (
            "anchor",
            [*body[:anchor], render(json.loads(body[anchor]) | {member: value}), *body[anchor + 1 :]],
        )


def render(facts):
    return json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def test_whatever_is_forged_in_a_file_is_found_though_its_end_is_right(trail):
    made, lines = export(trail)
    root = made.anchor.anchor.root
    counts = {}
    for kind, forged in list_forgeries(lines):
        assert check_export(seal(forged), root=root).problems, kind
        counts[kind] = counts.get(kind, 0) + 1
    assert counts["truncated"] == ANCHORED
    assert counts["dropped"] == counts["twice"] == 25
    assert check_export(seal(lines[:-1]), root=root).problems == []


@pytest.mark.parametrize(
    "raw",
    [b"", b"{}\n", b"[]\n", b"null\n", b"{\n", b'{"kind":"end"}\n', b'{"kind":"entry"}\n', b"\xff\n"],
)
def test_what_is_no_export_proves_nothing_and_breaks_nothing(raw):
    assert check_export(raw.splitlines(keepends=True)).problems


def test_lines_in_any_order_prove_nothing(trail):
    _, lines = export(trail)
    drawn = random.Random(3)
    for _ in range(50):
        shuffled = drawn.sample(lines, len(lines))
        assert shuffled == lines or check_export(shuffled).problems
    for one, two in itertools.pairwise(range(len(lines))):
        swapped = [*lines]
        swapped[one], swapped[two] = swapped[two], swapped[one]
        assert check_export(swapped).problems
