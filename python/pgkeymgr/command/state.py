"""The state of a cluster, as ``report`` and ``metrics`` show it. It has no secret and no value of a column."""

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

STATES = ("current", "superseded", "expired", "disabled", "destroyed")
"""The states of keys. A key that is superseded or expired is still enabled."""
KEY_STATE = """
    CASE
        WHEN state <> 'enabled' THEN state::text
        WHEN expires <= pg_catalog.now() THEN 'expired'
        WHEN superseded_by IS NOT NULL THEN 'superseded'
        ELSE 'current'
    END
"""
"""The SQL expression for one of these states, from a row of ``key_versions`` or ``data_keys``."""
COLUMN_STATES = ("encrypted", "migrating", "rotating", "decrypting")
STATUSES = ("error", "warning", "notice", "ok")
"""The statuses of the doctor's findings, the worst first."""

Age = tuple[str, timedelta | None]
AGES: tuple[Age, ...] = (
    ("under 30 days", timedelta(days=30)),
    ("30 to 90 days", timedelta(days=90)),
    ("90 days to a year", timedelta(days=365)),
    ("over a year", None),
)
"""The classes of ages, with their ends."""


@dataclass(frozen=True)
class RootKey:
    """The root key that a database uses.

    Attributes:
        fingerprint: the fingerprint of the newest root key.
        source: the getkey script or the agent.
        previous: the fingerprints of previous root keys that the server has.
        still_needed: the fingerprints of root keys that wraps in the database are made under.
    """

    fingerprint: str
    source: str
    previous: tuple[str, ...]
    still_needed: tuple[str, ...]

    @property
    def missing(self) -> tuple[str, ...]:
        """The fingerprints of root keys that the database needs and the server does not have."""
        return tuple(sorted({*self.still_needed} - {*self.previous, self.fingerprint}))


@dataclass(frozen=True)
class Key:
    """A version of a key.

    Attributes:
        id: the number of the key.
        name: the name, or None.
        state: one of STATES.
        is_superseded: whether the key has a newer version; also of a key that has expired.
        created: when the key was made.
        expires: when the key expires, or None.
        owner: the role that owns the key, or None if it was dropped.
        wraps: the kinds of the wraps.
        columns: the columns that need the key.
    """

    id: int
    name: str | None
    state: str
    is_superseded: bool
    created: datetime
    expires: datetime | None
    owner: str | None
    wraps: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def label(self) -> str:
        """The name, or the number of a key without a name."""
        return f"key {self.id}" if self.name is None else self.name


@dataclass(frozen=True)
class Column:
    """An encrypted column.

    Attributes:
        relation: the table.
        name: the name of the column.
        data_type: the type of the values.
        key: the name of the key, or None if the role may not know it.
        mode: randomized or deterministic.
        key_by: the column whose values have keys of their own, or None.
        blind_index: the column of the blind index, or None.
        state: one of COLUMN_STATES.
        rows: an estimate of the number of rows of the table, or None.
        mask: the name of the mask or the function that makes it, or None.
        mask_without_grant: whether roles without any grant on the key read the mask, too.
    """

    relation: str
    name: str
    data_type: str
    key: str | None
    mode: str
    key_by: str | None
    blind_index: str | None
    state: str
    rows: int | None
    mask: str | None = None
    mask_without_grant: bool = False


@dataclass(frozen=True)
class Deadline:
    """A time after which a version of a key stops encrypting, or is destroyed.

    Attributes:
        id: the number of the key.
        name: the name, or None.
        is_destruction: whether the version is destroyed then.
        time: the time, which can be past.
    """

    id: int
    name: str | None
    is_destruction: bool
    time: datetime


@dataclass(frozen=True)
class Policy:
    """A policy of a key.

    Attributes:
        name: the name of the key, or None.
        rotate_every: the time after which a version is superseded, or None.
        next_rotation: when the present version is due, or None. It can be past.
        keep_versions: the number of versions that stay, or None for all.
        destroy_after: the time after which other versions are destroyed.
        is_rotating: whether columns are still to be encrypted under the present version.
        last_run: when the policy was last carried out, or None.
        has_failed: whether that failed.
    """

    name: str | None
    rotate_every: str | None
    next_rotation: datetime | None
    keep_versions: int | None
    destroy_after: str
    is_rotating: bool
    last_run: datetime | None
    has_failed: bool


@dataclass(frozen=True)
class Operation:
    """An unfinished procedure on a column.

    Attributes:
        relation: the table.
        column: the name of the column.
        name: the name of the operation.
        rows_done: the number of rows that are finished.
        rows_total: the number of all rows.
        started: when the operation began.
        eta: the time for the remaining rows at the rate so far, or None.
        partitions_done: the number of partitions that are finished.
        partitions_total: the number of all partitions; 0 for a table without partitions.
    """

    relation: str
    column: str
    name: str
    rows_done: int
    rows_total: int
    started: datetime
    eta: timedelta | None
    partitions_done: int
    partitions_total: int

    @property
    def rows_left(self) -> int:
        """The number of rows that are not finished."""
        return max(self.rows_total - self.rows_done, 0)


@dataclass(frozen=True)
class Finding:
    """A finding of the doctor.

    Attributes:
        check: the name of the check.
        status: one of STATUSES.
        object: the object with the problem, or None.
        message: the problem.
        hint: the remedy, or None.
    """

    check: str
    status: str
    object: str | None
    message: str
    hint: str | None


@dataclass(frozen=True)
class Grants:
    """The keys that a role can use in one way.

    Attributes:
        role: the role.
        can_login: whether the role can log in.
        usage: the usages.
        source: how the role got them: owner, grant, membership, superuser and so on.
        through: the role that it is a member of, or None.
        keys: the names of some of the keys.
        count: the number of all the keys.
    """

    role: str
    can_login: bool
    usage: tuple[str, ...]
    source: str
    through: str | None
    keys: tuple[str, ...]
    count: int


@dataclass
class DatabaseState:
    """The state of one database. A part that could not be read is empty, and in ``problems``.

    Attributes:
        name: the name of the database.
        version: the version of the extension.
        root_key: the root key, or None if there is none.
        root_key_error: why there is no root key, or which root key is missing; or None.
        counts: the number of keys, by state and by class of age.
        next_expiry: when the next of the current keys expires, or None.
        oldest: when the oldest of the current keys was made, or None.
        destructions: the number of keys whose destruction is scheduled.
        next_destruction: the time after which the first of them is destroyed, or None. It can be past.
        keys: the keys, at most as many as were asked for. The keys that were made for another key come last.
        keys_left_out: the number of keys that are not in ``keys``.
        deadlines: the times after which versions of keys stop encrypting or are destroyed.
        policies: the policies of keys.
        columns: the encrypted columns.
        operations: the unfinished procedures on columns.
        findings: the findings of the doctor.
        events: the number of events of the audit trail by day and event, in the last year.
        events_total: the number of all events, or None.
        last_root_rotation: when the root key was last rotated, or None.
        grants: the roles, and the keys that they can use.
        problems: the parts that could not be read, and why.
    """

    name: str
    version: str
    root_key: RootKey | None = None
    root_key_error: str | None = None
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    next_expiry: datetime | None = None
    oldest: datetime | None = None
    destructions: int = 0
    next_destruction: datetime | None = None
    keys: list[Key] = field(default_factory=list)
    keys_left_out: int = 0
    deadlines: list[Deadline] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)
    operations: list[Operation] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    events: dict[tuple[date, str], int] = field(default_factory=dict)
    events_total: int | None = None
    last_root_rotation: datetime | None = None
    grants: list[Grants] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def count(self, state: str) -> int:
        """Return the number of keys in a state."""
        return sum(count for (each, _), count in self.counts.items() if each == state)


@dataclass
class ClusterState:
    """The state of a cluster.

    Attributes:
        taken: when the state was read.
        is_up: whether the server could be examined.
        failure: why no database could be examined, or None.
        server_version: the version of PostgreSQL, or None if no database could be examined.
        databases: the databases that have the extension.
        problems: the databases that could not be examined, and why.
    """

    taken: datetime
    is_up: bool = True
    failure: str | None = None
    server_version: str | None = None
    databases: list[DatabaseState] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)

    def all_problems(self) -> list[str]:
        """Return the server, the databases and the parts of databases that could not be examined, and why."""
        return [
            *([self.failure] if self.failure else []),
            *(f"{name}: {why}" for name, why in self.problems.items()),
            *(f"{each.name}: {part}: {why}" for each in self.databases for part, why in each.problems.items()),
        ]


@dataclass(frozen=True)
class SharedFinding:
    """A finding, with the databases that have it: a problem of the cluster is found in each of them."""

    finding: Finding
    databases: tuple[str, ...]


def merge_findings(cluster: ClusterState) -> list[SharedFinding]:
    """Return the findings of all databases, the worst first, each once.

    Args:
        cluster: the state of the cluster.
    """
    found: dict[Finding, list[str]] = {}
    for database in cluster.databases:
        for finding in database.findings:
            found.setdefault(finding, []).append(database.name)
    order = sorted(found.items(), key=lambda item: STATUSES.index(item[0].status))
    return [SharedFinding(finding, tuple(names)) for finding, names in order]
