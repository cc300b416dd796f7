"""Failover of a Patroni cluster, where etcd and Patroni are installed: test/failover/run installs the latter."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
PATRONI = Path("/var/tmp/pgkeymgr-patroni/bin/patroni")  # noqa: S108


@pytest.mark.skipif(not (shutil.which("etcd") and PATRONI.exists()), reason="there is no etcd, or no Patroni")
@pytest.mark.parametrize("kind", ["getkey", "agent"])
def test_failover(kind: str) -> None:
    done = subprocess.run(
        [sys.executable, TOP / "test/failover/failover.py", kind],
        env={**os.environ, "PYTHONPATH": f"{TOP}/python:{TOP}/test"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("all values are there") == 6
