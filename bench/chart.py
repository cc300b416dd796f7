"""The figures as a chart, from their JSON."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from measure import NOOP, OURS, PGCRYPTO, PGP, PLAIN
from section import clients, columns, operations, tokens

_COLOURS = {OURS: "#1f5fa8", PLAIN: "#8c8c8c", NOOP: "#c9c9c9", PGCRYPTO: "#d98c2b", PGP: "#a83c32"}
_LINES = {OURS: "-", PLAIN: "--", NOOP: ":", PGCRYPTO: "-.", PGP: "-."}

_BARS = (
    columns.ALL_ROWS,
    columns.ONE_ROW,
    columns.LOOKUP,
    columns.INSERT_SELECT,
    "INSERT, one row a statement",
    columns.UPDATE,
    "DELETE",
)

Works = Sequence[Mapping[str, Any]]


def draw(figures: Mapping[str, Any], folder: Path) -> None:
    """Write figures.png and figures.svg with a panel for each section that has one and was measured."""
    works = {name: section["works"] for name, section in figures["sections"].items()}
    panels = [(name, panel) for name, panel in _PANELS.items() if works.get(name)]
    if not panels:
        return
    rows = (len(panels) + 1) // 2
    figure = Figure(figsize=(12, 4.5 * rows), layout="constrained")
    for place, (name, panel) in enumerate(panels, start=1):
        panel(figure.add_subplot(rows, min(len(panels), 2), place), works[name])
    # The same figures give the same file.
    with mpl.rc_context({"svg.hashsalt": "pgkeymgr", "svg.fonttype": "none"}):
        figure.savefig(folder / "figures.svg", metadata={"Date": None})
        figure.savefig(folder / "figures.png", dpi=120)


def _columns(axes: Axes, works: Works) -> None:
    shown = [work for name in _BARS for work in works if work["name"] == name]
    height = 0.8 / len(_COLOURS)
    for number, (way, colour) in enumerate(_COLOURS.items()):
        places = [place for place, work in enumerate(shown) if way in work["costs"]]
        costs = [shown[place]["costs"][way]["median"] for place in places]
        axes.barh([place + number * height for place in places], costs, height, label=way, color=colour)
    axes.set_yticks([place + 0.4 - height / 2 for place in range(len(shown))], [work["name"] for work in shown])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("µs a row")
    axes.set_title("A table with an encrypted column")
    axes.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.3, -0.12), ncols=len(_COLOURS))


def _lines(axes: Axes, series: Mapping[str, Sequence[tuple[float, float]]]) -> None:
    for way, points in series.items():
        if points:
            axes.plot(*zip(*points, strict=True), _LINES[way], marker="o", label=way, color=_COLOURS[way])
    axes.legend(fontsize="small")


def _tokens(axes: Axes, works: Works) -> None:
    costs = {work["name"]: work["costs"] for work in works}
    _lines(
        axes,
        {
            way: [
                (size, costs[f"token_encrypt, {name}"][way]["median"])
                for name, size in tokens.SIZES.items()
                if way in costs[f"token_encrypt, {name}"]
            ]
            for way in _COLOURS
        },
    )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("bytes of the plaintext")
    axes.set_ylabel("µs a call")
    axes.set_title("token_encrypt")


def _clients(axes: Axes, works: Works) -> None:
    rates = {work["name"]: work["costs"] for work in works}
    _lines(
        axes,
        {
            way: [
                (count, rates[name][way]["median"])
                for count in clients.CLIENTS
                if (name := f"{clients.READ}, {count} clients") in rates and way in rates[name]
            ]
            for way in _COLOURS
        },
    )
    axes.set_ylim(bottom=0)
    axes.set_xlabel("clients")
    axes.set_ylabel("transactions a second")
    axes.set_title("SELECT of one row by its primary key, with pgbench")


def _operations(axes: Axes, works: Works) -> None:
    for name, style in ((operations.MIGRATE, "-"), (operations.ROTATE, "--")):
        points = [
            (int(work["note"].split()[0].replace(",", "")), work["costs"][OURS]["median"])
            for work in works
            if work["name"] == name
        ]
        axes.plot(*zip(*points, strict=True), style, marker="o", label=name, color=_COLOURS[OURS])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("rows of the table")
    axes.set_ylabel("µs a row")
    axes.set_title("Migrating and rotating a column")
    axes.legend(fontsize="small")


_PANELS: dict[str, Callable[[Axes, Works], None]] = {
    "columns": _columns,
    "tokens": _tokens,
    "clients": _clients,
    "operations": _operations,
}
