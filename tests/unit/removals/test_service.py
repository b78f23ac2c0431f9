"""From a day's records to a locked statement: once, by evidence, corrected only by another revision."""

from dataclasses import replace

import pytest

from chalicelib.core.errors import Conflict, InvalidInput, NotFound
from chalicelib.removals.accounting import Component
from chalicelib.removals.model import Implausible, WrongState
from chalicelib.removals.service import fail_statement, list_shares, list_statements, read_statement
from tests.fakes import Crash
from tests.unit.removals.plant import DAY_MS, POWER_JOULES, START, tell
from tests.unit.removals.site import LOSS, Site


@pytest.fixture
def site():
    return Site()


def shares(site, account_id):
    return list(list_shares(site.ports, account_id, 9, None).items)


def test_a_day_goes_from_its_records_to_credits_with_every_step_on_the_record(site):
    drawn = site.draw()
    removal = drawn.content.removal
    assert removal.gross_mg == 24 * 1_000_000 * 95 // 100
    # 15.6 kWh of electricity at Sweden's 24.71 g/kWh.
    assert removal.activity_mg == 156 * 24_710 // 10
    assert removal.net_mg == removal.gross_mg - removal.activity_mg - 1_000
    assert drawn.content.findings == ()
    assert (site.submit().state, site.verify().state) == ("awaiting_verification", "verified")
    batch = site.issue()
    assert batch.issued_mg == removal.credited_mg
    found = read_statement(site.ports, site.window)
    assert (found.state, found.serial, found.evidence) == ("credits_issued", batch.serial, "report 7")
    assert found.decided_by == site.operator.actor_id
    assert found.due_mg == 0
    names = ["removal.drawn", "removal.submitted", "removal.verified", "removal.issued"]
    assert [each.action for each in site.audit(*names)] == names


def test_restating_changes_nothing_while_the_records_say_the_same(site):
    first = site.draw()
    writes = site.db.commits
    assert site.draw() == first
    site.submit()
    assert site.draw().state == "awaiting_verification"
    site.verify()
    assert site.draw().revision == 1
    site.issue()
    assert site.draw().revision == 1
    assert site.db.commits == writes + 3


def test_a_restatement_does_not_depend_on_what_was_stated_before():
    early, late = Site(), Site()
    early.draw()
    for each in (early, late):
        each.warm({"acc_c": 5_000_000}, hour=23)
        each.tell_late()
    found = [each.draw().content for each in (early, late)]
    told = [(each.components, each.removal, each.findings) for each in found]
    assert told[0] == told[1]
    assert [energy for _, energy in found[0].energies] == [energy for _, energy in found[1].energies]


def test_verified_numbers_are_locked_and_corrected_by_a_revision_that_takes_their_place(site):
    verified = site.draw() and site.submit() and site.verify()
    site.tell_late()
    corrected = site.draw()
    assert (corrected.revision, corrected.state) == (2, "draft")
    old = read_statement(site.ports, site.window, 1)
    assert old.content == verified.content
    assert old.superseded_by == 2
    with pytest.raises(WrongState):
        site.issue(1)
    assert [each.state for each in shares(site, site.a)] == ["withdrawn"]
    site.submit(2)
    site.verify(2)
    assert site.issue(2).issued_mg == corrected.content.removal.credited_mg


def test_a_correction_after_the_issue_is_issued_for_its_difference_alone(site):
    first = site.issue_all()
    site.tell_late()
    corrected = site.draw()
    assert corrected.issued_before_mg == first.issued_mg
    site.submit(2)
    site.verify(2)
    second = site.issue(2)
    assert first.serial != second.serial
    assert first.issued_mg + second.issued_mg == corrected.content.removal.credited_mg


def test_a_correction_to_less_is_issued_nothing_and_says_what_is_missing(site):
    first = site.issue_all()
    corrected = site.draw(replace(LOSS, mass_mg=2_000_000))
    assert (corrected.due_mg, corrected.shortfall_mg) == (
        0,
        first.issued_mg - corrected.content.removal.credited_mg,
    )
    site.submit(2)
    site.verify(2)
    with pytest.raises(Conflict) as refused:
        site.issue(2)
    assert refused.value.code == "nothing_to_issue"


def test_what_failed_is_over_and_another_revision_may_follow(site):
    site.draw()
    site.submit()
    fail_statement(site.ports, site.operator, site.window, 1, "the seal was broken")
    assert [(each.state, each.mass_mg) for each in shares(site, site.a)] == [("withdrawn", 0)]
    with pytest.raises(WrongState):
        site.verify()
    assert site.draw().revision == 2


def test_shares_are_provisional_until_the_batch_is_shared_out(site):
    site.draw()
    assert shares(site, site.a) == []
    statement = site.submit()
    (share,) = shares(site, site.a)
    assert (share.state, share.serial) == ("provisional", None)
    assert share.mass_mg == pytest.approx(statement.due_mg / 2, abs=2)
    assert shares(site, "platform") == []


@pytest.mark.parametrize(
    ("points", "code"),
    [
        ([tell("AT-2", "co2_volume_fraction", 1_200_000_000, START + 5)], "purity_out_of_range"),
        ([tell("QT-2", "heat", 0, START), tell("QT-2", "heat", 10**8, START + 9)], "heat_exceeds_gpu_heat"),
        ([tell("FT-2", "gas_mass_flow", 5, START + 5)], "no_mass_flow"),
        ([tell("QT-1", "electricity", 5, START + 5, unit="grams")], "wrong_unit"),
    ],
)
def test_what_cannot_be_is_not_submitted_and_the_reason_is_told(site, points, code):
    site.tell(points)
    drawn = site.draw()
    assert code in {each.code for each in drawn.content.findings}
    with pytest.raises(Implausible) as refused:
        site.submit()
    assert code in {each["code"] for each in refused.value.extra["findings"]}
    assert read_statement(site.ports, site.window).state == "draft"


def test_a_clock_that_jumps_is_shown_to_the_verifier_and_does_not_refuse(site):
    site.tell([replace(tell("TT-1", "temperature", 5, START + 50), received_at_ms=START - 900_000)])
    assert {each.code for each in site.draw().content.findings} == {"clock_ahead"}
    assert site.submit().state == "awaiting_verification"


def test_electricity_of_a_gap_over_midnight_is_taken_off_the_day_after():
    """The meter of the unit is silent from an hour before midnight to an hour after it."""
    whole, gap = Site(), Site()
    for key in [*gap.db.table("capture")]:
        _, _, at_ms, _, quantity = key
        if quantity == "electricity" and at_ms < START + 3_600_000:
            del gap.db.table("capture")[key]
    gap.tell([tell("ET-1", "electricity", -POWER_JOULES, START - 3_600_000 - 300_000)])
    hourly = POWER_JOULES * 1000
    counted = []
    for site in (whole, gap):
        (activity,) = [each for each in site.draw().content.components if each.kind == "activity"]
        counted.append(sum(each.energy_millijoules for each in activity.counted))
    assert counted == [24 * hourly, 24 * hourly + hourly + hourly // 12]
    assert {each.code for each in gap.draw().content.findings} == {"counter_gap"}
    assert gap.submit().state == "awaiting_verification"


def test_a_unit_that_claims_more_heat_than_the_gpus_gave_is_refused():
    site = Site()
    site.db.table("site_energy").clear()
    site.warm({site.a: 1_000})
    site.draw()
    with pytest.raises(Implausible):
        site.submit()


def test_a_negative_addition_a_day_that_is_not_over_and_a_host_that_is_not_there_are_refused(site):
    with pytest.raises(InvalidInput) as refused:
        site.draw(Component("loss", -1, 0, "piping"))
    assert refused.value.code == "negative_mass"
    site.cloud.clock.value_ms = START + DAY_MS
    with pytest.raises(InvalidInput) as refused:
        site.draw()
    assert refused.value.code == "day_not_over"
    site.window = replace(site.window, host_id="hst_none")
    with pytest.raises(NotFound):
        site.draw()
    with pytest.raises(NotFound):
        site.submit()


def test_a_verifiers_repeat_is_one_act_and_another_verdict_is_refused(site):
    site.draw()
    site.submit()
    site.verify()
    assert site.verify().version == site.verify().version
    assert len(site.audit("removal.verified")) == 1
    with pytest.raises(WrongState):
        site.verify(evidence="another report")
    with pytest.raises(WrongState):
        fail_statement(site.ports, site.operator, site.window, 1, "no")


@pytest.mark.parametrize("side", ["crash_before", "crash_after"])
def test_whoever_dies_at_any_step_and_comes_again_ends_where_nobody_died(side):
    site = Site()
    for step in (site.draw, site.submit, site.verify, site.issue):
        setattr(site.db, side, site.db.commits)
        with pytest.raises(Crash):
            step()
        setattr(site.db, side, None)
        step()
    statement = read_statement(site.ports, site.window)
    assert (statement.state, statement.revision) == ("credits_issued", 1)
    assert len(site.db.table("batches")) == 1
    assert len(site.audit("removal.drawn", "removal.submitted", "removal.verified", "removal.issued")) == 4


def test_an_issue_that_meets_a_correction_is_issued_once_for_what_is_due(site):
    """Between the reads and the write of the correction, credits are issued for what it corrects."""
    site.draw()
    site.submit()
    site.verify()
    site.tell_late()

    def issue_first():
        site.db.interlude = None
        site.issue(1)

    site.db.interlude = issue_first
    corrected = site.draw()
    assert (
        corrected.issued_before_mg == site.batch(read_statement(site.ports, site.window, 1).serial).issued_mg
    )


def test_statements_of_a_unit_are_listed_newest_first(site):
    site.draw()
    site.submit()
    site.verify()
    site.tell_late()
    site.draw()
    page = list_statements(site.ports, site.host_id, "dac-1", 1, None)
    assert [each.revision for each in page.items] == [2]
    rest = list_statements(site.ports, site.host_id, "dac-1", 9, page.next_key)
    assert [each.revision for each in rest.items] == [1]
