"""Tests of ``pgkeymgr metrics``: the format, failures of single databases, the alerts and the dashboard."""

import json
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cluster import ROOT_KEY
from conftest import rows
from pgkeymgr.agent import metrics as agent_metrics
from pgkeymgr.agent.exposition import END, Family, write
from pgkeymgr.command.metrics import families
from pgkeymgr.command.state import ClusterState, Column, DatabaseState, Finding, Key, Operation, RootKey
from prometheus_text import Samples, parse
from report_database import HOSTILE, OTHER_KEY, ROWS, Server, running
from test_agent_metrics import state as agent_state

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHOP = ("database", "shop")
TOP = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with three databases."""
    with running() as started:
        yield started


# The format.


def sample() -> ClusterState:
    """Return a state that has a sample of every metric, with hostile names."""
    database = DatabaseState(HOSTILE, "0.1.0")
    database.root_key = RootKey("f" * 32, "getkey", ("e" * 32,), ("e" * 32, "f" * 32))
    database.counts = {("current", "under 30 days"): 2}
    database.oldest, database.next_expiry = NOW - timedelta(days=3), NOW + timedelta(hours=1)
    database.destructions, database.next_destruction = 2, NOW + timedelta(days=30)
    database.keys = [
        Key(1, HOSTILE, "current", False, database.oldest, database.next_expiry, "me", ("root",), ()),
        Key(2, None, "expired", False, NOW, NOW - timedelta(seconds=5), "me", ("root",), ()),
        Key(3, "old", "expired", True, NOW, NOW - timedelta(seconds=5), "me", ("root",), ()),
    ]
    database.columns = [Column(HOSTILE, HOSTILE, "text", "key", "randomized", None, None, "migrating", 5)]
    database.operations = [Operation(HOSTILE, HOSTILE, "migrate", 3, 10, NOW, None, 0, 0)]
    database.findings = [
        Finding("swap", "ok", None, "fine", None),
        Finding("tls", "notice", None, "a", None),
        Finding("tls", "error", None, "b", None),
    ]
    database.events_total = 7
    database.last_root_rotation = NOW
    return ClusterState(NOW, databases=[database], problems={"broken": "it is broken"})


def test_samples_have_the_names_as_labels() -> None:
    text = write(families(sample())) + END
    found = parse(text, is_openmetrics=True)
    named = ("database", HOSTILE)
    assert found["pgkeymgr_up"] == {(): 1}
    assert found["pgkeymgr_database_up"] == {(("database", "broken"),): 0, (named,): 1}
    assert found["pgkeymgr_keys"][named, ("state", "current")] == 2
    assert found["pgkeymgr_keys"][named, ("state", "destroyed")] == 0
    assert found["pgkeymgr_key_age_seconds"] == {(named, ("key", HOSTILE), ("id", "1")): 3 * 86400}
    assert found["pgkeymgr_key_expires_in_seconds"] == {
        (named, ("key", HOSTILE), ("id", "1")): 3600,
        (named, ("key", "key 2"), ("id", "2")): -5,
    }
    assert found["pgkeymgr_keys_destruction_scheduled"] == {(named,): 2}
    assert found["pgkeymgr_next_key_destruction_timestamp_seconds"] == {(named,): NOW.timestamp() + 30 * 86400}
    labels = (named, ("relation", HOSTILE), ("column", HOSTILE), ("operation", "migrate"))
    assert found["pgkeymgr_operation_rows_left"] == {labels: 7}
    assert found["pgkeymgr_doctor_check_status"] == {(named, ("check", "swap")): 0, (named, ("check", "tls")): 3}
    assert found["pgkeymgr_root_keys_previous_needed"] == {(named,): 1}
    assert found["pgkeymgr_root_key_rotated_timestamp_seconds"] == {(named,): NOW.timestamp()}


def test_the_formats() -> None:
    counted = Family("a_total", 'A "help" with \\ and\nlines.', "counter")
    counted.add(1.5, label='a\\b\n"c"')
    counted.add(0.1 + 0.2)
    lines = r"""# HELP a_total A \"help\" with \\ and\nlines.
# TYPE a_total counter
a_total{label="a\\b\n\"c\""} 1.5
a_total 0.30000000000000004
"""
    assert write([counted, Family("b", "It has no sample.")]) == lines
    openmetrics = lines.replace("HELP a_total", "HELP a").replace("TYPE a_total", "TYPE a") + "# EOF\n"
    assert write([counted], is_openmetrics=True) == openmetrics


@pytest.mark.parametrize(
    "text",
    [
        "a 1\n",
        "# TYPE a gauge\na 1\n",
        "# HELP a h\n# TYPE a gauge\na 1",
        "# HELP a h\n# TYPE a gauge\na 1\na 2\n",
        "# HELP a h\n# TYPE a gauge\nb 1\n",
        '# HELP a h\n# TYPE a gauge\na{b="c} 1\n',
        '# HELP a h\n# TYPE a gauge\na{b="c\\d"} 1\n',
        "# HELP a_total h\n# TYPE a_total gauge\na_total 1\n",
        "# HELP a h\n# TYPE a counter\na 1\n",
        "# HELP a h\n# TYPE a gauge\n",
    ],
)
def test_the_parser_of_the_tests_is_strict(text: str) -> None:
    with pytest.raises(AssertionError):
        parse(text)


def test_the_client_library_of_prometheus_reads_them() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus_client is not installed")
    openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")
    text = write(families(sample())) + END
    agent = agent_metrics.families(agent_state())
    for read in (
        parser.text_string_to_metric_families(text),
        openmetrics.text_string_to_metric_families(text),
        parser.text_string_to_metric_families(write(agent)),
        openmetrics.text_string_to_metric_families(write(agent, is_openmetrics=True)),
    ):
        found = [sample for family in read for sample in family.samples]
        assert len(found) > 10
        assert all(sample.labels.get("database", HOSTILE) in (HOSTILE, "broken") for sample in found)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool of Prometheus is not on this machine")
def test_promtool_finds_nothing(tmp_path: Path) -> None:
    for text in (write(families(sample())) + END, write(agent_metrics.families(agent_state()))):
        done = subprocess.run(
            ["promtool", "check", "metrics"], input=text, check=False, capture_output=True, text=True
        )
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # The expressions of the dashboard become rules, so that they are checked, too. JSON is YAML.
    board = [each for each in expressions()["dashboard"] if not each.startswith("label_values")]
    rules = [{"record": f"rule_{number}", "expr": expression} for number, expression in enumerate(board)]
    written = tmp_path / "dashboard.yml"
    written.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    for file in (TOP / "monitoring" / "pgkeymgr-alerts.yml", written):
        done = subprocess.run(["promtool", "check", "rules", file], check=False, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        assert re.search(r"SUCCESS: \d\d rules found", done.stdout)


# The command.


def metrics(server: Server, *options: str, status: int = 0) -> Samples:
    """Run the command as a monitor, and return the metrics."""
    return parse(server.call("metrics", *options, status=status).stdout, is_openmetrics=True)


def test_metrics(server: Server) -> None:
    found = metrics(server)
    assert found["pgkeymgr_up"] == {(): 1}
    assert found["pgkeymgr_databases"] == {(): 2}
    assert found["pgkeymgr_database_up"] == {(SHOP,): 1, (("database", "empty"),): 1}
    assert found["pgkeymgr_root_key_ok"] == {(SHOP,): 1, (("database", "empty"),): 1}
    states = {"current": 5, "superseded": 1, "expired": 1, "disabled": 1, "destroyed": 1}
    assert {state: found["pgkeymgr_keys"][SHOP, ("state", state)] for state in states} == states
    assert found["pgkeymgr_columns"][SHOP, ("state", "encrypted")] == 1
    assert found["pgkeymgr_columns"][SHOP, ("state", "migrating")] == 2
    assert list(found["pgkeymgr_operation_rows_left"].values()) == [ROWS - 100]
    assert list(found["pgkeymgr_operation_rows"].values()) == [ROWS]
    assert HOSTILE in {dict(labels)["key"] for labels in found["pgkeymgr_key_age_seconds"]}
    assert found["pgkeymgr_oldest_key_age_seconds"][SHOP,] >= 400 * 86400
    # The value is rounded to seconds, and may be taken in the second in which the key was made.
    assert 4 * 86400 < found["pgkeymgr_next_key_expires_in_seconds"][SHOP,] <= 5 * 86400
    assert found["pgkeymgr_keys_destruction_scheduled"] == {(SHOP,): 1, (("database", "empty"),): 0}
    (collected,) = found["pgkeymgr_collected_timestamp_seconds"].values()
    # No destruction is scheduled in the other database.
    ((labels, due),) = found["pgkeymgr_next_key_destruction_timestamp_seconds"].items()
    assert labels == (SHOP,)
    assert 49 * 86400 < due - collected < 51 * 86400
    assert found["pgkeymgr_doctor_check_status"][SHOP, ("check", "key_expiry")] == 3
    assert found["pgkeymgr_doctor_check_status"][SHOP, ("check", "root_key")] == 0
    assert found["pgkeymgr_doctor_findings"][SHOP, ("status", "error")] >= 1
    assert found["pgkeymgr_key_events"][SHOP,] > 10
    assert "pgkeymgr_root_key_rotated_timestamp_seconds" not in found
    assert found["pgkeymgr_keys_left_out"] == {(SHOP,): 0, (("database", "empty"),): 0}
    # The metrics are read by hand here, so that a change of the limits is seen.
    assert set(found) <= {family.name for family in families(sample())}


def test_the_file_is_replaced_as_a_whole(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "pgkeymgr.prom"
    file.write_text("old")
    before = file.stat().st_ino
    done = server.call("metrics", "--textfile", file, "--database", "empty")
    assert done.stdout == ""
    assert parse(file.read_text(), is_openmetrics=True)["pgkeymgr_databases"] == {(): 1}
    assert file.stat().st_ino != before
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert os.listdir(tmp_path) == [file.name]


def test_a_database_that_fails_does_not_hide_the_others(server: Server) -> None:
    with server.cluster.connect() as connection:
        connection.execute("ALTER DATABASE empty CONNECTION LIMIT 0")
        try:
            done = server.call("metrics", status=1)
        finally:
            connection.execute("ALTER DATABASE empty CONNECTION LIMIT -1")
    assert re.search('^pgkeymgr: empty: .*too many connections for database "empty"', done.stderr)
    found = parse(done.stdout, is_openmetrics=True)
    assert found["pgkeymgr_up"] == {(): 1}
    assert found["pgkeymgr_database_up"] == {(SHOP,): 1, (("database", "empty"),): 0}
    assert found["pgkeymgr_keys"][SHOP, ("state", "current")] == 5


def test_a_part_that_fails_does_not_hide_the_others(server: Server) -> None:
    with server.cluster.connect("shop") as connection:
        connection.execute("REVOKE SELECT ON pgkeymgr.key_events FROM pgkeymgr_monitor")
        try:
            done = server.call("metrics", "--database", "shop", status=1)
        finally:
            connection.execute("GRANT SELECT ON pgkeymgr.key_events TO pgkeymgr_monitor")
    assert "shop: events: permission denied for view key_events" in done.stderr
    found = parse(done.stdout, is_openmetrics=True)
    assert found["pgkeymgr_database_up"] == {(SHOP,): 0}
    assert "pgkeymgr_key_events" not in found
    assert found["pgkeymgr_keys"][SHOP, ("state", "current")] == 5


def test_a_locked_agent_and_a_wrong_root_key(server: Server) -> None:
    server.agent.control().lock()
    try:
        found = metrics(server, "--database", "shop")
        assert found["pgkeymgr_database_up"] == {(SHOP,): 1}
        assert found["pgkeymgr_root_key_ok"] == {(SHOP,): 0}
        assert found["pgkeymgr_doctor_check_status"][SHOP, ("check", "root_key")] == 3
        server.agent.set_keys([OTHER_KEY])
        server.agent.control().unlock(lambda _: b"")
        found = metrics(server, "--database", "shop")
        assert found["pgkeymgr_root_key_ok"] == {(SHOP,): 0}
        assert found["pgkeymgr_root_keys_previous_needed"] == {(SHOP,): 1}
        assert found["pgkeymgr_keys"][SHOP, ("state", "current")] == 5
    finally:
        server.agent.control().lock()
        server.agent.set_keys([ROOT_KEY])
        server.agent.control().unlock(lambda _: b"")


def test_a_database_without_the_extension(server: Server) -> None:
    """It is no failure among others, see ``test_metrics``, unless it is named."""
    found = metrics(server, "--database", "without", status=1)
    assert found["pgkeymgr_database_up"] == {(("database", "without"),): 0}


def test_a_server_that_is_down(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "pgkeymgr.prom"
    done = server.call("metrics", "--dsn", "host=/nowhere password=hunter2", "--textfile", file, status=1)
    assert "hunter2" not in done.stderr + file.read_text()
    found = parse(file.read_text(), is_openmetrics=True)
    assert found["pgkeymgr_up"] == {(): 0}
    assert set(found) == {"pgkeymgr_up", "pgkeymgr_collected_timestamp_seconds", "pgkeymgr_databases"}


def test_a_role_without_rights(server: Server) -> None:
    with server.cluster.connect() as connection:
        rows(connection, "CREATE ROLE nobody_in_particular LOGIN")
    done = server.call("metrics", status=1, user="nobody_in_particular")
    found = parse(done.stdout, is_openmetrics=True)
    assert set(found["pgkeymgr_database_up"].values()) == {0}
    assert "pgkeymgr_root_key_ok" not in found, "nobody knows"
    assert "permission denied" in done.stderr


def test_a_name_that_is_not_in_utf_8(server: Server) -> None:
    """The database empty is in SQL_ASCII, which has texts in any encoding."""
    with server.cluster.connect("empty", client_encoding="UTF8") as connection:
        connection.execute("SELECT pgkeymgr.create_data_key('plain')")
        connection.execute("UPDATE pgkeymgr.key SET name = convert_from('\\xe9', 'SQL_ASCII')")
        done = server.call("metrics", "--database", "empty", status=1)
        connection.execute("UPDATE pgkeymgr.key SET name = 'plain'")
    assert "empty: keys: invalid byte sequence for encoding" in done.stderr
    found = parse(done.stdout, is_openmetrics=True)
    assert found["pgkeymgr_doctor_check_status"][("database", "empty"), ("check", "encoding")] == 3


# The alerts and the dashboard.


def expressions() -> dict[str, list[str]]:
    """Return the expressions of the alerts and of the dashboard."""
    alerts = (TOP / "monitoring" / "pgkeymgr-alerts.yml").read_text()
    board = json.loads((TOP / "monitoring" / "pgkeymgr-dashboard.json").read_text())
    variables = [each["definition"] for each in board["templating"]["list"] if "definition" in each]
    return {
        "alerts": re.findall(r"(?m)^ +expr: (.+)$", alerts),
        "dashboard": [target["expr"] for panel in board["panels"] for target in panel["targets"]] + variables,
    }


@pytest.mark.parametrize("kind", ["alerts", "dashboard"])
def test_every_metric_that_they_name_exists(kind: str) -> None:
    written = write(families(sample())) + write(agent_metrics.families(agent_state()))
    existing = parse(written)
    found = expressions()[kind]
    assert len(found) > 10
    for expression in found:
        names = re.findall(r"\bpgkeymgr_\w+", expression)
        assert names, expression
        assert set(names) <= set(existing), expression
        # The labels of the selectors exist, too.
        for name, labels in re.findall(r"\b(pgkeymgr_\w+)\{([^}]*)\}", expression):
            known = {label for each in existing[name] for label, _ in each} | {"instance"}
            assert set(re.findall(r"(\w+)=~?\"", labels)) <= known, expression


def test_every_alert_is_complete() -> None:
    text = (TOP / "monitoring" / "pgkeymgr-alerts.yml").read_text()
    alerts = text.split("- alert: ")[1:]
    assert len(alerts) == len(expressions()["alerts"])
    for alert in alerts:
        assert re.search(r"labels: \{severity: (info|warning|critical)\}", alert), alert
        assert re.search(r"(?m)^ +summary: .+\.\"?$", alert), alert


def test_the_panels_do_not_overlap() -> None:
    board: Any = json.loads((TOP / "monitoring" / "pgkeymgr-dashboard.json").read_text())
    taken: set[tuple[int, int]] = set()
    for panel in board["panels"]:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not taken & cells, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])


def test_the_files_for_monitoring_are_installed() -> None:
    installed = Path(os.environ.get("PREFIX", "/usr/local")) / "share" / "pgkeymgr"
    for name in ("monitoring/pgkeymgr-alerts.yml", "monitoring/pgkeymgr-dashboard.json",
                 "scripts/pgkeymgr-agent-metrics.conf"):  # fmt: skip
        assert (installed / Path(name).name).read_bytes() == (TOP / name).read_bytes()
