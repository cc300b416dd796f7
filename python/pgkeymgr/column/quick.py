"""The quick forms of the functions of cells that views and triggers call for each row; see ``key/quick.py``."""

from __future__ import annotations

from ..key.cipher import CIPHERTEXT_START
from ..key.quick import START, pass_on_intervention
from ..key.table import KeyTable
from .cell import Cells

TYPE_CHECKING = False  # see key/named_tuple.py
if TYPE_CHECKING:
    from typing import Any

    from ..key.quick import Function, Quicken


def quick_cells(table: KeyTable, cells: Cells) -> dict[str, Quicken]:  # noqa: PLR0915  # a closure for each form
    """Return a maker of the quick form for each function of cells that has one, by name.

    A maker receives the function itself, and returns its quick form.
    """
    keyring = table.keyring
    current_user, current_stamp = table.database.user, table.database.stamp
    unpack_start = START.unpack_from
    carries_over = table.uses.carries_over
    transit = cells.transit
    waiting = transit.waiting

    def next_opener(stamp: int, token: bytes) -> Any:
        family, header, user, _, decrypt, is_lasting = keyring.cell_opener
        if not (is_lasting and carries_over(stamp)):
            return cells.opener(token, family, user).decrypt_raw
        keyring.cell_opener = family, header, user, stamp, decrypt, True
        return decrypt

    def next_sealer(stamp: int) -> Any:
        family, user, _, cipher, is_lasting = keyring.cell_sealer
        if not (is_lasting and carries_over(stamp)):
            return cells.sealer(family, user)
        keyring.cell_sealer = family, user, stamp, cipher, True
        return cipher

    def open_bytes(otherwise: Function) -> Function:
        def quick(token: bytes, place: bytes, family: int) -> Any:
            of_family, header, user, stamp, decrypt, _ = keyring.cell_opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and family == of_family and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        decrypt = next_opener(now, token)
                    return decrypt(nonce, token[CIPHERTEXT_START:], header + place)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(token, place, family)

        return quick

    def open_text(otherwise: Function) -> Function:
        def quick(token: bytes, place: bytes, family: int) -> Any:
            of_family, header, user, stamp, decrypt, _ = keyring.cell_opener
            try:
                its_header, nonce = unpack_start(token)
                if its_header == header and family == of_family and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        decrypt = next_opener(now, token)
                    text = decrypt(nonce, token[CIPHERTEXT_START:], header + place).decode()
                    if "\0" not in text:
                        return text
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(token, place, family)

        return quick

    def seal_bytes(otherwise: Function) -> Function:
        def quick(family: int, plaintext: bytes, place: bytes) -> Any:
            of_family, user, stamp, cipher, _ = keyring.cell_sealer
            try:
                if family == of_family and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        cipher = next_sealer(now)
                    return cipher.encrypt(plaintext, place)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(family, plaintext, place)

        return quick

    def seal_text(otherwise: Function) -> Function:
        def quick(family: int, plaintext: str, place: bytes) -> Any:
            of_family, user, stamp, cipher, _ = keyring.cell_sealer
            try:
                if family == of_family and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        cipher = next_sealer(now)
                    return cipher.encrypt(plaintext.encode(), place)
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(family, plaintext, place)

        return quick

    def send_text(otherwise: Function) -> Function:
        send = transit.send

        def quick(value: str) -> Any:
            try:
                return send(value.encode())
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(value)

        return quick

    def seal_sent(otherwise: Function) -> Function:
        def quick(family: int, ticket: bytes, place: bytes) -> Any:
            of_family, user, stamp, cipher, _ = keyring.cell_sealer
            try:
                if family == of_family and current_user() == user:
                    if (now := current_stamp()) != stamp:
                        cipher = next_sealer(now)
                    if transit.stamp == now:
                        which = ticket, user
                        sealed = cipher.encrypt(waiting[which], place)
                        del waiting[which]
                        return sealed
            except Exception as error:
                pass_on_intervention(error)
            return otherwise(family, ticket, place)

        return quick

    return {
        "_open_bytes": open_bytes,
        "_open_text": open_text,
        "_show_bytes": open_bytes,
        "_show_text": open_text,
        "_show_computed_bytes": open_bytes,
        "_show_computed_text": open_text,
        "_seal_bytes": seal_bytes,
        "_seal_text": seal_text,
        "_send_text": send_text,
        "_seal_sent": seal_sent,
    }
