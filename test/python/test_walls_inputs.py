"""Unusual inputs of any role: times at the end of time, arrays of several dimensions, numbers of no object."""

import pytest
import walls_database
from conftest import Connection, rows, value
from psycopg import errors
from walls_database import run

server = walls_database.server
database = walls_database.database
superuser = walls_database.superuser
owner = walls_database.owner

LAST = "'294276-12-31 23:59:59.999999+00'"
"""The last time stamp of PostgreSQL."""


def test_a_key_may_end_with_time_itself(superuser: Connection) -> None:
    run(
        superuser,
        f"SELECT create_data_key('expires', expires => {LAST})",
        "SELECT create_data_key('limited')",
        f"SELECT limit_encryption('limited', {LAST})",
    )
    for name, key_id in (("expires", 1), ("limited", 2)):
        read = f"SELECT token_decrypt_text(token_encrypt_text('{name}', 'x'))"
        assert value(superuser, read) == "x"
        run(superuser, f"SELECT disable_data_key({key_id})", f"SELECT enable_data_key({key_id})")
        assert value(superuser, read) == "x"


def test_arrays_of_several_dimensions(owner: Connection, superuser: Connection) -> None:
    run(owner, "CREATE TABLE t (id integer PRIMARY KEY, a text, b text, j jsonb)")
    for column in ("a", "b", "j"):
        run(superuser, f"SELECT encrypt_column('own.t', '{column}')")
    run(
        superuser,
        """SELECT add_blind_index('own.t', 'a', kind => 'compound', options => '{"with": ["b"]}')""",
        "SELECT add_blind_index('own.t', 'j', kind => 'json')",
    )
    for call, argument in (
        ("blind_index('own.t', 'a', VARIADIC '{{x,y},{z,w}}'::text[])", "value"),
        ("blind_index('own.t', 'a', VARIADIC '{{x},{z}}'::text[])", "value"),
        ("search_path_terms('own.t', 'j', '{{x},{y}}', '1')", "path"),
    ):
        with pytest.raises(errors.DataException, match=f"{argument} must be an array of one dimension"):
            rows(superuser, f"SELECT pgkeymgr.{call}")


@pytest.mark.parametrize("number", [0, 4294967295])
def test_a_mask_function_of_a_number_without_a_function(
    owner: Connection, superuser: Connection, number: int
) -> None:
    walls_database.make_encrypted(owner, superuser)
    with pytest.raises(errors.UndefinedObject, match=r"function with OID .* does not exist"):
        rows(superuser, f"SELECT set_mask('own.t', 's', {number}::regprocedure)")
