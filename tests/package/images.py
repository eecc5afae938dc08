"""Images for the tests: packaged, unpacked by umoci, run by crun as a cluster would run them."""
import contextlib
import ctypes
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))
from lathe_server import program  # noqa: E402

# Of nobody; clusters choose such numbers (OpenShift).
RANDOM_USER = 1000650000
CLONE_NEWNET = 0x40000000


def run(*command, check=True, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(str(word) for word in command)}: exit code {done.returncode}\n{done.stderr}{done.stdout}")
    return done


def lathe(*words, **options):
    return run(program(), *words, **options)


def enter_network(descriptor):
    """Of the calling thread alone. (os.setns came with Python 3.12.)"""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def crun(*words):
    """A command line of crun. It does not run where both versions of cgroups are mounted, so there it gets to see the
    second alone, in a mount namespace of its own."""
    command = ["crun", "--cgroup-manager=disabled", *words]
    if not pathlib.Path("/sys/fs/cgroup/unified").is_dir():
        return command
    return ["unshare", "--mount", "--propagation", "slave", "sh", "-c", 'mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec "$@"', "sh",
            *command]


def layout(image):
    """(manifest, configuration) of a layout's one image, every blob's name checked against its content."""
    for blob in (image / "blobs/sha256").iterdir():
        with blob.open("rb") as file:
            assert hashlib.file_digest(file, "sha256").hexdigest() == blob.name
    index = json.loads((image / "index.json").read_text())
    read = lambda descriptor: json.loads((image / "blobs/sha256" / descriptor["digest"][7:]).read_text())  # noqa: E731
    manifest = read(index["manifests"][0])
    return manifest, read(manifest["config"])


def tree(root):
    """{path: (type and mode, owner, digest or None)} of everything below `root`."""
    found = {}
    for folder, names, files in os.walk(root):
        for name in names + files:
            path = pathlib.Path(folder) / name
            info = path.lstat()
            content = hashlib.sha256(path.read_bytes()).hexdigest() if stat.S_ISREG(info.st_mode) else None
            found[str(path.relative_to(root))] = (info.st_mode, info.st_uid, info.st_gid, content)
    return found


def unpack(image, bundle, tag="latest"):
    """A bundle (rootfs and config.json) that runtimes can run, made by umoci."""
    run("umoci", "unpack", "--image", f"{image}:{tag}", bundle)
    return bundle


class Container:
    """with Container(bundle, environment) as server: ... As a random user, with a read-only root, no capability, and
    no network but its own loopback (or, with network=True, this machine's). `volumes`: {path inside: folder here}."""
    count = 0

    def __init__(self, bundle, environment=(), network=False, args=None, volumes=None):
        Container.count += 1
        self.name = f"lathe-test-{os.getpid()}-{Container.count}"
        self.bundle = bundle
        config = json.loads((bundle / "config.json").read_text())
        process = config["process"]
        process["terminal"] = False
        process["user"] = {"uid": RANDOM_USER, "gid": 0}
        process["capabilities"] = {}
        process["noNewPrivileges"] = True
        process["env"] += list(environment)
        if args is not None:
            process["args"] = args
        config["root"]["readonly"] = True
        config["linux"].pop("cgroupsPath", None)
        config["linux"]["namespaces"] = [item for item in config["linux"]["namespaces"] if item["type"] != "cgroup" and not (
            network and item["type"] == "network")]
        # Only what a container runtime always mounts; nothing that can be written but /dev.
        config["mounts"] = [item for item in config["mounts"] if item["destination"] in ("/proc", "/dev", "/dev/pts", "/sys")]
        for mount in config["mounts"]:
            if mount["destination"] == "/sys":
                mount.update(type="none", source="/sys", options=["rbind", "nosuid", "noexec", "nodev", "ro"])
        config["mounts"] += [{"destination": inside, "type": "bind", "source": str(here), "options": ["rbind", "rw"]}
                             for inside, here in (volumes or {}).items()]
        self.environment = dict(entry.split("=", 1) for entry in process["env"])
        (bundle / "config.json").write_text(json.dumps(config))
        self.process = None

    def __enter__(self):
        self.log = open(self.bundle / "log", "w")
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            crun("run", "-b", str(self.bundle), self.name),
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        return self

    @property
    def text(self):
        return (self.bundle / "log").read_text(errors="replace")

    def pid(self, limit=30):
        """Of the first process in it, as this machine counts."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            state = run(*crun("state", self.name), check=False)
            if state.returncode == 0 and json.loads(state.stdout)["status"] == "running":
                return json.loads(state.stdout)["pid"]
            if self.process.poll() is not None:
                break
            time.sleep(0.01)
        raise RuntimeError(f"the container does not run: {self.text}")

    def inside(self, *command):
        """Runs a command of the image in the container, as its user."""
        return run(*crun("exec", self.name, *command), check=False)

    @contextlib.contextmanager
    def network(self):
        """What is connected meanwhile is connected in the container's network."""
        here = os.open("/proc/self/ns/net", os.O_RDONLY)
        there = os.open(f"/proc/{self.pid()}/ns/net", os.O_RDONLY)
        try:
            enter_network(there)
            yield
        finally:
            enter_network(here)
            os.close(here)
            os.close(there)

    def wait_ready(self, limit=120):
        end = time.monotonic() + limit
        while time.monotonic() < end and self.process.poll() is None:
            if self.inside("/usr/bin/lathe", "health").returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError(f"the container is not ready: {self.text}")

    def stop(self, how=signal.SIGTERM, limit=60):
        run(*crun("kill", self.name, how.name), check=False)
        return self.process.wait(limit)

    def __exit__(self, *_):
        if self.process.poll() is None:
            run(*crun("kill", self.name, "KILL"), check=False)
            self.process.wait(30)
        run(*crun("delete", "-f", self.name), check=False)
        self.log.close()


def stream(port, tokens=16, limit=60, wait=False):
    """Streams one completion: (seconds to the first piece from when this was called, the text, the finish reason). With
    `wait` a port on which nobody listens yet is tried again at once."""
    begin = time.monotonic()
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=limit)
        try:
            connection.request("POST", "/v1/completions", headers={"Content-Type": "application/json"}, body=json.dumps(
                {"model": "tales-16m", "prompt": "Once upon a time", "max_tokens": tokens, "temperature": 0, "stream": True}))
            answer = connection.getresponse()
            if not (wait and answer.status == 503):  # it listens before the engine is loaded
                break
            connection.close()
        except (ConnectionError, socket.timeout):
            connection.close()
            if not wait:
                raise
        assert time.monotonic() - begin < limit, "no answer"
        time.sleep(0.001)
    assert answer.status == 200, answer.read()
    first, text, reason = None, "", None
    for line in answer:
        if line.startswith(b"data: {"):
            choice = json.loads(line[6:])["choices"][0]
            text += choice["text"]
            reason = choice["finish_reason"] or reason
            if first is None and choice["text"]:
                first = time.monotonic() - begin
    connection.close()
    return first, text, reason


def forget(folder):
    """Puts the files below `folder` out of the page cache, as far as the kernel lets go."""
    for path in pathlib.Path(folder).rglob("*"):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                os.fsync(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def size_of(manifest):
    """(bytes of all layers, bytes of those that are not the engine)"""
    all_bytes = sum(layer["size"] for layer in manifest["layers"])
    engine = sum(layer["size"] for layer in manifest["layers"] if not layer["mediaType"].endswith("gzip"))
    return all_bytes, all_bytes - engine


def missing_tools():
    tools = [tool for tool in ("skopeo", "umoci", "buildah", "crun") if not shutil.which(tool)]
    return f"missing: {', '.join(tools)} (tools/bootstrap.sh clients)" if tools else None


def unable():
    """Why images cannot be unpacked and run here; None where they can be."""
    if os.geteuid() != 0:
        return "that needs root, for it is done as another user"
    probe = run("unshare", "--mount", "--pid", "--fork", "--net", "--ipc", "--uts", "mount", "--bind", "/usr", "/usr", check=False)
    return f"root may make no namespaces here ({probe.stderr.strip()})" if probe.returncode != 0 else None


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def one_sentence(done, *words, code=1):
    """A fault: its exit code, one line that begins with the program's name and has the words in it (and, of a wrong
    option, a second that names the help)."""
    assert done.returncode == code, (done.returncode, done.stderr)
    lines = done.stderr.strip().splitlines()
    if code == 2:
        assert lines.pop() == "Try: lathe package --help"
    assert len(lines) == 1 and re.match(r"lathe: \S", lines[0]), done.stderr
    for word in words:
        assert word in lines[0], lines[0]
