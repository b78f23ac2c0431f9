"""How all that is said of energy, emissions and removals is counted, in one versioned document. Pure."""

from functools import cache

from chalicelib.carbon import figures
from chalicelib.carbon import methodology as carbon
from chalicelib.core.methodology import (
    OWN,
    Column,
    Constant,
    Methodology,
    Section,
    Statement,
    Table,
    name_code,
)
from chalicelib.removals import accounting, allocation, certificates, measuring, model, plausibility, retiring

#: Raised with every change of a formula, a constant, a source or their words: a test holds its digest.
METHODOLOGY_VERSION = "2"
_SCHEMA = "component types of Isometric's data schema"


@cache
def build_methodology() -> Methodology:
    sections = (
        *carbon.list_sections(),
        _describe_removals(),
        _describe_plausibility(),
        _describe_allocation(),
    )
    return Methodology(METHODOLOGY_VERSION, sections)


def _describe_removals() -> Section:
    return Section("removals", "Removals", (*_list_measured(), *_list_chain()), (_list_units(),))


def _list_measured() -> tuple[Statement, ...]:
    return (
        Statement(
            "Captured mass",
            "m = sum of flow_i * fraction_i * dt",
            "Flow and fraction by mass, of one unit and UTC day. A gap is not bridged: nothing is captured "
            "in it. A reading that came twice is one, and the order in which readings come changes nothing. "
            "Deviations of one meter add up, those of different meters combine in quadrature.",
            OWN,
            None,
            (*name_code(measuring.measure), "chalicelib.removals.measuring._integrate"),
            (*measuring.CONSTANTS, *_pick(model.CONSTANTS, "DAY_MS")),
        ),
        Statement(
            "Heat, electricity, cycles",
            "what each counter gained in the day; one that fell counts what it shows then",
            "Windows join: a counter begins in one where it ended in the one before. What it gained while it "
            "was silent over midnight is of the day in which it tells again, by time, and both days say so; "
            "the days sum to what it gained.",
            OWN,
            None,
            (
                "chalicelib.removals.measuring._count",
                "chalicelib.removals.measuring._find_start",
                "chalicelib.removals.service.read_datapoints",
            ),
        ),
        Statement(
            "Electricity of the unit as activity",
            "activity = sum over hours of E_h * I_h",
            "Fans, pumps, compression by the unit's meter: what it gained between two readings is of their "
            "hours by time, and each hour has its own location-based figure, as a rental's has. Hours "
            "without one have the annual average; the component is then estimated, and says for which part "
            "of its energy and by which sources. The sum is rounded up once; the deviation is the meter's "
            "at the highest figure, rounded up. It stands outside PUE, so nothing is deducted twice.",
            "ISO/IEC 30134-6; " + _SCHEMA,
            "2021",
            (*name_code(accounting.emit, figures.read_hours), "chalicelib.removals.measuring._spread"),
        ),
        Statement(
            "Electricity of a heat pump that no meter sees",
            "W = Q / COP",
            "Q is the measured heat at the sorbent's temperature; rounded up. Then as above.",
            "definition of the coefficient of performance",
            "undated",
            name_code(accounting.estimate_heat_pump),
        ),
    )


def _list_chain() -> tuple[Statement, ...]:
    return (
        Statement(
            "Net removal",
            "net = gross - counterfactual - losses - activity",
            "Integer milligrams. What no meter tells, such as sorbent, transport and construction, is added "
            "by the operator with its deviation and source. A negative net is shown as it is.",
            _SCHEMA,
            "undated",
            name_code(accounting.account),
        ),
        Statement(
            "What is credited",
            "credited = net - sigma;  sigma^2 = sum of the components' sigma^2",
            "One standard deviation of the net is taken off; deviations are of independent meters and are "
            "rounded up: rounding never credits anything. Credits are issued for verified statements only, "
            "and a revision counts only beyond what was issued before.",
            _SCHEMA,
            "undated",
            (*name_code(accounting.combine, model.revise), "chalicelib.removals.accounting.Removal"),
        ),
        Statement(
            "What a batch gives away",
            "allocated + sold + buffer <= issued",
            "The buffer is a stated part of what is issued, rounded up, and is never given away. A "
            "certificate is retired once, for a named beneficiary, in a register that is a chain of hashes.",
            "decision 35 of this platform",
            None,
            name_code(retiring.issue_credits, certificates.take, certificates.find_fault),
        ),
        Statement(
            "Removals and emissions",
            "emissions are never lowered by removals",
            "They are reported beside each other. Removals reach neither a receipt's emissions nor the SCI "
            "score.",
            "SCI specification (ISO/IEC 21031)",
            "1.1",
            ("chalicelib.carbon.sci.compute_sci",),
        ),
    )


def _list_units() -> Table:
    return Table(
        "What capture units tell",
        (Column("Quantity"), Column("Stored in")),
        tuple(measuring.UNITS.items()),
        OWN,
        None,
        "Units of the trade become these by exact factors of SI; a deviation is rounded up.",
    )


def _describe_plausibility() -> Section:
    statements = (
        Statement(
            "Least work",
            "Q + W >= m * R * T * ln(1 / x)",
            "Heat and electricity at their most, mass at its least, within the stated number of deviations. "
            "Below it the day cannot be submitted.",
            "second law of thermodynamics, ideal gas",
            "undated",
            ("chalicelib.removals.plausibility._check_energy",),
            _pick(plausibility.CONSTANTS, "MINIMUM_MILLIJOULES_PER_GRAM", "SIGMAS"),
        ),
        Statement(
            "Heat of the GPUs",
            "Q <= the metered energy of the host's GPUs * the part that its loop carries",
            "Heat that no GPU gave drives nothing.",
            OWN,
            None,
            ("chalicelib.removals.plausibility._check_energy",),
            _pick(plausibility.CONSTANTS, "LOOP_SHARE_PERCENT"),
        ),
        Statement(
            "Everything that is looked at",
            "refuse what physics excludes, flag what a badly read meter may show",
            "What is refused cannot be submitted for verification; what is flagged is shown to the verifier.",
            OWN,
            None,
            name_code(plausibility.check, plausibility.check_chain),
        ),
    )
    table = Table(
        "Findings",
        (Column("Code"), Column("What it says")),
        tuple(plausibility.MEANINGS.items()),
        OWN,
        None,
    )
    return Section("plausibility", "Plausibility bounds", statements, (table,))


def _describe_allocation() -> Section:
    statement = Statement(
        "Who is given how much",
        "a_t = N * E_t / (sum of E)",
        "E is the metered energy of each tenant's GPUs on the host that day: the heat that they gave; what "
        "nobody rented is the platform's. Whole milligrams by the largest remainder, ties by tenant id, so "
        "that the parts are the whole. Provisional until the batch is shared out; what was sold or kept as "
        "a buffer is not shared.",
        OWN,
        None,
        name_code(allocation.allocate),
        _pick(model.CONSTANTS, "MAX_TENANTS"),
    )
    return Section("allocation", "Allocation to tenants", (statement,))


def _pick(constants: tuple[Constant, ...], *symbols: str) -> tuple[Constant, ...]:
    return tuple(each for each in constants if each.symbol in symbols)
