"""A headless Chromium for tests that need a real browser, driven over a pipe by its DevTools protocol."""

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

PROGRAM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
PATIENCE = 60  # seconds for one answer: the machine may be busy

_FLAGS = (
    *("--headless=new", "--remote-debugging-pipe", "--disable-gpu", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio"),
    *("--disable-dev-shm-usage", "--host-resolver-rules=MAP * ~NOTFOUND"),  # no network, whatever the page asks for
)


class Browser:
    """Chromium on the two ends of a pipe; pages are opened one after the other."""

    def __init__(self, profile: str) -> None:
        to_read, self._write = _high_pipe()
        self._read, to_write = _high_pipe()
        arguments = [PROGRAM or "chromium", *_FLAGS, f"--user-data-dir={profile}"]
        arguments += ["--no-sandbox"] if os.getuid() == 0 else []  # root has no sandbox
        nowhere = os.open(os.devnull, os.O_RDWR)
        places = [(nowhere, 0), (nowhere, 1), (nowhere, 2), (to_read, 3), (to_write, 4)]
        actions = [(os.POSIX_SPAWN_DUP2, ours, theirs) for ours, theirs in places]
        self.process = os.posix_spawn(arguments[0], arguments, os.environ, file_actions=actions, setpgroup=0)
        for end in (to_read, to_write, nowhere):
            os.close(end)
        self._numbers = itertools.count(1)
        self._unread = b""
        self.events: list[dict[str, Any]] = []

    def ask(self, method: str, session: str | None = None, **parameters: Any) -> Any:
        """The answer to one command."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters} | ({"sessionId": session} if session else {})
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                return answer["result"]
            self.events.append(answer)

    def wait_for(self, method: str) -> None:
        """Wait until an event of this name has been sent."""
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._next())

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._unread:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            assert ready, "the browser does not answer"
            received = os.read(self._read, 1 << 20)
            assert received, "the browser has ended"
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\0")
        return json.loads(line)

    def open(
        self,
        file: Path,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        scripts: bool = True,
    ) -> "Page":
        """`file` in a window of that size, loaded to its end."""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        page = Page(self, session)
        for domain in ("Page", "Runtime", "Log"):
            page.ask(f"{domain}.enable")
        page.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        page.ask("Emulation.setEmulatedMedia", features=[scheme])
        page.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        page.ask("Page.navigate", url=file.resolve().as_uri())
        self.wait_for("Page.loadEventFired")
        return page

    def close(self) -> None:
        with suppress(OSError, AssertionError):
            self.ask("Browser.close")
        for end in (self._read, self._write):
            os.close(end)
        with suppress(ProcessLookupError):  # what it started, and has not ended by itself
            os.killpg(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)


class Page:
    """One page that is open."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser, self._session = browser, session

    def ask(self, method: str, **parameters: Any) -> Any:
        return self._browser.ask(method, self._session, **parameters)

    def value(self, script: str) -> Any:
        """What the JavaScript expression is, as plain data."""
        answer = self.ask("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key: str) -> None:
        """A key, as the keyboard sends it to what has the focus."""
        for kind in ("rawKeyDown", "keyUp"):
            self.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key)

    @property
    def complaints(self) -> list[str]:
        """What the console has shown so far: errors and warnings of the page, and everything it could not load."""
        self.value("0")  # whatever was on its way is here now
        found = []
        for event in self._browser.events:
            parameters = event.get("params", {})
            if event.get("method") == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            elif event.get("method") == "Log.entryAdded" or (
                event.get("method") == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning")
            ):
                found.append(str(parameters))
        return found

    def screenshot(self, file: Path, *, whole: bool = True) -> None:
        options: dict[str, Any] = {"captureBeyondViewport": True}
        if whole:
            size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
            options["clip"] = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        picture = self.ask("Page.captureScreenshot", format="png", **options)["data"]
        file.write_bytes(base64.b64decode(picture))

    def as_pdf(self) -> bytes:
        """The page as it is printed, on A4."""
        size = {"paperWidth": 8.27, "paperHeight": 11.69, "preferCSSPageSize": True}
        return base64.b64decode(self.ask("Page.printToPDF", printBackground=False, **size)["data"])


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser of its own, which leaves nothing behind."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        started = Browser(profile)
        try:
            yield started
        finally:
            started.close()


def _high_pipe() -> tuple[int, int]:
    """A pipe whose ends have numbers that are not among those the browser is to find its own by."""
    ends = os.pipe()
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]
