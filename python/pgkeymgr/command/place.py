"""Where a cluster's configuration is on this machine, and what gives its server a root key already."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from ..agent import settings, socket_path
from ..errors import ParameterError, RootKeyError
from ..root_key import getkey

_DEBIAN = Path("/etc/postgresql")
_AGENT_PLACES = (Path(settings.CONFIG), Path(socket_path.SOCKET))


@dataclass
class Place:
    """A cluster on this machine.

    Attributes:
        config_file: its postgresql.conf.
        data: its data directory, if that is known.
    """

    config_file: Path
    data: Path | None

    @property
    def directory(self) -> Path:
        """Where a getkey script is looked for, beside postgresql.conf."""
        return self.config_file.parent

    def owner(self) -> int | None:
        """Return the user id of the server, to whom its data directory belongs, if that is known."""
        return self.data.stat().st_uid if self.data and self.data.exists() else None


def find_place(config_file: Path | None, data: Path | None) -> Place:
    """Find the cluster that is meant.

    Args:
        config_file: of postgresql.conf, if it was given.
        data: the data directory, if it was given.

    Returns:
        The cluster: what was given, or the only one of Debian's on this machine.

    Raises:
        ParameterError: there is none, or more than one, or not where it was said to be.
    """
    if config_file is None and data is None:
        found = sorted(_DEBIAN.glob("*/*/postgresql.conf"))
        if len(found) != 1:
            raise ParameterError(
                f"there are {len(found)} clusters in {_DEBIAN}" if found else "no cluster was named",
                hint="Name the cluster's: --pgdata its data directory, or --config-file its postgresql.conf.",
            )
        config_file = found[0]
    if config_file is None:
        assert data is not None
        config_file = data / "postgresql.conf"
    if not config_file.exists():
        raise ParameterError(
            f"{config_file} does not exist", hint="Name the right one: --config-file or --pgdata."
        )
    config_file = config_file.absolute()
    if data is None:
        data = _data_directory(config_file)
    return Place(config_file, data.absolute() if data else None)


def _data_directory(config_file: Path) -> Path | None:
    if (config_file.parent / "PG_VERSION").exists():
        return config_file.parent
    found = re.findall(r"(?m)^\s*data_directory\s*=?\s*'([^']+)'", config_file.read_text(errors="replace"))
    return Path(found[-1]) if found else None


def present_source(place: Place, share_directory: Path | None) -> Path | None:
    """Tell what gives the server a root key already, in the order in which the server looks.

    Args:
        place: the cluster.
        share_directory: PostgreSQL's, above ``extension``, if that is known.

    Returns:
        The agent's socket or settings, or the getkey script; None if there is nothing.
    """
    for environment in (dict(os.environ), *_server_environments(place)):
        if environment.get(socket_path.ENVIRONMENT):
            return Path(environment[socket_path.ENVIRONMENT])
        # One that is named and is not there counts, too: somebody means to put it there.
        if environment.get(getkey.ENVIRONMENT):
            return Path(environment[getkey.ENVIRONMENT])
    for agent in _AGENT_PLACES:
        if os.path.lexists(agent):
            return agent
    try:
        return Path(getkey.find({}, str(place.config_file), str(share_directory or place.directory)))
    except RootKeyError:
        return None


def _server_environments(place: Place) -> list[dict[str, str]]:
    """Return what the server's environment is, or will be, as far as this user can see it."""
    environments = []
    # Debian's pg_ctlcluster gives the server what is in this file.
    try:
        text = (place.directory / "environment").read_text(errors="replace")
        environments.append(dict(re.findall(r"(?m)^\s*(\w+)\s*=\s*'?([^'\n]*?)'?\s*$", text)))
    except OSError:
        pass
    try:
        pid = (place.data / "postmaster.pid").read_text().split()[0] if place.data else "0"
        words = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="surrogateescape").split("\0")
        environments.append(dict(word.split("=", 1) for word in words if "=" in word))
    except (OSError, IndexError):
        pass  # it does not run, or is somebody else's
    return environments
