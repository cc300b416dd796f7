"""Checkpoints of the audit trail: a trail that was cut or written again is found.

A real agent signs them, real servers ask for them, and the command checks them. The attacker is a superuser.
"""

import base64
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from agent_process import Agent
from cluster import Cluster
from conftest import Connection, rows, value
from pgkeymgr.agent import checkpoint, protocol, service
from pgkeymgr.agent.checkpoint import CheckpointFile, Head
from pgkeymgr.agent.keeper import Keeper
from pgkeymgr.agent.settings import Settings
from pgkeymgr.command import app
from pgkeymgr.errors import AgentError, DataError, UnsupportedError
from pgkeymgr.key.audit import HASH_BYTES, event_hash
from pgkeymgr.root_key import LocalRootKey, signing
from typer.testing import CliRunner, Result

KEYS = ["11" * 32, "22" * 32]
HEAD = Head(7_000_000_000_000_000_000, "shop", 3, bytes(range(HASH_BYTES)))


# The agent's part, without a server.


@pytest.fixture
def root_key() -> LocalRootKey:
    """Return a root key and a previous one."""
    return LocalRootKey([bytes.fromhex(key) for key in KEYS], "a test")


def public_keys(root_key: LocalRootKey) -> checkpoint.PublicKeys:
    """Return the public keys, by the way of their file."""
    return checkpoint.read_public_keys(checkpoint.write_public_keys(signing.public_keys(root_key)))


def append(file: CheckpointFile, root_key: LocalRootKey, head: Head) -> str:
    """Append a checkpoint, as the agent does."""
    return file.append(head, root_key.fingerprint, partial(signing.sign, root_key))


def verify(path: Path, root_key: LocalRootKey) -> tuple[int, list[str]]:
    """Verify a file, and return the number of its good checkpoints and the faults."""
    good, faults = checkpoint.verify_lines(path.read_bytes().splitlines(keepends=True), public_keys(root_key))
    return len(good), faults


def test_a_file_of_checkpoints(tmp_path: Path, root_key: LocalRootKey) -> None:
    path = tmp_path / "checkpoints"
    file = CheckpointFile(str(path))
    lines = [append(file, root_key, Head(1, "shop", link, bytes([link] * 32))) for link in (1, 2, 2)]
    lines.append(append(CheckpointFile(str(path)), root_key, Head(1, "other", 0, bytes(32))))
    assert path.read_text().splitlines() == lines
    assert path.stat().st_mode & 0o777 == 0o644
    assert verify(path, root_key) == (4, [])
    parsed = [json.loads(line)["checkpoint"] for line in lines]
    assert [each["counter"] for each in parsed] == [1, 2, 3, 4]
    assert parsed[0]["time"].endswith("+00:00")


def test_the_signatures_are_frozen(root_key: LocalRootKey) -> None:
    """An auditor with the keys of an older version can verify the checkpoints that a later version signs."""
    keys = public_keys(root_key)
    assert list(keys) == [root_key.fingerprint, *root_key.previous]
    newest = keys[root_key.fingerprint]
    assert newest[signing.ED25519].hex() == "5b45d185515d8906cb10cc54eb8ad464a494c5b9f5c0827b5651ff5555305952"
    assert hashlib.sha256(newest[signing.ML_DSA_65]).hexdigest() == (
        "6dfd7d80418fb511f1244b979023be6a1194e7ae8698d22991debfcc07ea957f"
    )
    none = "0" * 64
    fields = {"counter": 1, "database": "ä", "hash": none, "link": 0, "previous": none, "system": "1", "time": ""}
    assert checkpoint._message(fields) == (
        f'pgkeymgr audit checkpoint, format 1\0{{"counter":1,"database":"\\u00e4","hash":"{none}",'
        f'"link":0,"previous":"{none}","system":"1","time":""}}'
    ).encode("ascii")
    assert {name: len(one) for name, one in signing.sign(root_key, b"x").items()} == {
        "ed25519": 64,
        "ml-dsa-65": 3309,
    }


def test_without_ml_dsa(tmp_path: Path, root_key: LocalRootKey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without it signs with Ed25519. An auditor who has pinned both keys wants both signatures."""
    path = tmp_path / "checkpoints"
    with monkeypatch.context() as patch:
        patch.setattr(signing, "_ml_dsa", lambda: None)
        append(CheckpointFile(str(path)), root_key, HEAD)
        assert verify(path, root_key) == (1, [])
    assert verify(path, root_key) == (0, ["line 1: the signature of ml-dsa-65 is missing"])


def test_no_checkpoint_without_an_agent(root_key: LocalRootKey) -> None:
    """The server could sign everything itself."""
    with pytest.raises(UnsupportedError, match="needs the agent"):
        root_key.checkpoint(1, "shop", 0, bytes(32))


def altered(line: bytes, **changes: object) -> bytes:
    """Return a line with other fields, and the same signatures."""
    document = json.loads(line)
    document["checkpoint"].update(changes)
    return json.dumps(document).encode() + b"\n"


def test_faults_of_the_file(tmp_path: Path, root_key: LocalRootKey) -> None:
    path = tmp_path / "checkpoints"
    file = CheckpointFile(str(path))
    for link, byte in ((1, 1), (2, 2), (3, 3)):
        append(file, root_key, Head(1, "shop", link, bytes([byte] * 32)))
    lines = path.read_bytes().splitlines(keepends=True)

    def faults(*changed: bytes) -> list[str]:
        return checkpoint.verify_lines(changed, public_keys(root_key))[1]

    assert faults(*lines) == []
    assert faults(lines[0], lines[2]) == [
        "line 2 does not follow the line before it: lines were removed or exchanged"
    ]
    assert "line 1 does not follow" in faults(*lines[1:])[0]
    assert len(faults(lines[1], lines[0], lines[2])) >= 2
    changes = {"counter": 9, "database": "s", "hash": "00", "link": 9, "previous": "0", "system": "2", "time": ""}
    for name, change in changes.items():
        assert faults(altered(lines[0], **{name: change}))[0] == "line 1: the signature of ed25519 is not valid"
    assert faults(b"{}\n", b"\xff\n", b"[]\n", altered(lines[0], link="1")) == [
        f"line {number} is not a checkpoint" for number in (1, 2, 3, 4)
    ]
    other = LocalRootKey([bytes(range(32))], "another")
    _, unknown = checkpoint.verify_lines(lines, public_keys(other))
    assert len(unknown) == 3
    assert root_key.fingerprint in unknown[0]
    document = json.loads(lines[0])
    document["signatures"]["ml-dsa-65"] = base64.b64encode(bytes(3309)).decode()
    assert faults(json.dumps(document).encode()) == ["line 1: the signature of ml-dsa-65 is not valid"]

    append(file, root_key, Head(1, "shop", 2, bytes([2] * 32)))
    append(file, root_key, Head(1, "shop", 2, bytes([9] * 32)))
    assert verify(path, root_key)[1] == [
        'line 4: the trail of database "shop" went back from event 3 to event 2',
        'line 5: event 2 of database "shop" has another hash than before',
    ]


def test_a_file_that_was_cut_or_half_written(tmp_path: Path, root_key: LocalRootKey) -> None:
    path = tmp_path / "checkpoints"
    file = CheckpointFile(str(path))
    for _ in range(3):
        append(file, root_key, HEAD)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0])
    append(file, root_key, HEAD)
    assert verify(path, root_key)[1] == ["line 2 has the counter 4, not 2: lines are missing"]
    path.write_bytes(lines[0] + lines[1][:100])
    append(CheckpointFile(str(path)), root_key, HEAD)
    assert verify(path, root_key) == (2, ["line 2 is not a checkpoint"])


def test_where_the_file_may_be(tmp_path: Path, root_key: LocalRootKey) -> None:
    open_to_all = tmp_path / "open"
    open_to_all.mkdir()
    open_to_all.chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "fifo")
    for path in (open_to_all / "a", tmp_path / "link", tmp_path / "fifo", tmp_path / "missing" / "a", tmp_path):
        with pytest.raises(AgentError, match="the file of checkpoints"):
            append(CheckpointFile(str(path)), root_key, HEAD)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "head",
    [
        (-1, "a", 1, bytes([1] * 32)),
        (2**64, "a", 1, bytes([1] * 32)),
        (1, "", 1, bytes([1] * 32)),
        (1, "a" * 64, 1, bytes([1] * 32)),
        (1, "a", -1, bytes([1] * 32)),
        (1, "a", 1, bytes(32)),
        (1, "a", 0, bytes([1] * 32)),
        (1, "a", 1, bytes([1] * 31)),
    ],
)
def test_the_agent_signs_no_other_text(head: tuple[int, str, int, bytes]) -> None:
    with pytest.raises(DataError):
        Head(*head)


def test_the_frame_is_frozen() -> None:
    frame = protocol.encode_checkpoint(HEAD.system, HEAD.database, HEAD.link, HEAD.hash)
    assert frame.hex() == (
        "000000460106"
        "000000086124fee993bc0000"
        "0000000473686f70"
        "000000080000000000000003"
        "00000020" + bytes(range(32)).hex()
    )
    operation, fields = protocol.decode_request(frame[4:])
    assert operation == 6
    assert Head(*protocol.decode_checkpoint(fields)) == HEAD
    for wrong in ([b"", *fields[1:]], [fields[0], b"\xff", *fields[2:]], [*fields[:2], b"x", fields[3]]):
        with pytest.raises(protocol.FormatError):
            protocol.decode_checkpoint(wrong)
    assert protocol.encode(protocol.Operation.AUDIT_KEYS).hex() == "000000020115"


@pytest.fixture(scope="module")
def agent() -> Iterator[Agent]:
    """An agent with a file of checkpoints, that serves the server's user and this one."""
    own = ["postgres", "root"] if os.geteuid() == 0 else [str(os.geteuid())]
    made = Agent(KEYS, users=own)
    made.options += ["--checkpoints", str(made.directory / "checkpoints")]
    with made as running:
        yield running


def file_of(agent: Agent) -> Path:
    """Return the agent's file of checkpoints."""
    return agent.directory / "checkpoints"


def test_a_real_agent(agent: Agent, tmp_path: Path) -> None:
    line = agent.root_key().checkpoint(HEAD.system, HEAD.database, HEAD.link, HEAD.hash)
    assert file_of(agent).read_text().splitlines()[-1] == line
    assert f"checkpoint {line}\n" in agent.log
    printed = agent.command("audit-keys")
    assert printed.returncode == 0
    assert printed.stdout == agent.control().audit_keys()
    good, faults = checkpoint.verify_lines([line.encode()], checkpoint.read_public_keys(printed.stdout))
    assert [each.database for each in good] == ["shop"]
    assert all("does not follow" in fault for fault in faults)
    with pytest.raises(DataError, match="hash"):
        agent.root_key().checkpoint(1, "shop", 1, bytes(32))
    for key in KEYS:
        assert key not in file_of(agent).read_text() + printed.stdout


def test_an_agent_without_a_file_and_a_client_that_asks_too_often(agent: Agent) -> None:
    settings = Settings(checkpoints=None)
    keeper = Keeper(lambda _: LocalRootKey([bytes(32)], "a test"))
    keeper.root_key = LocalRootKey([bytes([1] * 32)], "a test")
    requests = [
        protocol.decode_request(protocol.encode_checkpoint(1, "shop", link, HEAD.hash)[4:]) for link in (1, 2, 3)
    ]
    operation, fields = requests[0]
    without = service.Service(settings, keeper, frozenset(), 1)
    with pytest.raises(AgentError, match="no file for checkpoints"):
        without.use(operation, fields)
    path = agent.directory / "often"
    busy = service.Service(Settings(checkpoints=str(path)), keeper, frozenset(), 1)
    for _ in range(service.CHECKPOINTS_PER_HOUR_MAX - 2):
        busy._checkpoint_times.append(time.monotonic())
    answers = [busy.use(*requests[0]), busy.use(*requests[1])]
    with pytest.raises(AgentError, match="within an hour"):
        busy.use(*requests[2])
    # A trail without a new event uses up nothing.
    assert [busy.use(*each) for each in requests[:2]] == answers
    assert len(path.read_text().splitlines()) == 2


# The server and the command.


@pytest.fixture(scope="module")
def server(agent: Agent) -> Iterator[Cluster]:
    """A cluster that uses the agent, with a database to copy."""
    with Cluster(environment={"PGKEYMGR_AGENT": str(agent.socket)}, root_keys=None) as cluster:
        cluster.create_database("template_of_trails")
        yield cluster


NAMES = (f"trail_{n}" for n in itertools.count())
"""Every trail has a name of its own, because the agent's file has the checkpoints of all of them."""


@pytest.fixture
def database(server: Cluster) -> Iterator[Connection]:
    """A superuser in a new database, whose trail has five events."""
    name = next(NAMES)
    with server.database_copy("template_of_trails", name), server.connect(name) as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        for n in range(5):
            rows(connection, f"SELECT create_data_key('key {n}')")
        yield connection


def run(server: Cluster, *words: str | Path) -> Result:
    """Run ``pgkeymgr audit``, in this process because that is faster."""
    return CliRunner().invoke(app, ["audit", *map(str, words)], env=server.client_environment())


@pytest.fixture
def auditor(agent: Agent, server: Cluster, database: Connection, tmp_path: Path) -> Sequence[str | Path]:
    """Return the options of the auditor, who has two checkpoints of the trail, after 5 and 6 events."""
    kept = tmp_path / "checkpoints"
    keys = tmp_path / "keys"
    keys.write_text(agent.command("audit-keys").stdout)
    file_of(agent).touch(0o644)
    start = len(file_of(agent).read_bytes().splitlines())
    first = run(server, "checkpoint", "--database", database.info.dbname)
    assert first.exit_code == 0, first.stderr
    rows(database, "SELECT create_data_key('later')")
    line = value(database, "SELECT checkpoint_key_events()")
    lines = [first.stdout.strip(), line]
    assert [json.loads(each)["checkpoint"]["link"] for each in lines] == [5, 6]
    assert file_of(agent).read_text().splitlines()[start:] == lines
    kept.write_bytes(file_of(agent).read_bytes())
    return ["verify", "--checkpoints", kept, "--keys", keys, "--database", database.info.dbname]


def test_an_intact_trail(
    server: Cluster, database: Connection, auditor: Sequence[str | Path], tmp_path: Path
) -> None:
    rows(database, "SELECT create_data_key('not in a checkpoint yet')")
    done = run(server, *auditor)
    assert (done.exit_code, done.stderr) == (0, "2 checkpoints verified.\n")
    export = tmp_path / "export"
    export.write_text(run(server, "export", "--database", database.info.dbname).stdout)
    done = run(server, *auditor[:-2], "--export", export)
    assert (done.exit_code, done.stderr) == (0, "2 checkpoints verified.\n")


@pytest.mark.parametrize(
    "words",
    [
        ("--checkpoints", "a"),
        ("--keys", "a"),
        ("--export", "a"),
        ("--checkpoints", "a", "--keys", "a", "--json"),
        ("--checkpoints", "a", "--keys", "a", "--link", "1", "--hash", "00"),
    ],
)
def test_options_that_do_not_go_together(words: Sequence[str]) -> None:
    assert CliRunner().invoke(app, ["audit", "verify", *words]).exit_code == 2


def write_again(connection: Connection, change: str) -> None:
    """Change the trail as a superuser, and compute all hashes again, so that the server finds no fault."""
    rows(connection, "SET session_replication_role = replica")
    rows(connection, change)
    found = rows(
        connection,
        "SELECT id::text, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), event, key_id::text,"
        " key_name, role, session_role, client, detail FROM key_event ORDER BY link",
    )
    names = ("id", "at", "event", "key_id", "key_name", "role", "session_role", "client", "detail")
    previous = bytes(HASH_BYTES)
    for link, event in enumerate(found, 1):
        previous = event_hash(previous, {"link": str(link), **dict(zip(names, event, strict=True))})
        rows(
            connection,
            f"UPDATE key_event SET link = {link}, hash = '\\x{previous.hex()}' WHERE id = '{event[0]}'",
        )
    rows(connection, "RESET session_replication_role")
    assert value(connection, "SELECT broken_link FROM verify_key_events()") is None


def test_a_trail_that_was_written_again(
    server: Cluster, database: Connection, auditor: Sequence[str | Path]
) -> None:
    rows(database, "CREATE TABLE kept AS TABLE key_event")
    for change, fault in (
        ("UPDATE key_event SET role = 'x' WHERE link = 2", "event 5 is not the one of the checkpoint"),
        ("UPDATE key_event SET detail = 'x' WHERE link = 6", "event 6 is not the one of the checkpoint"),
        ("DELETE FROM key_event WHERE link = 3", "event 5 is not the one of the checkpoint"),
        ("DELETE FROM key_event WHERE link > 4", "the trail ends at event 4, before event 6 of a checkpoint"),
        ("DELETE FROM key_event", "the trail ends at event 0, before event 6 of a checkpoint"),
    ):
        write_again(database, change)
        done = run(server, *auditor)
        assert done.exit_code == 1
        assert f'database "{database.info.dbname}": {fault}' in done.stderr
        write_again(database, "DELETE FROM key_event")
        rows(database, "SET session_replication_role = replica")
        rows(database, "INSERT INTO key_event SELECT * FROM kept")
        rows(database, "RESET session_replication_role")
    assert run(server, *auditor).exit_code == 0


def test_a_change_without_new_hashes(
    server: Cluster, database: Connection, auditor: Sequence[str | Path], tmp_path: Path
) -> None:
    export = tmp_path / "export"
    lines = run(server, "export", "--database", database.info.dbname).stdout.splitlines(keepends=True)
    for changed, fault in (
        ([*lines[:1], *lines[2:]], "event 2 is missing"),
        ([lines[0].replace("key 0", "key 9"), *lines[1:]], "event 1 was changed"),
        (lines[:4], "the trail ends at event 4"),
        ([*lines, "{}\n"], "line 7 of the export is not an event"),
        ([], "has no event"),
        ([line.replace(database.info.dbname, "other") for line in lines], "there is no checkpoint"),
    ):
        export.write_text("".join(changed))
        done = run(server, *auditor[:-2], "--export", export)
        assert done.exit_code == 1
        assert fault in done.stderr


def test_a_database_that_has_checkpoints_and_is_gone(
    server: Cluster, agent: Agent, database: Connection, auditor: Sequence[str | Path], tmp_path: Path
) -> None:
    rows(database, "CREATE DATABASE gone TEMPLATE template_of_trails")
    assert run(server, "checkpoint", "--database", "gone").exit_code == 0
    rows(database, "DROP DATABASE gone WITH (FORCE)")
    kept = tmp_path / "all"
    kept.write_bytes(file_of(agent).read_bytes())
    done = run(server, "verify", "--checkpoints", kept, *auditor[3:5])
    assert done.exit_code == 1
    assert 'database "gone" has checkpoints, and does not exist any more' in done.stderr


def test_export_with_a_cursor(server: Cluster, database: Connection) -> None:
    """A monitoring role can export and ask for checkpoints; each event comes once."""
    rows(database, "CREATE ROLE exporter LOGIN IN ROLE pgkeymgr_monitor")
    try:
        only = ["--database", database.info.dbname]
        seen: list[int] = []
        while True:
            cursor = str(seen[-1]) if seen else "0"
            done = run(
                server,
                "export",
                "--dsn",
                server.dsn(database.info.dbname, "exporter"),
                "--after",
                cursor,
                "--limit",
                "2",
            )
            assert done.exit_code == 0, done.stderr
            new = [json.loads(line) for line in done.stdout.splitlines()]
            if not new:
                break
            assert len(new) <= 2
            seen += [event["link"] for event in new]
        assert seen == [1, 2, 3, 4, 5]
        done = run(server, "checkpoint", "--dsn", server.dsn(database.info.dbname, "exporter"), *only)
        assert done.exit_code == 0, done.stderr
        assert json.loads(done.stdout)["checkpoint"]["link"] == 5
    finally:
        rows(database, "DROP ROLE exporter")


def test_export_as_ocsf(server: Cluster, database: Connection) -> None:
    rows(database, "SELECT destroy_data_key(id, name) FROM data_keys WHERE name = 'key 0'")
    done = run(server, "export", "--format", "ocsf", "--database", database.info.dbname)
    first, *_, last = (json.loads(line) for line in done.stdout.splitlines())
    assert first["class_uid"] == 3004
    assert (first["activity_id"], first["activity_name"], first["type_uid"]) == (1, "Create", 300401)
    assert (last["activity_id"], last["activity_name"], last["type_uid"]) == (4, "Delete", 300404)
    assert (first["metadata"]["event_code"], last["metadata"]["event_code"]) == ("create", "destroy")
    assert first["entity"] == {"type_id": 99, "type": "Key", "uid": "1", "name": "key 0"}
    assert first["actor"]["user"]["name"] == "postgres"
    assert first["metadata"]["sequence"] == 1
    at = value(database, "SELECT floor(extract(epoch FROM at) * 1000)::bigint FROM key_events WHERE link = 1")
    assert first["time"] == at
