"""A headless Chromium, spoken to over two pipes (the DevTools protocol): no port, no driver, no package."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import select
import shutil
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Headless, as root in a container too, and without the browser's own traffic.
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
]
PATIENCE_S = 120
# What the browser itself does on a key goes by these.
CODES = {"Enter": 13, "Escape": 27, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36}
COMPLAINTS = {"error", "warning", "assert"}


class Tab:
    """One open page. `complaints`: what the browser said against it, `requests`: what it asked for."""

    def __init__(self, hears: int, says: int) -> None:
        self._hears, self._says = hears, says
        self._number = 0
        self._session: str | None = None
        self._rest = b""
        self._events: list[dict[str, Any]] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def open(self, page: Path, *, width: int = 1400, height: int = 900, dark: bool = False, anchor: str = "") -> None:
        """Show the page, once its script has run."""
        if self._session is None:
            target = self._call("Target.createTarget", url="about:blank")["targetId"]
            self._session = self._call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
            for domain in ("Page", "Runtime", "Log", "Network"):
                self._call(f"{domain}.enable")
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self._call("Emulation.setEmulatedMedia", features=features)
        self.resize(width, height)
        self._call("Page.navigate", url=f"{page.as_uri()}{anchor}")
        self._until("Page.loadEventFired")
        self.settle()

    def resize(self, width: int, height: int) -> None:
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def run(self, script: str) -> Any:
        """The value of an expression (a promise is awaited); what it throws fails the test."""
        done = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def settle(self) -> None:
        """Until everything that was asked for is drawn: two frames."""
        self.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))")

    def press(self, key: str, *, shift: bool = False, control: bool = False) -> None:
        """Strike a key: one sign, or a name such as `ArrowDown`."""
        modifiers = 8 * shift + 2 * control
        strike = {
            "key": key,
            "modifiers": modifiers,
            "windowsVirtualKeyCode": CODES.get(key, ord(key[0]) if len(key) == 1 else 0),
        }
        text = {"text": key} if len(key) == 1 and not control else {"text": "\r"} if key == "Enter" else {}
        self._call("Input.dispatchKeyEvent", type="keyDown", **strike, **text)
        self._call("Input.dispatchKeyEvent", type="keyUp", **strike)
        self.settle()

    def write(self, text: str) -> None:
        """Type into what has the focus."""
        self._call("Input.insertText", text=text)
        self.settle()

    def wheel(self, x: int, y: int, turn: int, *, control: bool = False) -> None:
        where = {"type": "mouseWheel", "x": x, "y": y, "deltaX": 0, "deltaY": turn, "modifiers": 2 * control}
        self._call("Input.dispatchMouseEvent", **where)
        self.settle()

    def drag(self, begin: tuple[int, int], end: tuple[int, int]) -> None:
        for kind, (x, y) in (("mousePressed", begin), ("mouseMoved", end), ("mouseReleased", end)):
            self._call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1, clickCount=1)
        self.settle()

    def names_of(self, role: str) -> list[str]:
        """What a screen reader says of each element of that role, in the page's order."""
        nodes = self._call("Accessibility.getFullAXTree")["nodes"]
        return [node["name"]["value"] for node in nodes if node.get("role", {}).get("value") == role]

    def screenshot(self, path: Path) -> Path:
        path.write_bytes(base64.b64decode(self._call("Page.captureScreenshot", format="png")["data"]))
        return path

    def pdf(self, path: Path) -> Path:
        printed = self._call("Page.printToPDF", printBackground=True, landscape=True)
        path.write_bytes(base64.b64decode(printed["data"]))
        return path

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._says, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, (method, answer["error"])
        return answer["result"]

    def _until(self, event: str) -> None:
        while not any(seen["method"] == event for seen in self._events):
            self._next()
        self._events.clear()

    def _next(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            assert select.select([self._hears], [], [], PATIENCE_S)[0], "the browser says nothing"
            read = os.read(self._hears, 1 << 16)
            assert read, "the browser is gone"
            self._rest += read
        line, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(line)
        if "method" in message:
            self._note(message)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        said = event.get("params", {})
        match event["method"]:
            case "Runtime.exceptionThrown":
                self.complaints.append(json.dumps(said["exceptionDetails"])[:600])
            case "Runtime.consoleAPICalled" if said["type"] in COMPLAINTS:
                self.complaints.append(json.dumps(said["args"])[:600])
            case "Log.entryAdded" if said["entry"]["level"] in COMPLAINTS:
                self.complaints.append(said["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requests.append(said["request"]["url"])


@contextmanager
def chromium() -> Iterator[Tab]:
    """A browser with a profile of its own, gone with all its processes afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        to_browser, says = os.pipe()
        hears, from_browser = os.pipe()
        # The browser reads from 3 and writes to 4: neither end may lie there before it is put there.
        theirs = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in (to_browser, from_browser)]
        log = os.open(Path(profile) / "log", os.O_CREAT | os.O_WRONLY)
        program = shutil.which("chromium") or "chromium"
        pid = os.posix_spawn(
            program,
            [program, *QUIET, f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank"],
            os.environ,
            file_actions=[
                *((os.POSIX_SPAWN_DUP2, end, number) for number, end in enumerate(theirs, start=3)),
                *((os.POSIX_SPAWN_DUP2, log, number) for number in (1, 2)),
            ],
            setpgroup=0,
        )
        for end in (to_browser, from_browser, *theirs, log):
            os.close(end)
        try:
            yield Tab(hears, says)
        finally:
            os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            os.close(hears)
            os.close(says)
