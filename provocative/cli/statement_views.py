"""How statements look on a terminal."""

from provocative.cli.output import (
    Column,
    format_exact_duration,
    format_known,
    format_micros,
    print_facts,
    print_line,
    print_table,
)
from provocative.money_models import BillingDetails, Statement, StatementHead


def show_heads(heads: list[StatementHead]) -> None:
    columns = [Column("MONTH"), Column("STATE"), Column("NUMBER"), Column("ISSUED")]
    rows = [
        [each["month"], each["state"], each["number"] or "-", format_known(each["issued_at"]) or "-"]
        for each in heads
    ]
    print_table(columns, rows, empty="Nothing was posted to the wallet yet.")


def show_statement(statement: Statement) -> None:
    charges, currency = statement["charges"], statement["currency"]
    opening, closing = statement["opening"], statement["closing"]

    def money(micros: int) -> str:
        return format_micros(micros, currency)

    print_facts(
        [
            ("statement", statement["number"] or f"{statement['state']}, not issued"),
            ("month", f"{statement['month']} (UTC)"),
            ("made out to", statement["customer"]["name"] or None),
            ("opening balance", money(opening["paid_micros"] + opening["promo_micros"])),
            *(
                (each["kind"].replace("_", " "), money(each["paid_micros"] + each["promo_micros"]))
                for each in statement["totals"]
            ),
            ("GPU time", money(-charges["from_paid_micros"] - charges["from_promo_micros"])),
            (
                "borne by us",
                money(charges["borne_by_platform_micros"]) if charges["borne_by_platform_micros"] else None,
            ),
            ("tax paid", money(statement["tax_micros"]) if statement["tax_micros"] else None),
            (
                "closing balance" if statement["state"] != "open" else "balance now",
                money(closing["paid_micros"] + closing["promo_micros"]),
            ),
        ]
    )
    columns = [
        Column("RENTAL"),
        Column("DAYS"),
        Column("GPUS"),
        Column("LABEL"),
        Column("TIME", right=True),
        Column("CHARGE", right=True),
    ]
    rows = [
        [
            each["rental_id"],
            each["first_day"][5:]
            + ("" if each["first_day"] == each["last_day"] else f"…{each['last_day'][5:]}"),
            f"{each['gpu_count']}x {each['gpu_type']}",
            each["label"] or "-",
            format_exact_duration(each["seconds"]),
            format_micros(each["charge_micros"]),
        ]
        for each in statement["stays"]
    ]
    print_table(columns, rows, empty="No GPU time was charged.")
    left = statement["stay_count"] - len(statement["stays"])
    if left:
        print_line(f"And {left} more stays: statements download {statement['month']} FILE.csv")


def show_details(details: BillingDetails) -> None:
    print_facts(
        [
            ("name", details["name"] or "not given"),
            ("address", ", ".join(details["address_lines"]) or None),
            ("country", details["country"] or None),
            ("tax id", details["tax_id"] or None),
        ]
    )
