"""A `lathe serve` process for tests: started on a free port, watched, stopped. Standard library only."""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def program():
    """The program under test: $LATHE, or what was built last."""
    if os.environ.get("LATHE"):
        return pathlib.Path(os.environ["LATHE"]).resolve()
    built = [path for path in (ROOT / "build/app/bin/lathe", ROOT / "build/release/bin/lathe") if path.exists()]
    if not built:
        sys.exit("build lathe first (make app), or set LATHE to the program")
    return max(built, key=lambda path: path.stat().st_mtime)


def model():
    return os.environ.get("LATHE_TEST_MODEL", str(ROOT / "models/tales-16m"))


class Server:
    """with Server("--max-sequences", "64") as server: ... server.url ..."""

    def __init__(self, *flags, model_path=None, wait=True, key=None, env=None):
        self.log = tempfile.NamedTemporaryFile("w+", prefix="lathe-serve-", suffix=".log", delete=False)
        self.unexpected = True  # its end, if it comes
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LATHE_")} | (env or {})
        command = [str(program()), "serve", model_path or model(), "--port", "0", *flags]
        self.started = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.log, env=environment)
        self.port = None
        self.key = key
        if wait:
            self.wait_ready()

    def wait_ready(self, limit=300):
        """Until /readyz says 200; the seconds since the process was started."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"lathe serve ended with {self.process.returncode}:\n{self.read_log()}")
            if self.port is None:
                found = re.search(r"http://127\.0\.0\.1:(\d+)", self.read_log())
                self.port = int(found[1]) if found else None
            if self.port is not None:
                try:
                    if self.get("/readyz")[0] == 200:
                        return time.monotonic() - self.started
                except OSError:
                    pass
            time.sleep(0.005)
        raise RuntimeError(f"lathe serve was not ready within {limit} s:\n{self.read_log()}")

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def read_log(self):
        return pathlib.Path(self.log.name).read_text(errors="replace")

    def request(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, bytes) of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            if body is not None and not isinstance(body, (bytes, str)):
                body = json.dumps(body)
            key = {"Authorization": f"Bearer {self.key}"} if self.key else {}
            headers = {"Content-Type": "application/json"} | key | (headers or {})
            connection.request(method, path, body=body, headers=headers)
            answer = connection.getresponse()
            return answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path, timeout=10):
        status, _, body = self.request("GET", path, timeout=timeout)
        return status, body

    def post(self, path, body, timeout=120):
        """(status, parsed answer)"""
        status, _, raw = self.request("POST", path, body, timeout=timeout)
        return status, json.loads(raw)

    def metrics(self):
        """{name or name{labels}: value} of /metrics."""
        values = {}
        for line in self.get("/metrics")[1].decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                values[name] = float(value)
        return values

    def pages_used(self):
        return self.metrics()['lathe_kv_pages{state="used"}']

    def wait_idle(self, limit=10):
        """Until no sequence runs or waits and no KV page is used; the seconds it took, or None."""
        start = time.monotonic()
        while time.monotonic() - start < limit:
            m = self.metrics()
            if m["lathe_requests_running"] == m["lathe_requests_waiting"] == m['lathe_kv_pages{state="used"}'] == 0:
                return time.monotonic() - start
            time.sleep(0.005)
        return None

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024

    def cpu_seconds(self):
        """(all threads together, {thread name: seconds})"""
        tick = os.sysconf("SC_CLK_TCK")
        by_name = {}
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            text = (task / "stat").read_text()
            name, fields = text[text.index("(") + 1:text.rindex(")")], text[text.rindex(")") + 2:].split()
            by_name[name] = by_name.get(name, 0) + (int(fields[11]) + int(fields[12])) / tick
        return sum(by_name.values()), by_name

    def alive(self):
        return self.process.poll() is None

    def stop(self, how=signal.SIGTERM, limit=60):
        """The exit code."""
        self.unexpected = False
        if self.alive():
            self.process.send_signal(how)
        try:
            return self.process.wait(limit)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise RuntimeError(f"lathe serve did not end within {limit} s of signal {how}") from None

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        died = self.unexpected and not self.alive() and self.process.returncode != 0
        if self.alive():
            code = self.stop(signal.SIGTERM if kind is None else signal.SIGKILL)
            died = kind is None and code != 0
        self.log.close()
        if died:
            raise RuntimeError(f"lathe serve ended with {self.process.returncode}; the end of {self.log.name}:\n"
                               + self.read_log()[-4000:])
        if kind is None:
            os.unlink(self.log.name)
        else:
            print(f"log of the server: {self.log.name}", file=sys.stderr)
