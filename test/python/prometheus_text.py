"""A strict parser of Prometheus' text format, for the tests of metrics."""

import re

Samples = dict[str, dict[tuple[tuple[str, str], ...], float]]
"""The value of each sample, by the name of the metric and the labels."""

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"'
_SAMPLE = re.compile(rf"({_NAME})(?:\{{({_LABEL}(?:,{_LABEL})*)\}})? (-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)")
_UNESCAPED = {r"\\": "\\", r"\n": "\n", r"\"": '"'}


def parse(text: str, is_openmetrics: bool = False) -> Samples:
    """Return the samples of a text, after many checks of it.

    Every metric has one line HELP and one line TYPE before its samples, and its samples are together. No sample is
    given twice. The name of a counter ends with ``_total``, and that of a gauge does not.

    Args:
        text: the text.
        is_openmetrics: whether the text is to be valid in OpenMetrics' format.
    """
    assert text.endswith("\n")
    lines = text.split("\n")[:-1]
    if is_openmetrics:
        assert lines.pop() == "# EOF"
    found: Samples = {}
    name = ""
    position = 0
    while position < len(lines):
        helped = re.fullmatch(rf"# HELP ({_NAME}) (\S.*)", lines[position])
        assert helped, lines[position]
        typed = re.fullmatch(rf"# TYPE {helped[1]} (counter|gauge)", lines[position + 1])
        assert typed, lines[position + 1]
        position += 2
        is_counter = typed[1] == "counter"
        name = f"{helped[1]}_total" if is_openmetrics and is_counter else helped[1]
        assert name.endswith("_total") == is_counter, name
        assert name not in found, f"{name} is given twice"
        samples: dict[tuple[tuple[str, str], ...], float] = {}
        while position < len(lines) and not lines[position].startswith("#"):
            sample = _SAMPLE.fullmatch(lines[position])
            assert sample, lines[position]
            assert sample[1] == name
            labels = tuple(
                (label, re.sub(r"\\.", lambda escape: _UNESCAPED[escape[0]], value))
                for label, value in re.findall(_LABEL, sample[2] or "")
            )
            assert len(dict(labels)) == len(labels), "a label is given twice"
            assert labels not in samples, f"{lines[position]} is given twice"
            samples[labels] = float(sample[sample.re.groups])
            position += 1
        assert samples, f"{name} has no sample"
        found[name] = samples
    return found
