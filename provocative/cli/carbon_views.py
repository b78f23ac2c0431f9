"""How the methodology of energy and carbon is shown."""

from provocative.carbon_models import Methodology, MethodSection, MethodTable
from provocative.cli.output import Column, print_line, print_table


def show_methodology(found: Methodology) -> None:
    print_line(f"Methodology {found['version']}")
    for section in found["sections"]:
        print_line("")
        print_line(section["title"].upper())
        _show_statements(section)
        for table in section["tables"]:
            print_line("")
            _show_table(table)


def _show_statements(section: MethodSection) -> None:
    columns = [Column("WHAT", folds=True), Column("HOW", folds=True), Column("SOURCE", rank=1, folds=True)]
    rows = []
    for each in section["statements"]:
        rows.append([each["title"], each["formula"], _cite(each["source"], each["version"])])
        rows += [
            [
                f"  {constant['meaning']}",
                f"{constant['value']} {constant['unit']}",
                _cite(constant["source"], constant["version"]),
            ]
            for constant in each["constants"]
        ]
    print_table(columns, rows, empty="Nothing.")


def _show_table(table: MethodTable) -> None:
    print_line(table["title"])
    print_line(_cite(table["source"], table["version"]))
    columns = [
        Column(
            f"{each['name']} {each['unit']}".strip().upper(),
            rank=int(index > 0 and not each["unit"]),
            right=bool(each["unit"]),
            folds=not each["unit"],
        )
        for index, each in enumerate(table["columns"])
    ]
    rows = [["-" if cell is None else str(cell) for cell in row] for row in table["rows"]]
    print_table(columns, rows, empty="Nothing.")


def _cite(source: str, version: str | None) -> str:
    return source if version is None else f"{source}, {version}"
