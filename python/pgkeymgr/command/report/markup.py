"""Builds HTML and SVG. Text is escaped unless this module made it."""

import html
from typing import Any

from ..output import escape

_VOID = frozenset({"br", "col", "link", "meta"})


class Markup(str):
    """Text that is HTML already. Only this module makes it, and so no name of a user is taken for HTML."""

    __slots__ = ()


Child = Any
"""A part of an element: Markup, any other value, which is written as escaped text, or None for nothing."""


def text(value: Any) -> Markup:
    """Return the text of a value as HTML.

    Args:
        value: any value. Characters that cannot be printed are shown as escapes: some of them would change the
            direction of the text beside them.
    """
    return Markup(html.escape(escape(value)))


def join(*children: Child) -> Markup:
    """Return the HTML of several parts, one after the other."""
    return Markup(
        "".join(each if isinstance(each, Markup) else text(each) for each in children if each is not None)
    )


def tag(name: str, /, *children: Child, **attributes: Any) -> Markup:
    """Return an element.

    Args:
        name: the name of the element.
        children: its parts.
        attributes: its attributes. The name of an attribute has ``_`` for ``-``, and ends with ``_`` if it is a
            word of Python. An attribute that is None is left out. The policy of the page refuses ``style``.
    """
    assert "style" not in attributes
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def style_sheet(css: str) -> Markup:
    """Return a style sheet of our own as an element. It has no character that is special in HTML.

    Args:
        css: the style sheet.
    """
    assert "<" not in css
    return Markup(f"<style>{css}</style>")


def document(head: Markup, body: Markup) -> str:
    """Return a page in English."""
    return f'<!DOCTYPE html>\n<html lang="en">\n{head}\n{body}\n</html>\n'
