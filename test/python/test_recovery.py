"""Point-in-time recovery into the middle of a migration, a rotation and a decryption."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import Cluster
from conftest import Connection, rows, value
from lasting_data import check_tables, finish_operations, make_tables
from waiting import wait_until

NAME = "recovered"


class Archive:
    """A base backup and an archive of WAL, without a tool."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = {"archive_command": f"cp %p {directory}/%f"}

    def back_up(self, server: Cluster) -> None:
        """Make a base backup."""
        backup = ["--checkpoint=fast", f"--pgdata={self.directory}/base", f"--dbname={server.dsn()}"]
        server.run_as_server([server.bin / "pg_basebackup", *backup])

    def restore(self, target: Cluster, name: str) -> None:
        """Make the data directory of another cluster, which recovers up to a restore point."""
        target.run_as_server(["cp", "-a", f"{self.directory}/base", target.data])
        target.configure(
            {
                "restore_command": f"cp {self.directory}/%f %p",
                "recovery_target_name": name,
                "recovery_target_action": "promote",
                "archive_command": "",
                "archive_mode": "off",
            }
        )
        target.run_as_server(["touch", target.data / "recovery.signal"])


class BackRest(Archive):
    """A repository of pgBackRest."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.config = directory / "pgbackrest.conf"
        self.command = ["pgbackrest", f"--config={self.config}", "--stanza=main"]
        self.settings = {"archive_command": f"{' '.join(self.command)} archive-push %p"}

    def back_up(self, server: Cluster) -> None:
        """Make a base backup."""
        there = f"repo1-path={self.directory}/repo\nlog-path={self.directory}\nlock-path={self.directory}/lock\n"
        pg = f"pg1-path={server.data}\npg1-socket-path={server.directory}\npg1-port={server.port}\n"
        self.config.write_text(f"[global]\n{there}start-fast=y\n[main]\n{pg}pg1-user=postgres\n")
        server.give_to_server(self.config)
        server.run_as_server([*self.command, "stanza-create"])
        server.run_as_server([*self.command, "backup"])

    def restore(self, target: Cluster, name: str) -> None:
        """Make the data directory of another cluster, which recovers up to a restore point."""
        target.run_as_server(["mkdir", "-m", "700", target.data])
        options = ["--type=name", f"--target={name}", "--target-action=promote", "--archive-mode=off"]
        target.run_as_server([*self.command, f"--pg1-path={target.data}", *options, "restore"])


HAS_BACKREST = shutil.which("pgbackrest") is not None
KINDS = [
    Archive,
    pytest.param(BackRest, marks=pytest.mark.skipif(not HAS_BACKREST, reason="there is no pgbackrest")),
]


@pytest.fixture(params=KINDS)
def archive(request: pytest.FixtureRequest, cluster: Cluster) -> Iterator[Archive]:
    """A place for backups, below the directory of another server, since the server's user can write there."""
    directory = cluster.directory / request.param.__name__
    directory.mkdir()
    cluster.give_to_server(directory)
    yield request.param(directory)
    shutil.rmtree(directory)


def session(server: Cluster) -> Connection:
    return server.connect(NAME, options="-c search_path=public,pgkeymgr")


def test_recovery_into_the_middle(archive: Archive) -> None:
    with Cluster(settings={"archive_mode": "on", "wal_level": "replica", **archive.settings}) as server:
        server.create_database(NAME)
        archive.back_up(server)
        make_tables(lambda: session(server))
        with session(server) as admin:
            rows(admin, "SELECT pg_create_restore_point('middle')")
            finish_operations(admin)
            old = value(
                admin, "SELECT id FROM data_keys WHERE name = 'public.turning.secret' AND superseded_by > 0"
            )
            rows(admin, f"SELECT destroy_data_key({old}, 'public.turning.secret')")
            rows(admin, "DROP TABLE person_encrypted, large_encrypted CASCADE")
            last = value(admin, "SELECT pg_walfile_name(pg_current_wal_lsn())")
            rows(admin, "SELECT pg_switch_wal()")
            archived = f"SELECT last_archived_wal >= '{last}' FROM pg_stat_archiver"
            wait_until(lambda: value(admin, archived), "the archiver")
        target = Cluster(initialize=False)
        try:
            archive.restore(target, "middle")
        except BaseException:
            target.remove()
            raise
        with target, session(target) as admin:
            wait_until(lambda: not value(admin, "SELECT pg_is_in_recovery()"), "the end of the recovery")
            check_tables(admin)
            finish_operations(admin)
            assert value(admin, "SELECT broken_link IS NULL FROM verify_key_events()")
