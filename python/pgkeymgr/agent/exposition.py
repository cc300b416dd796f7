"""Writes metrics in the text format of Prometheus, and in that of OpenMetrics.

Sources: Prometheus, "Exposition formats", version 0.0.4; OpenMetrics 1.0.0
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

TEXT = "text/plain; version=0.0.4; charset=utf-8"
"""The media type of Prometheus' format."""
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
"""The media type of OpenMetrics' format."""

END = "# EOF\n"
"""The last line of OpenMetrics. It is a comment in Prometheus' format."""

_TOTAL = "_total"
_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


@dataclass
class Family:
    """A metric with all its samples.

    Attributes:
        name: the name of the metric. The name of a counter ends with ``_total``, that of a gauge does not.
        help: one sentence that says what the metric counts, and its unit.
        kind: ``gauge`` or ``counter``. A file of gauges alone is valid in both formats.
        samples: pairs of labels and value.
    """

    name: str
    help: str
    kind: Literal["gauge", "counter"] = "gauge"
    samples: list[tuple[dict[str, str], float]] = field(default_factory=list)

    def add(self, value: float, /, **labels: object) -> None:
        """Add a sample.

        Args:
            value: the value; True is 1.
            labels: the labels, with values of any type that has a text form.
        """
        self.samples.append(({name: str(text) for name, text in labels.items()}, value))


def write(families: Iterable[Family], is_openmetrics: bool = False) -> str:
    """Return metrics as text.

    Args:
        families: the metrics. Those without samples are left out.
        is_openmetrics: whether to write OpenMetrics' format, in which the name of a counter in the lines HELP and
            TYPE has no ``_total``, and whose last line is ``# EOF``.

    Returns:
        The text, which ends with a line break.
    """
    lines: list[str] = []
    for family in families:
        if not family.samples:
            continue
        name = family.name.removesuffix(_TOTAL) if is_openmetrics else family.name
        lines.append(f"# HELP {name} {family.help.translate(_ESCAPES)}")
        lines.append(f"# TYPE {name} {family.kind}")
        lines += [_sample(family.name, labels, value) for labels, value in family.samples]
    return "".join(f"{line}\n" for line in lines) + (END if is_openmetrics else "")


def _sample(name: str, labels: dict[str, str], value: float) -> str:
    written = ",".join(f'{label}="{text.translate(_ESCAPES)}"' for label, text in labels.items())
    number = str(int(value)) if value == int(value) else repr(float(value))
    return f"{name}{{{written}}} {number}" if written else f"{name} {number}"
