"""Chromium, headless, driven through its debugging pipe: JSON messages ended by NUL on descriptors 3 and 4."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time


def high_pipe():
    """A pipe whose ends are none of the descriptors that the browser wants."""
    ends = os.pipe()
    moved = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return moved


class Browser:
    """One browser with one page. `errors` collects what the page's console and its policies complain about."""

    def __init__(self):
        program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if not program:
            raise RuntimeError("no Chromium found: apt-get install chromium")
        self.profile = tempfile.mkdtemp(prefix="playground")
        to_browser, self.write_fd = high_pipe()
        self.read_fd, from_browser = high_pipe()
        flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
                 "--remote-debugging-pipe", f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "bash", program, *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            pass_fds=(to_browser, from_browser))
        os.close(to_browser), os.close(from_browser)
        self.ids = itertools.count(1)
        self.replies, self.errors, self.requests = {}, [], []
        self.arrived, self.sending = threading.Condition(), threading.Lock()
        self.credentials, self.asked = None, 0  # of sign_in; how often the server asked
        threading.Thread(target=self._read, daemon=True).start()
        target = next(t for t in self._call("Target.getTargets")["targetInfos"] if t["type"] == "page")
        self.session = None
        self.session = self._call("Target.attachToTarget", targetId=target["targetId"], flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log", "Accessibility"):
            self.call(f"{domain}.enable")

    def _read(self):
        rest = b""
        while chunk := os.read(self.read_fd, 1 << 16):
            *messages, rest = (rest + chunk).split(b"\0")
            for raw in messages:
                self._take(json.loads(raw))
        with self.arrived:
            self.replies = None
            self.arrived.notify_all()

    def _take(self, message):
        method, params = message.get("method"), message.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.errors.append(params["exceptionDetails"].get("exception", {}).get("description", "exception"))
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
            self.errors.append(str(params["args"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.errors.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Fetch.requestPaused":
            self._send("Fetch.continueRequest", self.session, requestId=params["requestId"])
        elif method == "Fetch.authRequired":
            self.asked += 1
            answer = {"response": "ProvideCredentials", **self.credentials}
            self._send("Fetch.continueWithAuth", self.session, requestId=params["requestId"],
                       authChallengeResponse=answer)
        if "id" in message:
            with self.arrived:
                self.replies[message["id"]] = message
                self.arrived.notify_all()

    def _send(self, method, session=None, **params):
        number = next(self.ids)
        message = {"id": number, "method": method, "params": params}
        if session:
            message["sessionId"] = session
        with self.sending:
            os.write(self.write_fd, json.dumps(message).encode() + b"\0")
        return number

    def _call(self, method, session=None, **params):
        number = self._send(method, session, **params)
        with self.arrived:
            if not self.arrived.wait_for(lambda: self.replies is None or number in self.replies, timeout=30):
                raise RuntimeError(f"{method}: no answer in 30 s")
            if self.replies is None:
                raise RuntimeError("the browser is gone")
            reply = self.replies.pop(number)
        if "error" in reply:
            raise RuntimeError(f"{method}: {reply['error']}")
        return reply["result"]

    def call(self, method, **params):
        return self._call(method, self.session, **params)

    def js(self, expression):
        """Value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(expression + ": " + str(result["exceptionDetails"].get("exception")))
        return result["result"].get("value")

    def wait(self, expression, seconds=10):
        """Until the expression is true; its value."""
        end = time.monotonic() + seconds
        while True:
            value = self.js(expression)
            if value:
                return value
            if time.monotonic() > end:
                raise AssertionError(f"not true within {seconds} s: {expression}")
            time.sleep(0.02)

    def open(self, url):
        self.call("Page.navigate", url=url)
        self.wait(f"location.href === {json.dumps(url)} && document.readyState === 'complete'")

    def type(self, text):
        self.call("Input.insertText", text=text)

    def key(self, key, shift=False):
        codes = {"Enter": (13, "\r"), "Escape": (27, ""), "Tab": (9, "")}
        code, text = codes[key]
        common = dict(key=key, code=key, windowsVirtualKeyCode=code, modifiers=8 if shift else 0)
        self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
        self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def screen(self, width, height, phone=False, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=2 if phone else 1, mobile=phone)
        self.call("Emulation.setTouchEmulationEnabled", enabled=phone)
        self.call("Emulation.setEmulatedMedia",
                  features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    def sign_in(self, name, password):
        """What the user types when the server asks, from now on; None, None: nothing."""
        self.credentials = dict(username=name, password=password) if name else None
        if name:
            self.call("Fetch.enable", handleAuthRequests=True)
        else:
            self.call("Fetch.disable")

    def screenshot(self, path):
        data = self.call("Page.captureScreenshot", format="png")["data"]
        with open(path, "wb") as out:
            out.write(base64.b64decode(data))

    def close(self):
        try:
            self._call("Browser.close")
        except (RuntimeError, OSError):
            pass
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.profile, ignore_errors=True)
