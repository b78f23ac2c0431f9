"""Reproduces "Let's Wait Awhile" on the platform's own policies, for any file of carbon intensities.

``python -m chalicelib.carbon.reproduce --csv FILE [--csv FILE ...]``. A file has the columns ``Time`` and
``Carbon Intensity`` (g/kWh), times without an offset, each half-hour of a year and, for scenario II, of a
week after it; rows between are dropped. Exit 1: a file is of no use, or a published figure was missed.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from chalicelib.carbon.reproduce.published import REGIONS, find_region
from chalicelib.carbon.reproduce.series import SeriesError, pick_year, read_series

NO_NUMPY = (
    "numpy is not installed: the published figures hang on its random streams. It is one of the development "
    "dependencies (make test installs them); elsewhere: python -m pip install numpy\n"
)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parse(arguments)
    try:
        from chalicelib.carbon.reproduce.report import render_report
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        sys.stderr.write(NO_NUMPY)
        return 2
    passed = True
    for path in options.csv:
        try:
            series = read_series(path)
            year, values = pick_year(series, options.year)
        except SeriesError as error:
            sys.stderr.write(f"{error}\n")
            return 1
        report = render_report(path.name, year, values, options.region or find_region(series.sha256))
        sys.stdout.write(f"{report.text}\n")
        passed = passed and report.passed
    return 0 if passed else 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chalicelib.carbon.reproduce", description=__doc__)
    parser.add_argument("--csv", type=Path, required=True, action="extend", nargs="+", metavar="FILE")
    parser.add_argument(
        "--region", choices=sorted(REGIONS), help="compare with what was published of it (else by checksum)"
    )
    parser.add_argument("--year", type=int, help="2020 where the file has it, else its first whole year")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
