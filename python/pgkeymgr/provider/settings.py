"""Checks the settings of a provider. No message shows a value, since it may be a PIN in the wrong place."""

import os
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ..documents import page
from ..errors import ParameterError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PORT_MAX = 65535


class Settings:
    """A table of settings. A provider reads its settings one by one, and the rest of the table is refused."""

    def __init__(self, settings: Mapping[str, Any], kind: str) -> None:
        """Initialize the table.

        Args:
            settings: the names and values, with ``kind`` among them.
            kind: the kind of the provider.
        """
        self._left = {name: value for name, value in settings.items() if name != "kind"}
        self._kind = kind

    def error(self, name: str, fault: str) -> ParameterError:
        """Return the error for a setting.

        Args:
            name: the name of the setting.
            fault: the rest of the message, without the value.

        Returns:
            The error, which the caller raises.
        """
        return ParameterError(
            f'the setting "{name}" of the provider {self._kind} {fault}',
            hint=f"See the section [provider] of agent.toml, and {page('providers.md')}.",
        )

    def _take(self, name: str, of_type: type, type_name: str) -> Any:
        value = self._left.pop(name, None)
        # A bool is an int in Python, but not in TOML.
        if value is not None and (not isinstance(value, of_type) or isinstance(value, bool)):
            raise self.error(name, f"must be {type_name}, not {type(value).__name__}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Return a text, or the default. Without a default, the setting is required."""
        value = self.optional_text(name)
        if value is None:
            value = default
        if value is None:
            raise self.error(name, "is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        """Return a text, or None if the setting is missing."""
        value: str | None = self._take(name, str, "a text")
        if value is not None and (not value or not value.isprintable()):
            raise self.error(name, "is empty or has characters that cannot be printed")
        return value

    def optional_texts(self, name: str) -> list[str] | None:
        """Return a list of at least one text, or None if the setting is missing."""
        value: list[Any] | None = self._take(name, list, "a list of texts")
        if value is not None and (not value or not all(isinstance(each, str) and each for each in value)):
            raise self.error(name, "must be a list of texts that are not empty")
        return value

    def optional_path(self, name: str) -> str | None:
        """Return an absolute path, or None if the setting is missing."""
        value = self.optional_text(name)
        if value is not None and not os.path.isabs(value):
            raise self.error(name, "must be an absolute path")
        return value

    def path(self, name: str) -> str:
        """Return an absolute path; the setting is required."""
        value = self.optional_path(name)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def port(self, name: str, default: int) -> int:
        """Return a TCP port, or the default if the setting is missing."""
        value = self._take(name, int, "a number")
        if value is None:
            return default
        if not 1 <= value <= PORT_MAX:
            raise self.error(name, f"must be from 1 to {PORT_MAX}")
        return int(value)

    def optional_address(self, name: str) -> urllib.parse.SplitResult | None:
        """Return an https address, an http address of this machine, or None if the setting is missing.

        Args:
            name: the name of the setting.

        Returns:
            The scheme, the host, and the port if there is one. The address has neither a user name nor a query.
        """
        value = self.optional_text(name)
        if value is None:
            return None
        try:
            address = urllib.parse.urlsplit(value)
            valid = bool(address.hostname) and (address.port is None or address.port > 0)
        except ValueError:
            valid = False
        if (
            not valid
            or address.scheme not in ("http", "https")
            or address.username is not None
            or address.path not in ("", "/")
            or address.query
            or address.fragment
        ):
            raise self.error(name, "must be an address such as https://host:port")
        if address.scheme == "http" and address.hostname not in LOOPBACK:
            raise self.error(name, "must begin with https, since secrets are sent there")
        return address

    def address(self, name: str) -> urllib.parse.SplitResult:
        """Return an address; the setting is required. See ``optional_address``."""
        value = self.optional_address(name)
        if value is None:
            raise self.error(name, "is missing")
        return value

    def refuse_others(self) -> None:
        """Refuse the settings that the provider has not read.

        Raises:
            ParameterError: there is such a setting.
        """
        for name in self._left:
            raise self.error(name, "is unknown")
