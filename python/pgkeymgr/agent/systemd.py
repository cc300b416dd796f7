"""Notifies systemd of the state of a service of Type=notify; see sd_notify(3)."""

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Send a message to the service manager, if there is one.

    Args:
        message: lines such as ``READY=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    # The agent must serve keys even if the service manager cannot be notified.
    with channel, contextlib.suppress(OSError):
        channel.sendto(message.encode(), address)
