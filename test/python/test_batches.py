"""The batches of the procedures that encrypt, rotate and decrypt a column: the settings that they run with."""

from conftest import Connection, value


def test_no_query_of_a_batch_is_compiled(connection: Connection) -> None:
    """The settings of a batch make small tables look expensive. JIT took 70 ms for each key of a tenant."""
    connection.execute("CREATE SCHEMA batches")
    connection.execute("SET search_path = batches, pgkeymgr, public")
    # The user's triggers do not fire in a batch. A CHECK constraint is evaluated for each row that it writes.
    connection.execute(
        "CREATE FUNCTION note(integer) RETURNS boolean LANGUAGE plpgsql AS"
        " $$ BEGIN RAISE NOTICE 'jit is %', pg_catalog.current_setting('jit'); RETURN true; END $$"
    )
    connection.execute(
        "CREATE TABLE batch (id integer PRIMARY KEY CHECK (batches.note(id)), tenant integer NOT NULL, name text)"
    )
    connection.execute("INSERT INTO batch SELECT i, i, 'Ann' FROM generate_series(1, 5) AS i")
    assert value(connection, "SHOW jit") == "on"
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    try:
        connection.execute("SELECT encrypt_column('batch', 'name', key_by => 'tenant')")
        for procedure in ("migrate_column", "rotate_column", "decrypt_column"):
            notices.clear()
            connection.execute(f"CALL {procedure}('batch', 'name')".encode())
            assert {notice for notice in notices if notice.startswith("jit ")} == {"jit is off"}, procedure
        assert value(connection, "SHOW jit") == "on"
        assert value(connection, "SELECT count(*) FROM batch WHERE name = 'Ann'") == 5
    finally:
        connection.execute("DROP SCHEMA batches CASCADE")
