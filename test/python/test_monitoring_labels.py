"""The labels that the alerts and the dashboard name exist: in selectors, groups, legends and texts."""

import json
import re
from pathlib import Path

from pgkeymgr.agent import metrics as agent_metrics
from pgkeymgr.agent.exposition import write
from pgkeymgr.command.metrics import families
from prometheus_text import Samples, parse
from test_agent_metrics import state as agent_state
from test_metrics import sample

MONITORING = Path(__file__).parents[2] / "monitoring"
ADDED = {"instance", "job"}
"""The labels that Prometheus adds."""
CLOSED = {"state", "status"}
"""The labels that have few values, of which every one is in the metrics."""


def samples() -> Samples:
    """Return a sample of every metric of the command and of the agent."""
    return parse(write(families(sample())) + write(agent_metrics.families(agent_state())))


def labels_of(expression: str, existing: Samples) -> set[str]:
    """Return the labels that the result of an expression can have."""
    names = re.findall(r"\bpgkeymgr_\w+", expression)
    assert names, expression
    labels = {label for name in names for each in existing[name] for label, _ in each} | ADDED
    groups = re.findall(r"\b(?:by|on|without|ignoring) \(([^)]*)\)", expression)
    for group in groups:
        assert set(re.findall(r"\w+", group)) <= labels, expression
    for name, selector in re.findall(r"\b(pgkeymgr_\w+)\{([^}]*)\}", expression):
        for label, value in re.findall(r"(\w+)=\"([^\"]*)\"", selector):
            known = {known for each in existing[name] for which, known in each if which == label}
            assert label not in CLOSED or value in known, expression
    # An aggregation without a group has no label.
    if groups:
        return {label for group in groups for label in re.findall(r"\w+", group)}
    return set() if re.match(r"(sum|min|max|count)\(", expression) else labels


def test_the_labels_in_the_texts_of_alerts_exist() -> None:
    existing = samples()
    alerts = (MONITORING / "pgkeymgr-alerts.yml").read_text().split("- alert: ")[1:]
    assert len(alerts) > 10
    for alert in alerts:
        (expression,) = re.findall(r"(?m)^ +expr: (.+)$", alert)
        assert set(re.findall(r"\$labels\.(\w+)", alert)) <= labels_of(expression, existing), alert


def test_the_labels_in_the_legends_of_the_dashboard_exist() -> None:
    existing = samples()
    board = json.loads((MONITORING / "pgkeymgr-dashboard.json").read_text())
    targets = [target for panel in board["panels"] for target in panel["targets"]]
    assert len(targets) > 10
    for target in targets:
        labels = labels_of(target["expr"], existing)
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= labels, target
    for variable in board["templating"]["list"]:
        if "definition" in variable:
            name, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])[0]
            assert label in labels_of(name, existing)
