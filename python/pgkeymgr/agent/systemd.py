"""What systemd is told about a service of Type=notify: sd_notify(3)."""

import contextlib
import os
import socket


def notify(message: str) -> None:
    """Tell the service manager something; nothing happens where there is none.

    Args:
        message: lines such as ``READY=1``.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    # Nobody should be without keys because nobody listens to this.
    with channel, contextlib.suppress(OSError):
        channel.sendto(message.encode(), address)
