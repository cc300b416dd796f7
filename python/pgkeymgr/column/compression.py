"""Compression before encryption, as an option of each column.

A ciphertext does not compress, so a value is compressed before it is encrypted, or never. The length of a
ciphertext then depends on the content of the value. An attacker who can write a part of a value, and see the
length of its ciphertext, learns whether the part repeats another part, such as a secret (CRIME, BREACH). So the
option is off by default.

The option says how values are written from now on. Each ciphertext says by itself whether it is compressed.
"""

from ..errors import ParameterError, UnsupportedError
from ..key.arguments import refuse_null
from .encrypted_table import NONE
from .relations import Relations
from .view import Views

DEFLATE = "deflate"
"""Raw DEFLATE (RFC 1951), as suites 4 and 5 of ``key/cipher.py`` have it."""


class Compression:
    """The option of columns to be compressed, for one session."""

    def __init__(self, relations: Relations, views: Views) -> None:
        self._relations = relations
        self._views = views
        self._registry = relations.registry

    def set_column_compression(self, relation: str, column_name: str, compression: str) -> None:
        """Set the compression of the values that are written to an encrypted column from now on.

        Args:
            relation: the view, or the base table.
            column_name: an encrypted column.
            compression: ``none`` or ``deflate``.

        Raises:
            DataError: an argument is NULL.
            ParameterError: no compression has that name.
            UndefinedError: the column is not encrypted.
            PrivilegeError: the current user does not own the table.
            UnsupportedError: the column is deterministic.
        """
        refuse_null(relation=relation, column_name=column_name)
        check_compression(compression, deterministic=False)
        self._relations.lock_table(relation)
        table, column = self._relations.encrypted_column(relation, column_name)
        check_compression(compression, deterministic=column.deterministic)
        column.compression = compression
        self._registry.save_column(column)
        # The functions of the triggers name the function that seals a value, so that no row takes a look-up.
        self._views.refresh_encrypted_view(str(table.base))


def check_compression(compression: str, *, deterministic: bool) -> None:
    """Refuse a compression that does not exist, or that a column cannot have.

    Args:
        compression: the name of the compression.
        deterministic: whether the column is deterministic.

    Raises:
        DataError: the name is None.
        ParameterError: no compression has that name.
        UnsupportedError: the column is deterministic. Two versions of a library may compress a value to different
            bytes, so that equal values would have different ciphertexts.
    """
    refuse_null(compression=compression)
    if compression not in (NONE, DEFLATE):
        raise ParameterError(f'compression must be "{NONE}" or "{DEFLATE}", not "{compression}"')
    if deterministic and compression != NONE:
        raise UnsupportedError("a deterministic column cannot be compressed")
