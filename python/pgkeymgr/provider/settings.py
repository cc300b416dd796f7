"""The settings of a provider, checked. No message shows a value: one may be a PIN in the wrong place."""

import os
import urllib.parse
from collections.abc import Mapping
from typing import Any

from ..errors import ParameterError

LOOPBACK = ("localhost", "127.0.0.1", "::1")
PORT_MAX = 65535


class Settings:
    """A table of settings, from which a provider takes its own, one by one."""

    def __init__(self, settings: Mapping[str, Any], kind: str) -> None:
        """Take a table.

        Args:
            settings: names and values; ``kind`` among them.
            kind: the provider's.
        """
        self._left = {name: value for name, value in settings.items() if name != "kind"}
        self._kind = kind

    def wrong(self, name: str, what: str) -> ParameterError:
        """Make the error for a setting.

        Args:
            name: the setting's.
            what: what is wrong with it, without its value.

        Returns:
            The error, to be raised.
        """
        return ParameterError(
            f'the setting "{name}" of the provider {self._kind} {what}',
            hint="See the section [provider] of agent.toml, and docs/providers.md.",
        )

    def _take(self, name: str, of_type: type, type_name: str) -> Any:
        value = self._left.pop(name, None)
        # A bool is an int in Python, and is none in a file of settings.
        if value is not None and (not isinstance(value, of_type) or isinstance(value, bool)):
            raise self.wrong(name, f"must be {type_name}, and is {type(value).__name__}")
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """Take a text; without a default, it must be there."""
        value = self.optional_text(name)
        if value is None:
            value = default
        if value is None:
            raise self.wrong(name, "is missing")
        return value

    def optional_text(self, name: str) -> str | None:
        """Take a text, or None if it is not there."""
        value: str | None = self._take(name, str, "a text")
        if value is not None and (not value or not value.isprintable()):
            raise self.wrong(name, "is empty or has characters that cannot be printed")
        return value

    def optional_texts(self, name: str) -> list[str] | None:
        """Take a list of texts, at least one, or None if it is not there."""
        value: list[Any] | None = self._take(name, list, "a list of texts")
        if value is not None and (not value or not all(isinstance(each, str) and each for each in value)):
            raise self.wrong(name, "must be a list of texts, none of them empty")
        return value

    def optional_path(self, name: str) -> str | None:
        """Take an absolute path, or None if it is not there."""
        value = self.optional_text(name)
        if value is not None and not os.path.isabs(value):
            raise self.wrong(name, "must be an absolute path")
        return value

    def path(self, name: str) -> str:
        """Take an absolute path, which must be there."""
        value = self.optional_path(name)
        if value is None:
            raise self.wrong(name, "is missing")
        return value

    def port(self, name: str, default: int) -> int:
        """Take a TCP port."""
        value = self._take(name, int, "a number")
        if value is None:
            return default
        if not 1 <= value <= PORT_MAX:
            raise self.wrong(name, f"must be from 1 to {PORT_MAX}")
        return int(value)

    def optional_address(self, name: str) -> urllib.parse.SplitResult | None:
        """Take an https address, or an http one of this machine itself, or None if it is not there.

        Args:
            name: the setting's.

        Returns:
            Its scheme, host, and port if it has one. It has neither a user name nor a query.
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
            raise self.wrong(name, "must be an address as in https://host:port")
        if address.scheme == "http" and address.hostname not in LOOPBACK:
            raise self.wrong(name, "must begin with https: what is sent there is secret")
        return address

    def address(self, name: str) -> urllib.parse.SplitResult:
        """Take an address, which must be there; see ``optional_address``."""
        value = self.optional_address(name)
        if value is None:
            raise self.wrong(name, "is missing")
        return value

    def refuse_others(self) -> None:
        """Refuse settings that nobody has taken.

        Raises:
            ParameterError: there is one.
        """
        for name in self._left:
            raise self.wrong(name, "is unknown")
