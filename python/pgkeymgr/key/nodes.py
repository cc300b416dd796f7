"""Several databases that share keys: the ids that each gives, and the one that makes the keys.

PostgreSQL's logical replication can bring the key tables to other databases. A key that was made in a subscriber
could meet another one from the publisher: the replication would stop, or the two databases would differ forever.
So a database that takes its keys from another one makes and changes none.
"""

from typing import TYPE_CHECKING, NamedTuple

from ..errors import DataError, KeyStateError, ParameterError
from .arguments import refuse_null
from .ids import FIRST_ID_MAX, KEYS, TABLES, Lattice, set_forward

if TYPE_CHECKING:
    from .audit import Audit
    from .database import Database

NODES_MAX = 1024
"""The greatest number of nodes. An id is found among so many numbers of the sequence."""
SOURCE_CHARACTERS_MAX = 255


class NodeStatus(NamedTuple):
    """The part that a database has among those that share its keys.

    Attributes:
        lattice: the ids that it gives to keys; None if nobody has set it.
        source: the name of the node that makes the keys, as the administrator gave it, or None.
        subscriptions: the subscriptions of this database that bring the key table.
    """

    lattice: Lattice | None
    source: str | None
    subscriptions: list[str]

    @property
    def makes_keys(self) -> bool:
        """Whether keys are made here."""
        return self.source is None and not self.subscriptions

    @property
    def maker(self) -> str | None:
        """The words for the node that makes the keys; None if this node does."""
        if self.source is not None:
            return f'node "{self.source}"'
        if self.subscriptions:
            return f"the publisher of subscription {_joined(self.subscriptions)}"
        return None


class KeyNodes:
    """The nodes that share keys, for one session."""

    def __init__(self, database: "Database", audit: "Audit") -> None:
        self._database = database
        self._audit = audit
        self.lattice = Lattice()
        """The ids that this node gives to keys; see ``begin_change``."""

    def status(self) -> NodeStatus:
        """Return the part of this database, as it is committed at present."""
        return self._database.read_as_owner(lambda: read_status(self._database))

    def publications(self) -> list[str]:
        """Return the publications of this database that have the key table or the wraps."""
        rows = self._database.read_as_owner(
            lambda: self._database.execute(
                """
                SELECT DISTINCT quote_ident(p.pubname) AS name
                FROM pg_publication_tables AS p
                JOIN pg_namespace AS n ON n.nspname = p.schemaname
                JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = p.tablename
                WHERE c.oid IN ('{s}.key'::regclass, '{s}.key_wrap'::regclass)
                ORDER BY 1
                """
            )
        )
        return [row["name"] for row in rows]

    def begin_change(self) -> None:
        """Refuse to change keys if another node makes them, and keep that so until the transaction ends.

        From then on, ``lattice`` has the ids that this node gives to keys.

        Raises:
            KeyStateError: another node makes the keys.
        """
        # The lock conflicts only with the lock of the functions below, which change the answer.
        self._database.as_owner(
            lambda: self._database.execute("LOCK TABLE {s}.key_node, {s}.key_source IN ROW EXCLUSIVE MODE")
        )
        status = self.status()
        if status.maker is not None:
            raise KeyStateError(
                f"cannot make or change keys on this node: {status.maker} makes them",
                hint="Make the change there, and wait until it is replicated. If this node is to make keys from "
                "now on, drop the subscription that brings them, and call make_keys_here().",
            )
        self.lattice = status.lattice or Lattice()

    def key_node_status(
        self,
    ) -> tuple[int | None, int | None, int | None, bool, str | None, list[str], list[str]]:
        """Return the fields of ``status()``, and ``publications()``."""
        status = self.status()
        node, nodes, first_id = status.lattice or (None, None, None)
        return node, nodes, first_id, status.makes_keys, status.source, status.subscriptions, self.publications()

    def set_key_node(self, node: int, nodes: int, first_id: int) -> None:
        """Set the ids that this node gives to keys: no other node gives them.

        Args:
            node: the number of this node, from 1 on.
            nodes: the number of nodes that share keys, at most 1,024.
            first_id: the smallest id of a key that is made from now on, at most 1,000,000,000.

        Raises:
            DataError: an argument is NULL.
            ParameterError: an argument is out of range.
            KeyStateError: there is a key with an id from ``first_id`` on that another node could give.
        """
        for name, value in (("node", node), ("nodes", nodes), ("first_id", first_id)):
            if value is None:
                raise DataError(f"{name} must not be NULL")
        if not 1 <= nodes <= NODES_MAX:
            raise ParameterError(f"nodes must be 1 to {NODES_MAX}, not {nodes}")
        if not 1 <= node <= nodes:
            raise ParameterError(f"node must be 1 to {nodes}, the number of nodes, not {node}")
        if not 1 <= first_id <= FIRST_ID_MAX:
            raise ParameterError(f"first_id must be 1 to {FIRST_ID_MAX}, not {first_id}")
        lattice = Lattice(node, nodes, first_id)

        def store() -> None:
            execute = self._database.execute
            self._lock()
            arguments = (("integer", node), ("integer", nodes), ("integer", first_id))
            foreign = execute(
                """
                SELECT k.id, (SELECT max(other.id) FROM {s}.key AS other) AS greatest
                FROM {s}.key AS k
                WHERE k.id >= $3 AND k.id % $2 <> $1 % $2
                ORDER BY k.id
                LIMIT 1
                """,
                *arguments,
            )
            if foreign:
                (row,) = foreign
                raise KeyStateError(
                    f"key {row['id']} has an id that another of the {nodes} nodes gives",
                    hint="Pass the same first_id on all nodes, greater than the ids of all their keys. The "
                    f"greatest id here is {row['greatest']}.",
                )
            execute(
                """
                INSERT INTO {s}.key_node (node, nodes, first_id)
                VALUES ($1, $2, $3)
                ON CONFLICT (is_only) DO UPDATE
                SET node = excluded.node, nodes = excluded.nodes, first_id = excluded.first_id
                """,
                *arguments,
            )
            set_forward(self._database, KEYS, lattice)

        self._database.as_owner(store)
        self._audit.record("set_key_node", None, None, f"node {node} of {nodes}, ids from {first_id} on")

    def follow_key_source(self, name: str) -> None:
        """Let another node make the keys of this database.

        The call waits for transactions that are changing keys, so that all their changes are in the WAL when it
        returns.

        Args:
            name: the name of that node, for messages, 1 to 255 characters.

        Raises:
            DataError: an argument is NULL.
            ParameterError: the name is empty or too long.
        """
        refuse_null(name=name)
        if not 1 <= len(name) <= SOURCE_CHARACTERS_MAX:
            raise ParameterError(f"name must be 1 to {SOURCE_CHARACTERS_MAX} characters long, not {len(name)}")

        def store() -> None:
            self._lock()
            self._database.execute(
                """
                INSERT INTO {s}.key_source (name)
                VALUES ($1)
                ON CONFLICT (is_only) DO UPDATE
                SET name = excluded.name
                """,
                ("text", name),
            )

        self._database.as_owner(store)
        self._audit.record("follow_key_source", None, None, f'node "{name}"')

    def make_keys_here(self) -> None:
        """Let this node make keys, and set the sequences forward that are behind.

        Raises:
            KeyStateError: a subscription brings the key table, so that another node makes the keys.
        """

        def store() -> list[str]:
            self._lock()
            status = read_status(self._database)
            if status.subscriptions:
                first = status.subscriptions[0]
                raise KeyStateError(
                    f"subscription {_joined(status.subscriptions)} brings the keys of another node",
                    hint=f"First run DROP SUBSCRIPTION {first}.",
                )
            self._database.execute("DELETE FROM {s}.key_source")
            return [
                table
                for table in TABLES
                if set_forward(
                    self._database, table, (status.lattice or Lattice()) if table == KEYS else Lattice()
                )
            ]

        moved = self._database.as_owner(store)
        detail = "; ".join(f"{table}_id_seq was behind" for table in moved)
        self._audit.record("make_keys_here", None, None, detail or None)

    def _lock(self) -> None:
        """Wait for transactions that are changing keys, and let no other begin; see ``begin_change``."""
        self._database.execute("LOCK TABLE {s}.key_node, {s}.key_source IN SHARE ROW EXCLUSIVE MODE")


def read_status(database: "Database") -> NodeStatus:
    """Return the part of this database; within ``Database.as_owner`` or ``read_as_owner``."""
    (row,) = database.execute(
        """
        SELECT
            (SELECT ARRAY[n.node, n.nodes, n.first_id] FROM {s}.key_node AS n) AS lattice,
            (SELECT s.name FROM {s}.key_source AS s) AS source,
            ARRAY(
                SELECT quote_ident(s.subname)
                FROM pg_subscription AS s
                JOIN pg_subscription_rel AS r ON r.srsubid = s.oid
                WHERE r.srrelid = '{s}.key'::regclass
                    -- From PostgreSQL 16 on, a role that may not write the table can make a subscription for it.
                    AND (has_table_privilege(s.subowner, r.srrelid, 'INSERT') OR pg_has_role(
                        s.subowner,
                        (SELECT c.relowner FROM pg_class AS c WHERE c.oid = r.srrelid),
                        'MEMBER'
                    ))
                ORDER BY 1
            ) AS subscriptions
        """
    )
    lattice = None if row["lattice"] is None else Lattice(*row["lattice"])
    return NodeStatus(lattice, row["source"], row["subscriptions"])


def _joined(names: list[str]) -> str:
    return ", ".join(names)
