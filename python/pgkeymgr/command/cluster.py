"""Finds the configuration of a cluster on this machine, and the root key that its server already has."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..agent import settings, socket_path
from ..errors import ParameterError, RootKeyError
from ..root_key import getkey

_DEBIAN = Path("/etc/postgresql")
_AGENT_FILES = (Path(settings.CONFIG), Path(socket_path.SOCKET))


@dataclass
class Cluster:
    """A cluster on this machine.

    Attributes:
        config_file: the path of postgresql.conf.
        data: the data directory, or None if it is not known.
    """

    config_file: Path
    data: Path | None

    @property
    def directory(self) -> Path:
        """The directory of postgresql.conf, where the server looks for a getkey script."""
        return self.config_file.parent

    def owner(self) -> int | None:
        """Return the user id of the server, which owns the data directory; None if it is not known."""
        return self.data.stat().st_uid if self.data and self.data.exists() else None


def find_cluster(config_file: Path | None, data: Path | None) -> Cluster:
    """Find the cluster that the options name, or the only cluster in Debian's directory.

    Args:
        config_file: the path of postgresql.conf, if the user named it.
        data: the data directory, if the user named it.

    Returns:
        The cluster.

    Raises:
        ParameterError: the named cluster does not exist; or none was named, and there is not exactly one.
    """
    if config_file is None and data is None:
        found = sorted(_DEBIAN.glob("*/*/postgresql.conf"))
        if len(found) != 1:
            raise ParameterError(
                f"{len(found)} clusters exist in {_DEBIAN}" if found else f"no cluster exists in {_DEBIAN}",
                hint="Name its data directory with --pgdata, or its postgresql.conf with --config-file."
                + (" On Debian, pg_createcluster creates a cluster." if not found else ""),
            )
        config_file = found[0]
    if config_file is None:
        assert data is not None
        config_file = _config_file(data)
    if not config_file.exists():
        raise ParameterError(
            f"{config_file} does not exist",
            hint="Name the right cluster with --config-file or --pgdata.",
        )
    config_file = config_file.absolute()
    if data is None:
        data = _data_directory(config_file)
    return Cluster(config_file, data.absolute() if data else None)


def _config_file(data: Path) -> Path:
    """Return the path of postgresql.conf, which is not in the data directory of Debian's clusters."""
    if not (data / "postgresql.conf").exists():
        for config_file in _DEBIAN.glob("*/*/postgresql.conf"):
            found = _data_directory(config_file)
            # Path.resolve() raises a RuntimeError for a loop of links.
            if found and os.path.realpath(found) == os.path.realpath(data):
                return config_file
    return data / "postgresql.conf"


def _data_directory(config_file: Path) -> Path | None:
    if (config_file.parent / "PG_VERSION").exists():
        return config_file.parent
    found = re.findall(r"(?m)^\s*data_directory\s*=?\s*'([^']+)'", config_file.read_text(errors="replace"))
    return Path(found[-1]) if found else None


def find_source(cluster: Cluster, share_directory: Path | None) -> Path | None:
    """Find the source of the root key that the server already has, in the order in which the server looks.

    Args:
        cluster: the cluster.
        share_directory: the directory of PostgreSQL above ``extension``, if it is known.

    Returns:
        The socket or the settings of the agent, or the getkey script; None if the server has no source.
    """
    for environment in (dict(os.environ), *_server_environments(cluster)):
        if environment.get(socket_path.ENVIRONMENT):
            return Path(environment[socket_path.ENVIRONMENT])
        # A script that is named and does not exist counts: somebody intends to put it there.
        if environment.get(getkey.ENVIRONMENT):
            return Path(environment[getkey.ENVIRONMENT])
    for agent in _AGENT_FILES:
        if os.path.lexists(agent):
            return agent
    try:
        return Path(getkey.find({}, str(cluster.config_file), str(share_directory or cluster.directory)))
    except RootKeyError:
        return None


def _server_environments(cluster: Cluster) -> list[dict[str, str]]:
    """Return the environments of the server, present and future, as far as this user can read them."""
    environments = []
    # Debian's pg_ctlcluster puts the variables in this file into the server's environment.
    try:
        text = (cluster.directory / "environment").read_text(errors="replace")
        environments.append(dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*'?([^'\n]*?)'?\s*$", text)))
    except OSError:
        pass
    try:
        pid = (cluster.data / "postmaster.pid").read_text().split()[0] if cluster.data else "0"
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape").split("\0")
        environments.append(dict(word.split("=", 1) for word in words if "=" in word))
    except (OSError, IndexError):
        pass  # The server does not run, or another user owns it.
    return environments
