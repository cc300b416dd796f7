"""The measurements as JSON and as tables on a terminal."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from measure import OURS, WAYS, Bench, Work
from rich.console import Console
from rich.table import Table
from targets import judge


def as_json(
    works: Mapping[str, Sequence[Work]], taken: Mapping[str, float], bench: Bench, seconds: float
) -> dict[str, Any]:
    """Return all figures, and what they were measured on."""
    return {
        "measured": {
            "at": datetime.now(UTC).strftime("%Y-%m-%d"),
            "seconds": round(seconds),
            "is_quick": bench.is_quick,
            "rounds": bench.round_count,
            "processor": _processor(),
            "cores": len(os.sched_getaffinity(0)),
            "system": f"{platform.system()} {platform.machine()}",
            "postgresql": bench.server_version,
            "python": platform.python_version(),
            "libraries": {name: version(name) for name in ("cryptography", "PyNaCl")},
            "pgsodium": bench.has_pgsodium,
            "cut": bench.cut,
        },
        "targets": [{**vars(outcome), "is_met": outcome.is_met} for outcome in judge(works)],
        "sections": {
            name: {"seconds": round(taken[name], 1), "works": [work.as_json() for work in of_section]}
            for name, of_section in works.items()
        },
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.processor() or "unknown"


def write(figures: dict[str, Any], folder: Path) -> None:
    """Write figures.json."""
    (folder / "figures.json").write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n")


def number(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    if abs(value) >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if abs(value) >= 0.1 or not value else f"{value:.2g}"


def limit(target: Mapping[str, Any]) -> str:
    """Return the limit of a target in words."""
    return f"at {'least' if target['is_rate'] else 'most'} {target['limit']:g} {target['unit']}"


def ratio_ways(works: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the ways that at least one of the works is compared with."""
    return [way for way in WAYS if any(way in work["ratios"] for work in works)]


def with_spread(statistic: Mapping[str, float]) -> str:
    """Return a median and how far the rounds lie from it."""
    spread = max(statistic["high"] - statistic["median"], statistic["median"] - statistic["low"])
    return number(statistic["median"]) + (f" ±{number(spread)}" if spread else "")


def cells(work: Mapping[str, Any], ways: Sequence[str]) -> list[str]:
    """Return what a table's row shows of a work: its name, the ratios, and what it costs."""
    name = f"{work['name']}, {work['note']}" if work["note"] else work["name"]
    ratios = [with_spread(work["ratios"][way]) if way in work["ratios"] else "" for way in ways]
    return [name, *ratios, f"{with_spread(work['costs'][OURS])} {work['unit']}"]


def show(figures: dict[str, Any]) -> None:
    """Print a table for each section, and one of the targets."""
    # Where nobody looks on, no line is to be broken.
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name, section in figures["sections"].items():
        ways = ratio_ways(section["works"])
        table = Table(title=f"{name} ({section['seconds']:.0f} s)", title_justify="left")
        table.add_column("pgkeymgr's")
        for way in ways:
            table.add_column(f"times {way}", justify="right")
        table.add_column("measured", justify="right")
        for work in section["works"]:
            table.add_row(*cells(work, ways))
        console.print(table)
    table = Table(title="targets", title_justify="left")
    for heading in ("figure", "measured", "target", ""):
        table.add_column(heading, justify="left" if heading in ("figure", "") else "right")
    for target in figures["targets"]:
        met = "met" if target["is_met"] else "[bold]not met[/bold]"
        table.add_row(target["name"], number(target["value"]), limit(target), met)
    console.print(table)
    for line in figures["measured"]["cut"]:
        console.print(f"The time ran out, or it could not be done: {line}", style="bold")
    for way in WAYS:
        if any(way in ratio_ways(section["works"]) for section in figures["sections"].values()):
            console.print(f"{way}: {WAYS[way]}")
    console.print(f"{figures['measured']['seconds']} s in all, medians of {figures['measured']['rounds']} rounds")
