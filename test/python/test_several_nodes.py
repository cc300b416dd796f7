"""The page docs/several-nodes.md: its statements run in their order on three clusters."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Connection, rows, value
from key_nodes import dsn, nodes, settle, wait_for_none
from pgkeymgr.client import Client
from psycopg import errors

PAGE = (Path(__file__).parents[2] / "docs/several-nodes.md").read_text(encoding="utf-8")
SQL = re.compile(r"^```sql\n-- on node (\d)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COPY = re.compile(r'"(COPY .*) TO STDOUT".*\n.*"(SET .*)" -c "(COPY .*) FROM STDIN"')
QUIET = "pg_stat_replication"


@pytest.fixture(scope="module")
def three() -> Iterator[list[Connection]]:
    """Three nodes that nothing was done to."""
    with nodes(3) as sessions:
        yield sessions


def run(three: list[Connection], number: int, block: str) -> list[list[tuple[object, ...]]]:
    """Run a block on a node, and wait until the others have the result."""
    results = []
    for statement in filter(str.strip, block.split(";\n")):
        text = statement
        for other, session in enumerate(three, 1):
            text = text.replace(f"host=node{other} dbname=shop", dsn(session))
        if QUIET in text:
            wait_for_none(three[number - 1], text, "the others have everything")
            continue
        results.append(rows(three[number - 1], text))
    settle(three)
    return results


def test_page(three: list[Connection]) -> None:
    """Every block of SQL does what the page says, and the state in between and at the end is right."""
    blocks = [(int(number), text, match_at) for number, text, match_at in _blocks()]
    assert len(blocks) == PAGE.count("```sql") > 15
    checks = {
        "## Comparable blind indexes": _check_follows,
        "## Move ciphertexts": _check_hashes,
        "## Import a key": _check_moved,
    }
    done = {}
    for number, text, at in blocks:
        for heading in [each for each in checks if at > PAGE.index(each)]:
            checks.pop(heading)(three)
        done[text] = run(three, number, text)
    assert not checks
    (searched,) = (result for text, result in done.items() if "WHERE ssn_bidx" in text)
    assert searched == [[(3,)]]
    asked = [result for text, result in done.items() if "key_dependents" in text]
    assert asked == [[[('the blind index of column "ssn" of customer',)]]]
    _check_switched(three)


def _blocks() -> list[tuple[str, str, int]]:
    return [(match[1], match[2], match.start()) for match in SQL.finditer(PAGE)]


def _check_follows(three: list[Connection]) -> None:
    for node in three[1:]:
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='node "node 1" makes them'):
            rows(node, "SELECT create_data_key('here')")
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='node "node 1" makes them'):
            rows(node, "CALL rotate_column('customer', 'ssn')")
        assert value(node, "SELECT state::text FROM encrypted_columns") == "encrypted"
    assert [value(node, "SELECT exchange_fingerprint()") for node in three[1:]] == [
        value(three[0], "SELECT exchange_fingerprint()")
    ] * 2


def _check_hashes(three: list[Connection]) -> None:
    hashes = [dict(rows(node, "SELECT ssn, ssn_bidx FROM customer")) for node in three[1:]]
    assert hashes[0]["111"] == hashes[1]["111"] != hashes[1]["444"]


def _check_moved(three: list[Connection]) -> None:
    match = COPY.search(PAGE)
    assert match
    read, setting, write = match.groups()
    source, target = three[1], three[2]
    with source.cursor().copy(f"{read} TO STDOUT".encode()) as out:
        data = b"".join(bytes(each) for each in out)
    rows(target, setting)
    with target.cursor().copy(f"{write} FROM STDIN".encode()) as into:
        into.write(data)
    rows(target, "RESET session_replication_role")
    assert rows(target, "SELECT id, ssn FROM customer WHERE ssn_bidx = blind_index('customer', 'ssn', '222')") == [
        (2, "222")
    ]
    tokens = [
        value(node, "SELECT ssn_encrypted FROM customer_encrypted WHERE id = 2") for node in (source, target)
    ]
    assert tokens[0] == tokens[1]


def _check_switched(three: list[Connection]) -> None:
    assert [row[0] for node in three for row in rows(node, "SELECT makes_keys FROM key_node_status()")] == [
        False,
        True,
        False,
    ]
    # Ids 2, 5, 8: those of node 2.
    current = "SELECT id FROM data_keys WHERE name = 'shared' AND superseded_by IS NULL"
    assert {value(node, current) % 3 for node in three} == {2}
    for node in (three[0], three[2]):
        with pytest.raises(errors.ObjectNotInPrerequisiteState, match='node "node 2" makes them'):
            rows(node, "SELECT create_data_key('here')")
    # No node has values under the old version any more.
    (old,) = rows(three[0], "SELECT id FROM data_keys WHERE name = 'shared' AND superseded_by IS NOT NULL")[0]
    assert [rows(node, f"SELECT * FROM key_dependents({old})") for node in three] == [[], [], []]
    rows(three[2], "INSERT INTO customer VALUES (5, '555')")
    assert rows(three[2], "SELECT id, ssn FROM customer ORDER BY id") == [
        (2, "222"),
        (3, "111"),
        (4, "444"),
        (5, "555"),
    ]
    assert all(value(node, "SELECT broken_link IS NULL FROM verify_key_events()") for node in three)


def test_import() -> None:
    """The block in Python brings a key, and its tokens can be read."""
    with nodes(2) as (node_1, node_2):
        rows(node_1, "SELECT create_data_key('another'), create_data_key('partners')")
        fingerprints = [value(node, "SELECT exchange_fingerprint()") for node in (node_1, node_2)]
        (block,) = PYTHON.findall(PAGE)
        text = block.replace("Client(node_2, fingerprint)", "Client(node_2, other_fingerprint)")
        names = {"node_1": node_1, "node_2": node_2, "fingerprint": fingerprints[0], "Client": Client}
        exec(text, {**names, "other_fingerprint": fingerprints[1]})  # noqa: S102  # the page's own code
        token = value(node_1, "SELECT token_encrypt_text('partners', 'plain', deterministic => true)")
        call = f"SELECT token_decrypt_text('\\x{token.hex()}')"
        assert value(node_2, call) == "plain"
        assert value(node_2, "SELECT token_encrypt_text('partners', 'plain', deterministic => true)") == token
        assert rows(node_2, "SELECT event, key_id, key_name FROM key_events") == [("import", 2, "partners")]
