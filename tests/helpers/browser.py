"""A page in headless Chromium, driven through its own debugging pipe; nothing else is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--remote-debugging-pipe", "--autoplay-policy=no-user-gesture-required", "--mute-audio",
)  # fmt: skip
SECONDS = 60.0


class Page:
    """A page; what it says on the console and asks of the network is kept."""

    def __init__(self, to: int, back: int) -> None:
        self._to, self._back = to, back
        self._left, self._number, self._session = b"", 0, ""
        self.messages: list[str] = []
        self.requests: list[str] = []

    def attach(self) -> None:
        """Take the browser's first page."""
        made = self.call("Target.createTarget", url="about:blank")
        taken = self.call("Target.attachToTarget", targetId=made["targetId"], flatten=True)
        self._session = taken["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers; events that come before are kept."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]
            self._note(answer)

    def open(self, path: Path, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a file."""
        self.visit(path.absolute().as_uri(), width, height, dark)

    def visit(self, url: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show a page."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)  # fmt: skip
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=url)
        self.wait("document.readyState === 'complete'")

    def choose(self, selector: str, path: Path) -> None:
        """Put a file into an input element."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=found, files=[str(path.absolute())])

    def value(self, expression: str) -> Any:
        """Of a JavaScript expression, which may be a promise."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True,
                           returnByValue=True)  # fmt: skip
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, expression: str) -> None:
        """Until an expression is true."""
        end = time.monotonic() + SECONDS
        while not self.value(expression):
            assert time.monotonic() < end, f"{expression} doesn't come true; {self.messages}"
            time.sleep(0.05)

    def press(self, key: str, code: int) -> None:
        """A key, by its name and its number in Windows."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def click(self, x: float, y: float) -> None:
        """A place in the window, in pixels."""
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._left:
            part = os.read(self._back, 1 << 20)
            assert part, "the browser has ended"
            self._left += part
        one, self._left = self._left.split(b"\0", 1)
        return json.loads(one)

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled" or method == "Runtime.exceptionThrown":
            self.messages.append(json.dumps(told))
        elif method == "Log.entryAdded":
            self.messages.append(f"{told['entry']['level']}: {told['entry']['text']}")
        elif method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])


@contextmanager
def chromium(folder: Path, *flags: str) -> Iterator[Page]:
    """A browser of its own, with its profile in a folder. The test is skipped without one."""
    program = next((found for name in NAMES if (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("Chromium is not installed")
    to_browser, from_us = os.pipe()
    to_us, from_browser = os.pipe()
    command = [program, *_FLAGS, *flags, f"--user-data-dir={folder}", "about:blank"]

    def arrange() -> None:
        # Chromium takes the descriptors 3 and 4; those that are there now may be the same.
        first, second = os.dup(to_browser), os.dup(from_browser)
        high = [os.dup2(first, 50), os.dup2(second, 51)]
        os.dup2(high[0], 3)
        os.dup2(high[1], 4)

    process = subprocess.Popen(
        command, preexec_fn=arrange, close_fds=False, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    os.close(to_browser)
    os.close(from_browser)
    page = Page(from_us, to_us)
    try:
        page.attach()
        yield page
    finally:
        process.terminate()
        process.wait(30)
        os.close(from_us)
        os.close(to_us)
