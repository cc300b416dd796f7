"""Drives a headless Chromium, over the pipes of its debugging protocol.

Source: https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Any, Self

NAMES = ("chromium", "chromium-headless-shell", "chromium-browser", "google-chrome")
ENVIRONMENT = "PGK_CHROMIUM"
_SECONDS = 60


def find() -> str | None:
    """Return the path of a Chromium: that of $PGK_CHROMIUM, or one on the PATH, or None."""
    return os.environ.get(ENVIRONMENT) or next(filter(None, map(shutil.which, NAMES)), None)


def _pipe() -> tuple[int, int]:
    """Return the ends of a pipe, whose numbers are not those that Chromium uses."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved[0], moved[1]


class Chromium:
    """A running Chromium with one page; a context manager.

    Attributes:
        events: the events that have arrived, with their parameters.
    """

    def __init__(self, path: str) -> None:
        """Initialize it, without starting it.

        Args:
            path: of the program.
        """
        self._path = path
        self._number = 0
        self._session: str | None = None
        self._unread = b""
        self.events: list[tuple[str, dict[str, Any]]] = []

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="pgkeymgr-chromium-", ignore_cleanup_errors=True)
        theirs_in, self._write = _pipe()
        self._read, theirs_out = _pipe()
        # It reads from descriptor 3, and writes to 4. A shell puts them there.
        self._process = subprocess.Popen(
            [
                *("bash", "-c", f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', "bash", self._path),
                *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"),
                *("--remote-debugging-pipe", f"--user-data-dir={self._directory.name}", "about:blank"),
            ],
            pass_fds=(theirs_in, theirs_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        targets = self.call("Target.getTargets")["targetInfos"]
        page = next(each["targetId"] for each in targets if each["type"] == "page")
        self._session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait(timeout=_SECONDS)
        os.close(self._write)
        os.close(self._read)
        self._directory.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result.

        Raises:
            RuntimeError: the method failed, or Chromium has ended.
        """
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            if answer.get("id") == self._number:
                result: dict[str, Any] = answer["result"]
                return result

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._unread:
            readable, _, _ = select.select([self._read], [], [], _SECONDS)
            received = os.read(self._read, 1 << 20) if readable else b""
            if not received:
                raise RuntimeError("Chromium has ended, or does not answer")
            self._unread += received
        text, _, self._unread = self._unread.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        if "method" in message:
            self.events.append((message["method"], message["params"]))
        return message

    def open(self, address: str) -> None:
        """Open a page, and wait until it is loaded."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(name == "Page.loadEventFired" for name, _ in self.events):
            self._receive()

    def show(self, width: int, scheme: str) -> None:
        """Set the width of the window in pixels, and the colour scheme, ``light`` or ``dark``."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1, mobile=False)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def evaluate(self, expression: str) -> Any:
        """Return the value of an expression of JavaScript. The policy of the page does not matter for it."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def screenshot(self, file: Path) -> bytes:
        """Write a picture of the whole page to a file, and return it."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        picture = base64.b64decode(answer["data"])
        file.write_bytes(picture)
        return picture

    def print_page(self) -> bytes:
        """Return the page as a PDF."""
        return base64.b64decode(self.call("Page.printToPDF", preferCSSPageSize=True)["data"])
