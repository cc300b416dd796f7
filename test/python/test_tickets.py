"""The tickets for values on their way from a view's trigger to the base table's."""

from conftest import Connection, value


def test_a_ticket_reveals_nothing(connection: Connection) -> None:
    """It is the same in each transaction, whatever the value is: it depends on no key, and on no clock."""
    tickets = {
        value(connection, f"SELECT pgkeymgr.{function}('{given}')")
        for given in ("app.invoice.body:alice@example.org", "app.invoice.body:carol@example.org", "")
        for function in ("_send_text", "_send_bytes")
    }
    assert len(tickets) == 1


def test_tickets_of_a_transaction_differ(connection: Connection) -> None:
    """A ticket of a former statement refers to no value of a later one."""
    with connection.transaction():
        sent = [value(connection, "SELECT pgkeymgr._send_text('x')") for _ in range(3)]
    assert len(set(sent)) == 3
