"""What a month's emissions leave beside what was captured, for whoever buys removals for it."""

from dataclasses import dataclass

from chalicelib.core.ports import Clock
from chalicelib.reporting.model import DAY_MS, FINAL, Owner, Period
from chalicelib.reporting.ports import ContentCodec, Files, ReportStore

#: A month without a day's report by then has no energy.
SETTLED_MS = 3 * DAY_MS


@dataclass(frozen=True, slots=True)
class MonthlyResiduals:
    """`payments.ports.ResidualReader`. It says what to buy; no report is made smaller by it."""

    store: ReportStore
    files: Files
    codec: ContentCodec
    clock: Clock

    def find_residual_mg(self, account_id: str, month: str) -> int | None:
        owner, period = Owner("account", account_id), Period(month)
        report = self.store.find_report(owner, period)
        if report is None:
            settled = self.clock.now_ms() >= period.until_ms + SETTLED_MS
            return 0 if settled and not self.store.list_day_reports(owner, period) else None
        with self.files.read(report.name_document("json")) as file:
            content = self.codec.decode(file.read())
        captured = sum(each.mass_mg for each in content.removals if each.state == FINAL)
        return max(0, content.total.operational_mg - captured)
