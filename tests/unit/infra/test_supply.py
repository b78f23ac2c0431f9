"""What is shipped is listed; what is known against a pin fails the checks unless somebody answers for it."""

import json
from datetime import date

import pytest

from infra import checks, supply
from infra.supply import ALLOWED, SHIPPED, check_advisories, check_sbom, read_allowances, write_sbom

TODAY = date(2026, 11, 30)
ENTRY = """
[[advisory]]
id = "{id}"
package = "{package}"
reason = "{reason}"
owner = "platform"
expires = {expires}
"""


def answer(*vulnerable, skipped=()):
    """What pip-audit prints. ``vulnerable``: (package, id, aliases)."""
    dependencies = [{"name": "fine", "version": "1.0", "vulns": []}]
    dependencies += [
        {
            "name": package,
            "version": "1.0",
            "vulns": [{"id": advisory, "aliases": list(aliases), "fix_versions": ["1.1"]}],
        }
        for package, advisory, aliases in vulnerable
    ]
    dependencies += [{"name": name, "skip_reason": "not found"} for name in skipped]
    return json.dumps({"dependencies": dependencies, "fixes": []})


@pytest.fixture
def allowed(tmp_path):
    path = tmp_path / "advisories.toml"
    path.write_text("")
    return path


def allow(path, **entry):
    known = {"id": "PYSEC-1", "package": "bad", "reason": "Not called.", "expires": "2026-12-31"}
    path.write_text(ENTRY.format(**(known | entry)))


def test_a_pin_with_an_advisory_fails_and_says_what_fixes_it(allowed):
    found = list(check_advisories(lambda: answer(("bad", "PYSEC-1", ["CVE-1"])), allowed, TODAY))
    assert found == ["bad 1.0 has PYSEC-1, fixed in 1.1"]


def test_pins_with_none_pass(allowed, capsys):
    assert list(check_advisories(answer, allowed, TODAY)) == []
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("said", ["", "no JSON", "[]", "{}", json.dumps({"dependencies": []})])
def test_without_an_answer_it_says_so_and_passes(allowed, capsys, said):
    assert list(check_advisories(lambda: said, allowed, TODAY)) == []
    assert "nobody answered" in capsys.readouterr().out


def test_what_could_not_be_audited_is_counted(allowed, capsys):
    assert list(check_advisories(lambda: answer(skipped=["a", "b"]), allowed, TODAY)) == []
    assert "1 packages were audited, 2 could not be" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["PYSEC-1", "CVE-1"])
def test_an_advisory_may_be_lived_with_by_any_of_its_names(allowed, name):
    allow(allowed, id=name)
    assert list(check_advisories(lambda: answer(("bad", "PYSEC-1", ["CVE-1"])), allowed, TODAY)) == []


def test_a_whole_package_may_be_lived_with_and_no_other(allowed):
    allow(allowed, id="*")
    known = answer(("bad", "PYSEC-1", []), ("bad", "PYSEC-2", []), ("worse", "PYSEC-3", []))
    found = list(check_advisories(lambda: known, allowed, TODAY))
    assert found == ["worse 1.0 has PYSEC-3, fixed in 1.1"]


def test_an_allowance_is_of_one_package_and_over_on_its_day(allowed):
    allow(allowed, package="other")
    found = list(check_advisories(lambda: answer(("bad", "PYSEC-1", [])), allowed, TODAY))
    assert found[0] == "bad 1.0 has PYSEC-1, fixed in 1.1"
    assert "which nobody needs" in found[1]
    allow(allowed, expires="2026-11-29")
    (over,) = check_advisories(lambda: answer(("bad", "PYSEC-1", [])), allowed, TODAY)
    assert "until 2026-11-29" in over
    # It is over whether or not somebody answers.
    assert len(list(check_advisories(lambda: "", allowed, TODAY))) == 1


def test_an_allowance_has_a_reason(allowed):
    allow(allowed, reason=" ")
    (wrong,) = check_advisories(answer, allowed, TODAY)
    assert "needs a reason" in wrong
    allowed.write_text('[[advisory]]\nid = "PYSEC-1"\n')
    (wrong,) = check_advisories(answer, allowed, TODAY)
    assert "an entry has id, package" in wrong


def test_the_allowances_of_the_project_are_readable_and_not_over():
    assert all(each.expires >= TODAY for each in read_allowances(ALLOWED.read_text()))


def test_an_answer_is_asked_for_once_a_day(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(supply, "ANSWERS", tmp_path)
    monkeypatch.setattr(supply, "ask_advisories", lambda lock: asked.append(lock) or answer())
    assert supply.ask_once_a_day() == supply.ask_once_a_day() == answer()
    assert len(asked) == 1


def test_who_is_offline_waits_for_one_question_alone(monkeypatch):
    asked = []
    monkeypatch.setattr(supply, "_run_audit", lambda _lock, seconds: asked.append(seconds) or "")
    assert supply.ask_advisories() == ""
    assert asked == [supply.PROBE_SECONDS]
    monkeypatch.setattr(supply, "_run_audit", lambda lock, _seconds: asked.append(lock) or answer())
    assert supply.ask_advisories() == answer()
    assert asked[-1] == supply.AUDITED


def test_no_answer_is_not_kept(monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(supply, "ANSWERS", tmp_path)
    monkeypatch.setattr(supply, "ask_advisories", lambda lock: asked.append(lock) or "")
    assert supply.ask_once_a_day() == supply.ask_once_a_day() == ""
    assert len(asked) == 2


def test_the_list_names_what_is_shipped_and_nothing_of_when_or_where_it_was_made(tmp_path):
    target = tmp_path / "sbom.cdx.json"
    write_sbom(SHIPPED, target)
    made = json.loads(target.read_text())
    assert made["bomFormat"] == "CycloneDX"
    assert "serialNumber" not in made
    assert "timestamp" not in made.get("metadata", {})
    assert str(tmp_path) not in target.read_text()
    purls = {each["purl"] for each in made["components"]}
    assert len(purls) == len([line for line in SHIPPED.read_text().splitlines() if "==" in line])
    target.with_suffix(".sha256").write_text("of other pins")
    assert list(check_sbom(SHIPPED, target)) == []
    made["components"].pop()
    target.write_text(json.dumps(made))
    (missing,) = check_sbom(SHIPPED, target)
    assert "do not agree on" in missing


def test_both_are_part_of_the_checks():
    assert {check_sbom, check_advisories} <= set(checks.CHECKS)
