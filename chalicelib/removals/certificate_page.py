"""A certificate as a page for people: it loads nothing, and everything in it is escaped."""

from html import escape

from chalicelib.removals.pages import render_facts, render_frame
from chalicelib.removals.retiring import Proof
from chalicelib.removals.schemas import BatchBody, CertificateBody, ProofBody, render_proof


def render_page(proof: Proof) -> str:
    """Return the proof as HTML, to be sent with `pages.HEADERS`."""
    body = render_proof(proof)
    shown = body.certificate or body.batch
    mass = body.batch.issued_mg if body.certificate is None else body.certificate.mass_mg
    return render_frame(
        shown.serial,
        f"<h1>Certificate of removed CO2 {escape(shown.serial)}</h1>"
        f'<p class="mass">{_format_mass(mass)}</p>{_render_state(body)}'
        f"<h2>What it is</h2>{render_facts(_list_facts(body))}"
        f"<h2>The batch that it is of</h2>{render_facts(_list_batch(body))}"
        f"<h2>Register</h2>{_render_register(body)}"
        "<footer>Removals stand beside emissions and never lower them. Masses are net of losses, activity "
        "and one standard deviation. The register is a chain of hashes: each covers the one before.</footer>",
    )


def _render_state(body: ProofBody) -> str:
    if body.register_fault is not None:
        return f'<p class="state bad">Not valid: the register is broken, {escape(body.register_fault)}</p>'
    state = "issued" if body.certificate is None else body.certificate.state
    return f'<p class="state good">{escape(state)}; the register is unbroken</p>'


def _list_facts(body: ProofBody) -> list[tuple[str, str]]:
    found: BatchBody | CertificateBody = body.certificate or body.batch
    if isinstance(found, BatchBody):
        return [("Serial", found.serial), ("Kind", "batch")]
    facts = [("Serial", found.serial), ("Kind", found.kind), ("Cut from", found.parent)]
    if found.children:
        facts.append(("Split into", ", ".join(found.children)))
    if found.retired_at is not None:
        facts += [("Retired for", found.beneficiary or "-"), ("Retired at", found.retired_at)]
    return facts


def _list_batch(body: ProofBody) -> list[tuple[str, str]]:
    batch = body.batch
    return [
        ("Serial", batch.serial),
        ("Captured on", f"{batch.day} (UTC), {batch.region}"),
        ("Net removal", f"{_format_mass(body.net_mg)} ± {_format_mass(body.standard_deviation_mg)}"),
        ("Issued", f"{_format_mass(batch.issued_mg)}, {batch.issued_at}"),
        ("Shared out to tenants", _format_mass(batch.allocated_mg)),
        ("Sold", _format_mass(batch.sold_mg)),
        ("Kept as buffer", _format_mass(batch.buffer_mg)),
        ("Retired so far", _format_mass(batch.retired_mg)),
    ]


def _render_register(body: ProofBody) -> str:
    rows = "".join(
        f"<tr><td>{each.number}</td><td>{escape(each.act)}</td><td>{escape(each.serial)}</td>"
        f'<td class="number">{_format_mass(each.mass_mg)}</td><td>{escape(each.at)}</td></tr>'
        for each in body.entries
    )
    last = f"<p><code>{escape(body.entries[-1].hash)}</code></p>" if body.entries else ""
    head = '<tr><th></th><th>Act</th><th>Serial</th><th class="number">Mass</th><th>At</th></tr>'
    return f'<div class="scroll"><table class="register">{head}{rows}</table></div>{last}'


def _format_mass(mass_mg: int) -> str:
    """Grams, exact: nothing is rounded away on a certificate."""
    sign, (whole, rest) = ("-" if mass_mg < 0 else ""), divmod(abs(mass_mg), 1000)
    return f"{sign}{whole:,}.{rest:03d} g CO2e"
