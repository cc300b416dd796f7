"""Upgrades a cluster with encrypted columns in every state from each PostgreSQL to the next.

    python test/upgrade/upgrade.py copy 15 17 18

The mode is ``copy`` or ``link`` for pg_upgrade, or ``logical`` for a logical replica that takes over.

Each version must be installed, with PL/Python and this extension. ``test/upgrade/run`` sees to that. PYTHONPATH
has ``python``, ``test`` and the libraries of the client.
"""

import os
import subprocess
import sys

from cluster import Cluster
from lasting_data import Connection, check_tables, finish_operations, make_tables, make_users_table, unlock
from waiting import wait_until

DATABASE = "upgraded"


def main(mode: str, versions: list[str]) -> None:
    """Upgrade in the steps of the versions.

    Args:
        mode: ``copy``, ``link`` or ``logical``.
        versions: two at least.
    """
    old = cluster(versions[0])
    try:
        old.start()
        old.create_database(DATABASE)
        make_tables(lambda: session(old))
        make_users_table(lambda: session(old))
        for number, version in enumerate(versions):
            if number:
                old = replicate(old, version) if mode == "logical" else upgrade(old, version, mode)
            with session(old) as admin:
                check_tables(admin)
                broken = admin.execute("SELECT broken_link FROM verify_key_events()").fetchall()
                assert broken == [(None,)], "the audit trail is broken"
                admin.execute("SELECT create_data_key(%s)", (f"on {version}",))
                unlock(admin)
                assert admin.execute("SELECT secret FROM note").fetchall() == [("note 1",)]
            print(f"{version} ({mode}): all values are there", flush=True)
        with session(old) as admin:
            finish_operations(admin)
            for each in admin.execute("SELECT * FROM doctor() WHERE status = 'error'").fetchall():
                print(each)
        print(f"{versions[-1]} ({mode}): the stopped operations have ended", flush=True)
    except BaseException:
        print(old.log[-3000:], file=sys.stderr)
        raise
    finally:
        old.remove()


def cluster(version: str) -> Cluster:
    """Return a cluster of a version, which is not started."""
    os.environ["PG_CONFIG"] = f"/usr/lib/postgresql/{version}/bin/pg_config"
    return Cluster(settings={"wal_level": "logical"})


def session(server: Cluster) -> Connection:
    """Open a superuser's session in the database."""
    return server.connect(DATABASE, options="-c search_path=public,pgkeymgr")


def upgrade(old: Cluster, version: str, mode: str) -> Cluster:
    """Return a running cluster of another version with the content of an old one, which is removed."""
    old.stop()
    new = cluster(version)
    try:
        options = ["--username=postgres", f"--socketdir={new.directory}", f"--old-bindir={old.bin}"]
        options += [f"--new-bindir={new.bin}", f"--old-datadir={old.data}", f"--new-datadir={new.data}"]
        new.run_as_server([new.bin / "pg_upgrade", *options, "--check"])
        new.run_as_server([new.bin / "pg_upgrade", *options, *(["--link"] if mode == "link" else [])])
        new.start()
    except BaseException:
        new.remove()
        raise
    old.remove()
    return new


def replicate(old: Cluster, version: str) -> Cluster:
    """Return a logical replica of another version that has taken the place of a cluster, which is removed."""
    new = cluster(version)
    try:
        new.start()
        new.client(["psql"], input=old.client([old.bin / "pg_dumpall", "--roles-only"]).stdout)
        new.client(["createdb", "--template=template0", DATABASE])
        options = ["--schema-only", "--no-publications", "--no-subscriptions", DATABASE]
        # The pg_dump of the older version: the newer one may not have the older version's latest fixes. PostgreSQL
        # 17.12 marks columns with an option, which the pg_dump of 18.6 dumps as if a user had set it.
        schema = old.client([old.bin / "pg_dump", *options]).stdout
        new.client(["psql", "--set=ON_ERROR_STOP=1"], dbname=DATABASE, input=schema)
        with session(old) as publisher, session(new) as subscriber:
            publisher.execute("CREATE PUBLICATION everything FOR ALL TABLES")
            subscribe = f"CREATE SUBSCRIPTION everything CONNECTION '{old.dsn(DATABASE)}' PUBLICATION everything"
            subscriber.execute(subscribe.encode())
            copying = "SELECT FROM pg_subscription_rel WHERE srsubstate <> 'r'"
            wait_until(lambda: not subscriber.execute(copying).rowcount, "the copy of the tables", 300)
        command = ["pgkeymgr", "switch-over", f"--from={old.dsn(DATABASE)}", f"--to={new.dsn(DATABASE)}"]
        subprocess.run(command, check=True)
    except BaseException:
        new.remove()
        raise
    old.remove()
    return new


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
