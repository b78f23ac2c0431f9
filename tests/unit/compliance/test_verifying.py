"""The verification of the trail goes on where it was, and finds the same in parts as in one go."""

from dataclasses import replace

import pytest

from chalicelib.compliance.verifying import CHUNK as VERIFIED
from chalicelib.compliance.verifying import verify_round
from chalicelib.core.errors import InvalidInput
from tests.unit.compliance.test_chains import verify
from tests.unit.compliance.trails import ACCOUNT, LATER, Trail


@pytest.fixture
def trail():
    return Trail()


def verify_on(trail, most=200):
    """Rounds without time, until all that is new is verified; return what they found, and their number."""
    kinds = []
    for number in range(1, most):
        found = verify_round(trail.ports, trail.clock.now_ms())
        kinds += [(each.kind, each.sequence) for each in found.problems]
        if trail.ports.store.get_progress().finished_at_ms is not None:
            return kinds, number
    raise AssertionError("it does not come to an end")


def write_much(trail):
    """One anchor of three chains, one of which is longer than any run looks at."""
    trail.write(VERIFIED * 4 + 7)
    for account_id in ("acc_a", "acc_z"):
        trail.write(2, account_id)
    trail.anchor()


def test_an_anchor_with_more_links_than_a_run_verifies_is_gone_on_with(trail):
    write_much(trail)
    trail.write(5)
    trail.anchor()
    found, runs = verify_on(trail)
    assert found == []
    # Five parts of the long chain, one of each of the others, and one of the second anchor.
    assert runs == 5 + 2 + 1
    assert trail.ports.store.get_progress().newest == 2


@pytest.mark.parametrize("sequence", [1, VERIFIED, VERIFIED + 1, 2 * VERIFIED + 3, 4 * VERIFIED + 7])
def test_whatever_part_a_fault_is_in_it_is_found(trail, sequence):
    write_much(trail)
    victim = trail.list_chain()[sequence - 1]
    trail.entries[victim.audit_id] = replace(trail.entries[victim.audit_id], actor="key_other")
    found, _ = verify_on(trail)
    assert found == [("entry_changed", sequence)]


def test_what_is_made_anew_between_two_parts_contradicts_the_part_before(trail):
    write_much(trail)
    while (at := trail.ports.store.get_progress().new_at) is None or at.link is None:
        verify_round(trail.ports, trail.clock.now_ms())
    link = trail.links[ACCOUNT, at.link.sequence + 1]
    trail.links[ACCOUNT, at.link.sequence + 1] = replace(link, previous_hash="e" * 64)
    found, _ = verify_on(trail)
    assert ("chain_broken", at.link.sequence + 1) in found


def test_the_round_over_all_goes_on_within_an_anchor_too(trail):
    write_much(trail)
    verify_round(trail.ports, LATER)
    victim = trail.list_chain()[3 * VERIFIED]
    trail.entries[victim.audit_id] = replace(trail.entries[victim.audit_id], actor="key_other")

    class Ticking(type(trail.clock)):
        """There is time to begin, and none for more."""

        def now_ms(self):
            self.value_ms += 1
            return self.value_ms

    ports = replace(trail.ports, clock=Ticking(trail.clock.value_ms))
    kinds = []
    for _ in range(20):
        found = verify_round(ports, ports.clock.value_ms + 2)
        kinds += [each.kind for each in found.problems]
    assert "entry_changed" in kinds


def test_a_long_chain_is_verified_in_parts(trail):
    trail.write(25)
    trail.anchor()
    first = verify(trail, limit=10)
    assert (first.links, first.next_sequence) == (10, 11)
    second = verify(trail, first_sequence=11, limit=10)
    third = verify(trail, first_sequence=second.next_sequence, limit=10)
    assert (third.links, third.next_sequence, third.findings.count) == (5, None, 0)
    with pytest.raises(InvalidInput):
        verify(trail, first_sequence=27)
    trail.act(2)
    trail.clock.advance_seconds(3600)
    counts = [verify(trail, first_sequence=at, limit=10).findings.count for at in (1, 11, 21)]
    assert counts == [0, 0, 2], "what is not linked is told once, by the part in which it stands"
    del trail.links[ACCOUNT, 10]
    assert "link_missing" in {each.kind for each in verify(trail, first_sequence=11).findings.problems}
