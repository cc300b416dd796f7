"""Outputs of pgsodium 3.1.9, matched byte for byte, each through SQL."""

import base64
import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cluster import ROOT_KEY
from conftest import Connection

VECTORS = json.loads((Path(__file__).parents[1] / "data" / "pgsodium.json").read_text())
CASES = VECTORS["cases"]


def test_the_root_key_is_theirs() -> None:
    assert VECTORS["root_key"] == ROOT_KEY
    assert len(CASES) == 600


@pytest.fixture(scope="module")
def session(cluster: Any) -> Any:
    with cluster.connect("test") as connection:
        connection.execute("SET search_path = pgkeymgr, public")
        yield connection


def _result(value: Any) -> tuple[str, Any]:
    if value is None:
        return "null", None
    if isinstance(value, bytes):
        return "bytea", value.hex()
    return {bool: "bool", int: "int", str: "text"}[type(value)], value


def _meant(sql: str) -> bytes:
    """Return what pgsodium should have: the bytes of the base64, else the empty message."""
    base64_text = re.search(r"base642bin\('([^']*)'", sql)
    return base64.b64decode(base64_text[1] + "==", b"-_") if base64_text else b""


@pytest.mark.parametrize("case", CASES, ids=[f"{i}-{case['function']}" for i, case in enumerate(CASES)])
def test_vector(session: Connection, case: dict[str, Any]) -> None:
    tags = case.get("tags", [])
    if "lenient-length" in tags:
        # pgsodium cut the value, or read past its end: here it is refused.
        with pytest.raises(psycopg.Error) as refused:
            session.execute(case["sql"])
        assert refused.value.sqlstate == "22000"
    elif case["type"] == "error" and "c-quirk" not in tags:
        with pytest.raises(psycopg.Error) as raised:
            session.execute(case["sql"])
        # XX000 is what pgsodium's failed allocation of a negative size gave.
        assert raised.value.sqlstate == "22000"
    else:
        row = session.execute(case["sql"]).fetchone()
        assert row is not None
        if "c-quirk" in tags:
            assert row[0] == _meant(case["sql"])
        else:
            assert _result(row[0]) == (case["type"], case["result"])
