"""Draws the charts of the report. The bars are SVG, which the browser stretches. The labels are HTML."""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

from .markup import Markup, join, tag, text

_HEIGHT = 100
_DAYS_DAILY = 45
_WEEK = timedelta(days=7)
_BINS_MIN = 14
_GAP = 0.16
"""The part of a bin that is empty."""


def legend(names: Sequence[str]) -> Markup:
    """Return the names of series, each with its colour."""
    items = (
        tag("li", tag("svg", tag("rect", width=10, height=10, class_=f"series-{number}"),
                      viewBox="0 0 10 10", class_="swatch", aria_hidden="true"), name)
        for number, name in enumerate(names)
    )  # fmt: skip
    return tag("ul", *items, class_="legend")


def bar(values: Mapping[str, int], largest: int, what: str) -> Markup:
    """Return a horizontal bar, whose segments have the lengths of the values.

    Args:
        values: the values of the series.
        largest: the sum that fills the width.
        what: the title.
    """
    described = ", ".join(f"{count} {name}" for name, count in values.items() if count) or "none"
    x = 0.0
    segments = []
    for number, count in enumerate(values.values()):
        width = 100 * count / max(largest, 1)
        if count:
            segments.append(tag("rect", x=f"{x:.3f}", width=f"{width:.3f}", height=10, class_=f"series-{number}"))
        x += width
    return tag(
        "svg",
        tag("title", f"{what}: {described}"),
        *segments,
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar",
        role="img",
    )


def meter(done: int, total: int, what: str) -> Markup:
    """Return a bar that shows which part of something is done, and the part in percent.

    Args:
        done: the part.
        total: the whole; 0 counts as done.
        what: the title.
    """
    share = min(max(done / total, 0.0), 1.0) if total else 1.0
    # Only all of it is 100 percent.
    percent = f"{int(share * 1000) / 10:g} %"
    drawn = tag(
        "svg",
        tag("title", f"{what}: {percent}"),
        tag("rect", width=100, height=10, class_="track"),
        tag("rect", width=f"{share * 100:.3f}", height=10, class_="done"),
        viewBox="0 0 100 10",
        preserveAspectRatio="none",
        class_="bar meter",
        role="img",
    )
    return tag("span", drawn, tag("span", percent, class_="percent"), class_="metered")


def over_time(
    days: Mapping[tuple[date, str], int], series: Sequence[str], today: date, identifier: str, what: str
) -> Markup:
    """Return stacked columns over time: a column for a day, or for a week if the days are many.

    Args:
        days: the values by day and series.
        series: the names of the series, in the order of the stack.
        today: the last day of the chart.
        identifier: the start of the ids of the chart's elements.
        what: the title.
    """
    first = min(day for day, _ in days)
    step = timedelta(days=1) if (today - first).days < _DAYS_DAILY else _WEEK
    count = max((today - first) // step + 1, _BINS_MIN)
    start = today - step * count + timedelta(days=1)
    bins = [dict.fromkeys(series, 0) for _ in range(count)]
    for (day, name), value in days.items():
        # The clock of the server can be ahead of that of this machine.
        bins[min((day - start) // step, count - 1)][name] += value
    top = _round_up(max(sum(each.values()) for each in bins))
    columns = join(*(_column(number, each, top, start, step) for number, each in enumerate(bins)))
    lines = (tag("line", x1=0, x2=count, y1=y, y2=y, class_="grid") for y in (0, _HEIGHT / 2, _HEIGHT))
    total = sum(days.values())
    unit = "day" if step.days == 1 else "week"
    plot = tag(
        "svg",
        tag("title", what, id=f"{identifier}-title"),
        tag(
            "desc",
            f"{total} events in {count} {unit}s, from {start} to {today}, {_most(bins)} in one {unit} at most.",
            id=f"{identifier}-desc",
        ),
        *lines,
        columns,
        viewBox=f"0 0 {count} {_HEIGHT}",
        preserveAspectRatio="none",
        role="img",
        aria_labelledby=f"{identifier}-title {identifier}-desc",
    )
    marks = [start, start + step * (count // 2), today]
    return tag(
        "figure",
        tag("figcaption", f"{what} per {unit}"),
        legend(series),
        tag(
            "div",
            tag(
                "div", *(tag("span", f"{value:g}") for value in (top, top / 2, 0)), class_="y", aria_hidden="true"
            ),
            tag("div", plot, class_="plot"),
            tag("div", *(tag("span", day) for day in marks), class_="x", aria_hidden="true"),
            class_="chart",
        ),
    )


def _column(number: int, values: Mapping[str, int], top: float, start: date, step: timedelta) -> Markup:
    y = float(_HEIGHT)
    parts = []
    for index, value in enumerate(values.values()):
        if value:
            height = _HEIGHT * value / top
            y -= height
            parts.append(
                tag("rect", x=number + _GAP / 2, width=1 - _GAP, y=f"{y:.3f}", height=f"{height:.3f}",
                    class_=f"series-{index}")
            )  # fmt: skip
    if not parts:
        return text("")
    day = start + step * number
    when = f"{day}" if step.days == 1 else f"{day} to {day + step - timedelta(days=1)}"
    named = ", ".join(f"{value} {name}" for name, value in values.items() if value)
    return tag("g", tag("title", f"{when}: {named}"), *parts)


def _most(bins: Sequence[Mapping[str, int]]) -> int:
    return max(sum(each.values()) for each in bins)


def _round_up(value: int) -> int:
    """Return the next number with one digit that is not 0, and an even one, so that its half is a number, too."""
    power: int = 10 ** (len(str(value)) - 1)
    rounded = -(-value // power) * power
    return rounded + power if (rounded // power) % 2 and power == 1 else rounded
