"""What a run came to, as text."""

from tests.fuzz.running import Outcome, Profile

_SHOWN = 40


def render_report(profile: Profile, outcome: Outcome) -> str:
    def count(counts) -> str:
        return ", ".join(f"{name} {number}" for name, number in sorted(counts.items()))

    untaken = sorted(outcome.covered - outcome.accepted)
    lines = [
        f"profile {profile.name}, seed {profile.seed}",
        f"{outcome.stopped} after {outcome.seconds / 60:.1f} minutes",
        f"operations: {len(outcome.covered)} of {outcome.operations} asked, {len(outcome.accepted)} did it",
        f"cases: {outcome.cases.total()} ({count(outcome.cases)}), {outcome.links} of them after another",
        f"checks: {outcome.checks.total()} of {len(outcome.checks)} kinds",
        *(f"  {name}: {number}" for name, number in sorted(outcome.checks.items())),
        f"answers: {count(outcome.answers)}",
        f"5xx: {outcome.server_errors}, failures: {len(outcome.failures)}, errors: {len(outcome.errors)}",
        f"never done, for want of what they act on: {', '.join(untaken) or 'none'}",
        *outcome.failures[:_SHOWN],
        *outcome.errors[:_SHOWN],
    ]
    return "\n".join(lines)
