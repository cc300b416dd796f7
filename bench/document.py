"""Write docs/performance.md and its chart from the results of ``make bench``.

``make bench-docs`` runs this module. The text around the figures is in performance.md.j2.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import instructions
import jinja2
import report
from measure import WAYS
from pgkeymgr.key.keyring import BYTES_MAX
from run import SECTIONS
from section import keys, operations

_COMBINATION = "x86_64-cp311-pg15"
_FEW = 500
_HERE = Path(__file__).parent


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table in Markdown, all but the first columns aligned to the right."""
    rule = ["---"] * text_columns + ["---:"] * (len(headings) - text_columns)
    return "\n".join([_row(headings), _row(rule), *map(_row, rows)])


def _section(figures: dict[str, Any], name: str) -> str:
    works = figures["sections"][name]["works"]
    ways = report.ratio_ways(works)
    return _table(
        ["", *(f"times {way}" for way in ways), "measured"], [report.cells(work, ways) for work in works]
    )


def _targets(figures: dict[str, Any]) -> str:
    rows = [
        [
            target["name"],
            "met" if target["is_met"] else "**not met**",
            f"{report.number(target['value'])} {target['unit']}",
            report.limit(target),
        ]
        for target in figures["targets"]
    ]
    return _table(["", "", "measured", "target"], rows, text_columns=2)


def _instructions() -> str:
    """Return where the instructions of the hot calls are, as the repository has them."""
    counts = instructions.kept_counts()[_COMBINATION]
    shown = [part for part in counts[instructions.NOOP] if any(parts[part] > _FEW for parts in counts.values())]
    return _table(
        ["", *shown], [[call, *(f"{parts[part]:,}" for part in shown)] for call, parts in counts.items()]
    )


def _least() -> str:
    """Return how many instructions a row of a scan takes for the cipher and for a call that does nothing."""
    counts = instructions.kept_counts()[_COMBINATION]
    least = counts[instructions.NOOP]["all"] + counts[instructions.SCAN]["cryptography"]
    return f"{least:,}"


def render(figures: dict[str, Any]) -> str:
    """Return the page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701  # Markdown, of our own figures
    )
    shown = {way for section in figures["sections"].values() for way in report.ratio_ways(section["works"])}
    return environment.get_template("performance.md.j2").render(
        measured=figures["measured"],
        ways={way: text for way, text in WAYS.items() if way in shown},
        table=lambda name: _section(figures, name),
        targets=_targets(figures),
        instructions=_instructions(),
        least=_least(),
        combination=_COMBINATION,
        batch_size=operations.BATCH_SIZE,
        kept_megabytes=BYTES_MAX // 2**20,
        keys_at_once=keys.AT_ONCE,
    )


def main() -> int:
    """Write the page and the chart. Return 1 if the figures are not of a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--input", type=Path, default=Path("build/bench"), help="the folder that make bench wrote")
    parser.add_argument("--output", type=Path, default=Path("docs"), help="where performance.md and .svg go")
    options = parser.parse_args()
    source = options.input / "figures.json"
    if not source.exists():
        print(f"There is no {source}: run 'make bench'", file=sys.stderr)
        return 1
    figures = json.loads(source.read_text())
    if figures["measured"]["is_quick"] or set(figures["sections"]) != set(SECTIONS):
        print(f"{source} is not of a full run: run 'make bench' without --quick and --only", file=sys.stderr)
        return 1
    page = render(figures)
    (options.output / "performance.md").write_text(page)
    shutil.copyfile(options.input / "figures.svg", options.output / "performance.svg")
    print(f"{options.output}: performance.md, performance.svg")
    return 0


if __name__ == "__main__":
    sys.exit(main())
