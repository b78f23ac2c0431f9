"""What the doctor found, one thing each."""

import msgspec


class Finding(msgspec.Struct, frozen=True):
    """``advice`` says what to do when it is not ``ok``."""

    name: str
    ok: bool
    detail: str
    advice: str = ""


def render_finding(finding: Finding) -> str:
    line = f"{'ok    ' if finding.ok else 'FAILED'}  {finding.name}: {finding.detail}"
    return line if finding.ok else f"{line}\n        {finding.advice}"
