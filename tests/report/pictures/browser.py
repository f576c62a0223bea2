"""A headless Chromium that is spoken to over two pipes: DevTools' protocol, and no package for it."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FOUND = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --hide-scrollbars"


def moved(end):
    """Give an end of a pipe a number above 9, so that 3 and 4 are free."""
    other = fcntl.fcntl(end, fcntl.F_DUPFD, 10)
    os.close(end)
    return other


class Browser:
    """One page; `errors` has what its console and its scripts complained of."""

    def __init__(self, folder):
        to_browser, self._write, self._read, from_browser = map(moved, (*os.pipe(), *os.pipe()))
        command = [FOUND, *FLAGS.split(), f"--user-data-dir={folder}", "--remote-debugging-pipe"]
        silence = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

        def as_three_and_four():
            os.dup2(to_browser, 3)
            os.dup2(from_browser, 4)

        self._process = subprocess.Popen(command, preexec_fn=as_three_and_four, pass_fds=(3, 4), **silence)
        os.close(to_browser)
        os.close(from_browser)
        self._numbers, self._rest, self.errors = itertools.count(1), b"", []
        target = self._send("Target.createTarget", url="about:blank")["targetId"]
        self._session = None
        self._session = self._send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self._send(f"{domain}.enable")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._session = None
        self._send("Browser.close")
        self._process.wait(timeout=20)
        os.close(self._write)
        os.close(self._read)

    def show(self, url, width=1200, height=900, scheme="light", media="screen"):
        self._send(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._send("Emulation.setEmulatedMedia", media=media, features=features)
        self._send("Page.navigate", url=url)
        while self._next().get("method") != "Page.loadEventFired":
            pass

    def run(self, script):
        """Give what an expression comes to."""
        told = self._send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def picture(self, path):
        shot = self._send("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _send(self, method, **parameters):
        number = next(self._numbers)
        session = {"sessionId": self._session} if getattr(self, "_session", None) else {}
        message = {"id": number, "method": method, "params": parameters} | session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == number:
                assert "error" not in told, told
                return told["result"]

    def _next(self):
        while b"\0" not in self._rest:
            chunk = os.read(self._read, 1 << 16)
            assert chunk, "the browser went away"
            self._rest += chunk
        first, _, self._rest = self._rest.partition(b"\0")
        told = json.loads(first)
        if told.get("method") in {"Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled"}:
            self.errors.append(told["params"])
        return told
