#!/usr/bin/env python3
"""Three `lathe serve` behind HAProxy, rolled one by one under load as the manifests say: no request fails. Then one is
killed: its own requests fail, with a clean error, and no other.

This program plays the kubelet (probes, preStop, grace) and the endpoints controller (which servers the proxy uses);
every period, threshold and setting comes from the rendered Deployment. Prints one line of JSON.

Usage: rolling.py [OVERLAY]"""
import asyncio
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "load"))
from loadlib import PROMPTS, Verdict, completion_body, parse_stream, program, read_body, read_head  # noqa: E402
from manifests import ROOT, by_name, environment, one, render  # noqa: E402

PODS, CLIENTS, TOKENS = 3, int(os.environ.get("CLIENTS", "24")), 128
# The proxy hears of a pod's end only so long before SIGTERM: the latest that preStop allows for.
HEARD_BEFORE = 0.1
# A kubelet looks so often whether a container has ended.
RELIST = 1.0


class Spec:
    """What the Deployment lays down."""

    def __init__(self, deployment):
        pod = deployment["spec"]["template"]["spec"]
        self.container = by_name(pod["containers"])["lathe"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.pre_stop = self.container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.grace = pod["terminationGracePeriodSeconds"]
        self.min_ready = deployment["spec"]["minReadySeconds"]
        strategy = deployment["spec"]["strategy"]["rollingUpdate"]
        # One old pod goes before its successor comes, or after it.
        self.surge = strategy["maxSurge"] == 1
        assert (strategy["maxUnavailable"], strategy["maxSurge"]) in ((1, 0), (0, 1)), "rolled in another way than this rehearses"

    def probe(self, name):
        return self.container[name]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_keys(folder):
    """A fresh key; its hash is in keys.yaml."""
    made = subprocess.run([program(), "keys", "new", "rehearsal"], capture_output=True, text=True, check=True)
    digest = re.search(r"[0-9a-f]{64}", made.stderr)[0]
    path = folder / "keys.yaml"
    path.write_text(f"keys:\n  - name: rehearsal\n    sha256: {digest}\n")
    path.chmod(0o440)
    return made.stdout.strip(), path


class Proxy:
    """HAProxy on a free port, with the configuration beside this file."""

    def __init__(self, folder, pods):
        self.port, self.socket = free_port(), folder / "haproxy.sock"
        servers = "\n".join(f"  server {pod.name} 127.0.0.1:{pod.ports['http']} disabled" for pod in pods)
        (folder / "haproxy.cfg").write_text((pathlib.Path(__file__).parent / "haproxy.cfg").read_text().format(
            socket=self.socket, port=self.port, servers=servers))
        haproxy = next(path for path in ("/usr/sbin/haproxy", "/usr/local/sbin/haproxy") if os.path.exists(path))
        self.log = open(folder / "haproxy.log", "w+")
        self.process = subprocess.Popen([haproxy, "-db", "-f", folder / "haproxy.cfg"], stdout=self.log, stderr=self.log)
        end = time.monotonic() + 10
        while not self.socket.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("haproxy did not start: " + (folder / "haproxy.log").read_text())
            time.sleep(0.01)

    def command(self, text):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.socket))
            control.sendall(text.encode() + b"\n")
            answer = b""
            while part := control.recv(65536):
                answer += part
        return answer.decode()

    def use(self, pod, ready):
        self.command(f"set server lathe/{pod.name} state {'ready' if ready else 'maint'}")

    def retried(self):
        """Connections that were tried again or elsewhere so far."""
        rows = self.command("show stat").splitlines()
        names = rows[0].lstrip("# ").split(",")
        backend = next(row for row in (dict(zip(names, line.split(","))) for line in rows[1:] if line)
                       if (row["pxname"], row["svname"]) == ("lathe", "BACKEND"))
        return int(backend["wretr"]) + int(backend["wredis"])


class Pod:
    """One server process with its probes, as a kubelet keeps them."""

    def __init__(self, number, spec, folder, keys):
        self.name, self.spec, self.folder, self.keys = f"pod{number}", spec, folder, keys
        self.ports = {name: free_port() for name in spec.ports}
        self.process, self.ready, self.proxy, self.faults = None, False, None, []

    def start(self):
        """With the container's variables; only what this machine has otherwise is put in their place."""
        own = {"LATHE_MODEL": os.environ.get("LATHE_TEST_MODEL", str(ROOT / "models/tales-16m")), "LATHE_HOST": "127.0.0.1",
               "LATHE_PORT": str(self.ports["http"]), "LATHE_MANAGEMENT_LISTEN": f"127.0.0.1:{self.ports['management']}",
               "LATHE_KEYS_FILE": str(self.keys), "XDG_CACHE_HOME": str(self.folder), "HF_HOME": str(self.folder)}
        variables = environment(self.spec.container) | own | {"LATHE_THREADS": "1"}
        log = open(self.folder / f"{self.name}.log", "a")
        self.process = subprocess.Popen([program(), *self.spec.container["args"]], env=variables, stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log)
        self.started = time.monotonic()
        self.watch = asyncio.create_task(self.probe())

    def read_log(self):
        path = self.folder / f"{self.name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def answers(self, probe):
        """Whether one probe succeeds."""
        port = self.ports[probe["httpGet"]["port"]]

        async def get():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(f"GET {probe['httpGet']['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
                return (await read_head(reader))[0]
            finally:
                writer.close()
        try:
            return 200 <= await asyncio.wait_for(get(), probe["timeoutSeconds"]) < 400
        except (OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            return False

    def set_ready(self, ready):
        if ready != self.ready:
            self.ready = ready
            self.proxy.use(self, ready)

    async def probe(self):
        startup = self.spec.probe("startupProbe")
        failures = 0
        while not await self.answers(startup):
            failures += 1
            if failures >= startup["failureThreshold"]:
                self.faults.append("startup probe failed")
                return
            await asyncio.sleep(startup["periodSeconds"])
        await asyncio.gather(self.readiness(), self.liveness())

    async def readiness(self):
        probe, failures = self.spec.probe("readinessProbe"), 0
        while True:
            failures = 0 if await self.answers(probe) else failures + 1
            if failures == 0:
                self.set_ready(True)
            elif failures >= probe["failureThreshold"] and self.ready:
                self.faults.append("not ready while running")
                self.set_ready(False)
            await asyncio.sleep(probe["periodSeconds"])

    async def liveness(self):
        probe, failures = self.spec.probe("livenessProbe"), 0
        while True:
            failures = 0 if await self.answers(probe) else failures + 1
            if failures >= probe["failureThreshold"]:
                self.faults.append("liveness probe failed")
            await asyncio.sleep(probe["periodSeconds"])

    async def wait_ready(self, limit=120):
        end = time.monotonic() + limit
        while not self.ready:
            if time.monotonic() > end or self.process.poll() is not None:
                raise RuntimeError(f"{self.name} did not become ready")
            await asyncio.sleep(0.02)

    async def running(self):
        """Sequences in the batch now."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports["management"], limit=1 << 22)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        text = (await reader.read()).decode()
        writer.close()
        return int(float(re.search(r"^lathe_requests_running (\S+)", text, re.M)[1]))

    async def terminate(self):
        """As a pod is deleted. (exit code, seconds from SIGTERM to the end, sequences that ran at SIGTERM)"""
        self.watch.cancel()
        deleted = time.monotonic()
        await asyncio.sleep(max(0, self.spec.pre_stop - HEARD_BEFORE))
        self.set_ready(False)
        await asyncio.sleep(deleted + self.spec.pre_stop - time.monotonic())
        running, sent = await self.running(), time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        while self.process.poll() is None and time.monotonic() < deleted + self.spec.grace:
            await asyncio.sleep(0.005)
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(), time.monotonic() - sent, running


class Load:
    """Clients on kept connections, each with one request after another, three of four streamed."""

    def __init__(self, port, key):
        self.port, self.key, self.alone, self.stopping = port, key, {}, False
        self.results = []  # (begin, outcome, pod)

    def request(self, prompt, streamed):
        text = json.dumps(completion_body(prompt, TOKENS, stream=streamed, ignore_eos=True)).encode()
        return (f"POST /v1/completions HTTP/1.1\r\nHost: lathe.example\r\nAuthorization: Bearer {self.key}\r\n"
                f"Content-Type: application/json\r\nContent-Length: {len(text)}\r\n\r\n").encode() + text

    def judge(self, prompt, streamed, status, body):
        if status != 200:
            return f"status {status}"
        if streamed:
            return "good" if parse_stream(body) == (*self.alone[prompt], True) else "wrong"
        choice = json.loads(body)["choices"][0]
        return "good" if (choice["text"], choice["finish_reason"]) == self.alone[prompt] else "wrong"

    async def exchange(self, reader, writer, prompt, streamed):
        """(outcome, pod) of one request."""
        headers, body = {}, b""
        try:
            writer.write(self.request(prompt, streamed))
            status, headers = await read_head(reader)
            if headers.get("transfer-encoding") != "chunked":
                body = await read_body(reader, headers)
            else:
                while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
                    body += (await reader.readexactly(size + 2))[:-2]
                await reader.readuntil(b"\r\n")
        except (OSError, asyncio.IncompleteReadError):
            if not headers:
                return "closed without an answer", None
            # Clean: what came is right as far as it goes, and nothing says that it was all.
            text, finish, done = parse_stream(body[:body.rfind(b"\n\n") + 2])
            clean = self.alone[prompt][0].startswith(text) and finish is None and not done
            return "cut off" if clean else "cut off, and looked whole", headers.get("x-pod")
        return self.judge(prompt, streamed, status, body), headers.get("x-pod")

    async def client(self, i):
        reader = writer = None
        number = i
        while not self.stopping:
            prompt, streamed = PROMPTS[number % len(PROMPTS)], number % 4 != 0
            number += CLIENTS + 1
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            begin = time.monotonic()
            outcome, pod = await self.exchange(reader, writer, prompt, streamed)
            self.results.append((begin, outcome, pod))
            if outcome != "good":
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    async def learn(self):
        """The right answers: each prompt alone."""
        for prompt in PROMPTS:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 22)
            writer.write(self.request(prompt, False))
            status, headers = await read_head(reader)
            answer = json.loads(await read_body(reader, headers))
            assert status == 200, answer
            self.alone[prompt] = (answer["choices"][0]["text"], answer["choices"][0]["finish_reason"])
            writer.close()

    def count(self, since=0.0):
        outcomes = [outcome for begin, outcome, _ in self.results if begin >= since]
        return {kind: outcomes.count(kind) for kind in sorted(set(outcomes))}


async def begin(pod, spec, starts):
    pod.start()
    await pod.wait_ready()
    starts.append(time.monotonic() - pod.started)
    await asyncio.sleep(spec.min_ready)


async def roll(pods, load, proxy, spec, verdict):
    """Every pod replaced, one at a time; the pods that serve afterwards. The last of `pods` does not run yet: with a surge
    the first successor takes its place, and each further one that of the pod that went before."""
    start, drains, starts, running, now = time.monotonic(), [], [], [], []
    spare = pods[-1]
    for pod in pods[:-1]:
        if spec.surge:
            await begin(spare, spec, starts)
        code, seconds, ran = await pod.terminate()
        verdict.check(code == 0, f"{pod.name} ended with {code} after SIGTERM")
        drains.append(seconds)
        running.append(ran)
        if not spec.surge:
            await begin(pod, spec, starts)
        now.append(spare if spec.surge else pod)
        spare = pod
    counts = load.count()
    failed = {kind: n for kind, n in counts.items() if kind != "good"}
    verdict.check(not failed, f"failed while rolling: {failed}")
    verdict.check(proxy.retried() == 0, f"{proxy.retried()} connections were tried again while rolling")
    verdict.check(counts.get("good", 0) > 10 * CLIENTS, "hardly any request was served")
    verdict.set(rolled_requests=counts.get("good", 0), rolled_failed=sum(failed.values()), rolled_retried=proxy.retried(),
                rolled_s=time.monotonic() - start, running_at_sigterm=running, slowest_drain_s=max(drains),
                slowest_ready_s=max(starts))
    return now


async def kill(victim, load, proxy, verdict):
    """One pod killed and started again."""
    since, retried = time.monotonic(), proxy.retried()
    await asyncio.sleep(3)
    running = await victim.running()
    killed = time.monotonic()
    victim.process.kill()
    victim.watch.cancel()
    victim.process.wait()
    await asyncio.sleep(RELIST)
    victim.set_ready(False)
    victim.start()
    await victim.wait_ready()
    back = time.monotonic() - killed
    await asyncio.sleep(3)
    results = [result for result in load.results if result[0] >= since]
    bad = [result for result in results if result[1] != "good"]
    own = [result for result in bad if result[0] <= killed and result[2] == victim.name and result[1] in ("cut off", "status 502")]
    verdict.check(len(own) == len(bad), f"failed though not its own, or not cleanly: {[r for r in bad if r not in own][:10]}")
    verdict.check(len(own) > 0, "nothing ran on the killed pod")
    outcomes = [outcome for _, outcome, _ in own]
    verdict.set(kill_requests=len(results), kill_running=running, kill_streams_cut=outcomes.count("cut off"),
                kill_answered_502=outcomes.count("status 502"), kill_others_failed=len(bad) - len(own),
                kill_retried=proxy.retried() - retried, kill_back_s=back)


async def rehearse(overlay, folder, verdict):
    spec = Spec(one(render(overlay), "Deployment"))
    key, keys = make_keys(folder)
    pods = [Pod(number, spec, folder, keys) for number in range(PODS + 1)]
    proxy = Proxy(folder, pods)
    try:
        for pod in pods:
            pod.proxy = proxy
        for pod in pods[:PODS]:
            pod.start()
            await pod.wait_ready()
        load = Load(proxy.port, key)
        await load.learn()
        clients = [asyncio.create_task(load.client(i)) for i in range(CLIENTS)]
        await asyncio.sleep(2)
        serving = await roll(pods, load, proxy, spec, verdict)
        await kill(serving[1], load, proxy, verdict)
        load.stopping = True
        await asyncio.wait_for(asyncio.gather(*clients), 120)
        for pod in pods:
            verdict.check(not pod.faults, f"{pod.name}: {pod.faults[:3]}")
        verdict.set(pods=PODS, clients=CLIENTS, pre_stop_s=spec.pre_stop, grace_s=int(environment(spec.container)["LATHE_GRACE"]),
                    termination_grace_s=spec.grace)
    except Exception:
        for pod in pods:
            code = pod.process.poll() if pod.process else "not started"
            print(f"{pod.name} ({code}):", pod.read_log()[-2000:], file=sys.stderr)
        raise
    finally:
        for pod in pods:
            if pod.process is not None and pod.process.poll() is None:
                pod.watch.cancel()
                pod.process.kill()
                pod.process.wait()
        proxy.process.kill()
        proxy.process.wait()


def main():
    overlay = sys.argv[1] if len(sys.argv) > 1 else "base"
    verdict = Verdict("rolling")
    verdict.set(overlay=overlay)
    with tempfile.TemporaryDirectory(prefix="lathe-rolling-") as folder:
        asyncio.run(rehearse(overlay, pathlib.Path(folder), verdict))
    verdict.finish()


if __name__ == "__main__":
    main()
