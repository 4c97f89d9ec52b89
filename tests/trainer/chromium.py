"""A page in headless Chromium, asked over the DevTools protocol through a pipe; no library, no port."""

import base64
import contextlib
import json
import os
import select
import shutil
import subprocess
import time

import pytest

__all__ = ["Page", "opened_page"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
PATIENCE = 60  # seconds for an answer


class Page:
    """A page that is loaded.

    Attributes:
        complaints: what the console and the page's exceptions said, warnings and errors.
        asked: addresses that the page asked for.
    """

    def __init__(self, process, write, read):
        self._process, self._write, self._read = process, write, read
        self._buffer, self._last, self._session = b"", 0, None
        self.complaints, self.asked = [], []

    def call(self, method, **params):
        """The answer to a call; what happens meanwhile is noted."""
        self._last += 1
        message = {"id": self._last, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._last:
            self._note(answer)
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def _next(self):
        until = time.monotonic() + PATIENCE
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, until - time.monotonic()))
            part = os.read(self._read, 1 << 20) if ready else b""
            if not part:
                raise TimeoutError("Chromium says nothing")
            self._buffer += part
        message, _, self._buffer = self._buffer.partition(b"\0")
        return json.loads(message)

    def _note(self, event):
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.complaints.append(str(params["args"]))
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
            self.complaints.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def load(self, url, *, width, height, dark):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
        self.dark(dark)
        self.call("Page.navigate", url=url)
        until = time.monotonic() + PATIENCE
        while self.value("document.readyState + location.href.slice(0, 4)") != "completefile":
            if time.monotonic() > until:
                raise TimeoutError(f"{url} does not load")
            time.sleep(0.05)

    def dark(self, is_dark):
        """Have the page be looked at by somebody who prefers dark or light."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def value(self, expression):
        """What an expression of JavaScript gives."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def press(self, key):
        """A key, as a keyboard sends it: a letter or the name of an arrow."""
        code = {"ArrowLeft": 37, "ArrowRight": 39}.get(key, ord(key[0].upper()))
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code)

    def picture(self, path):
        """Write a picture of the whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))


@contextlib.contextmanager
def opened_page(path, folder, *, width=1280, height=900, dark=False):
    """A Page of an HTML file, or a skip where there is no Chromium.

    Args:
        path: the file.
        folder: for what Chromium keeps.
    """
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip(f"there is no Chromium ({', '.join(NAMES)})")
    if os.name != "posix":
        pytest.skip("Chromium is asked through a pipe with numbered ends")
    import fcntl
    hears, write = os.pipe()
    read, says = os.pipe()

    def numbered():
        # Chromium hears on 3 and says on 4; the pipes may have these numbers, each the other's.
        ends = fcntl.fcntl(hears, fcntl.F_DUPFD, 5), fcntl.fcntl(says, fcntl.F_DUPFD, 5)
        os.dup2(ends[0], 3)
        os.dup2(ends[1], 4)

    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--disable-background-networking", "--hide-scrollbars", f"--user-data-dir={folder}",
               "--remote-debugging-pipe", "about:blank"]
    with open(folder / "chromium.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=numbered, close_fds=False)
    os.close(hears)
    os.close(says)
    try:
        page = Page(process, write, read)
        page.load(path.resolve().as_uri(), width=width, height=height, dark=dark)
        yield page
        page.call("Runtime.evaluate", expression="0")  # what was said until now has come
    finally:
        process.terminate()
        process.wait(PATIENCE)
        os.close(write)
        os.close(read)
