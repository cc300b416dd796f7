"""A named tuple for the modules that each session imports, which would wait for the module ``typing``.

Those modules also import nothing else of ``typing`` at run time. ``test_session_start.py`` enforces this.
"""

from __future__ import annotations

from collections import namedtuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Meta(type):
    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> type:
        if not bases:
            return super().__new__(cls, name, bases, namespace)
        fields = namespace["__annotations__"]
        defaults = [namespace.pop(field) for field in fields if field in namespace]
        base = namedtuple(name, fields, defaults=defaults)  # type: ignore[misc]
        return type(name, (base,), {"__slots__": (), **namespace})


class NamedTuple(metaclass=_Meta):
    """The base class of named tuples, like that of ``typing``. The module must postpone its annotations."""
