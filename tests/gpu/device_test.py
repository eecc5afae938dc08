#!/usr/bin/env python3
"""What `lathe` does with a GPU's memory and with its faults, seen from outside: processes, HTTP, free memory.

Usage: device_test.py [--lathe PROGRAM] [--fake FOLDER] [--engine FILE ...] [--only NAME,...] [--json FILE]

--fake: libcuda and libnvrtc of that folder (tests/gpu/fake) take the GPU's place, so that it runs anywhere.
--engine: engines whose memory and idle time are looked at as well (the 8B shape, say).
Prints a row for each thing that was asserted; exit code 1 when one does not hold. Standard library only.
"""
import argparse
import ctypes
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/clients"))
from lathe_server import Server, program  # noqa: E402

MIB = 1 << 20
PROMPTS = ["Once upon a time there was a cat", "They went to the cat", "One day a little girl saw a dog", "The big tree"]
TOKENS = 24
# How far, in nats, a greedy token may be behind the CPU's likeliest after the same text: single logprobs differ by up to
# 0.06 (docs/benchmarks-cuda.md), two of thousands by more. A token of another row, page or step is nats behind.
TOLERANCE = 0.4


class Cuda:
    """The device as another process sees it."""

    def __init__(self):
        path = os.environ.get("LATHE_LIBCUDA")
        self.lib = None
        for place in [path] if path else ["libcuda.so.1", "/usr/local/nvidia/lib64/libcuda.so.1"]:
            try:
                self.lib = self.lib or ctypes.CDLL(place)
            except OSError as fault:
                reason = fault
        if self.lib is None:
            print(f"device_test: not run, there is no CUDA driver: {reason}")
            sys.exit(0)
        context = ctypes.c_void_p()
        for call in (lambda: self.lib.cuInit(0), lambda: self.lib.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0),
                     lambda: self.lib.cuCtxSetCurrent(context)):
            result = call()
            if result != 0:
                sys.exit(f"device_test: the CUDA driver fails with {result}")

    def memory(self):
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        assert self.lib.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)) == 0
        return free.value, total.value

    def free(self):
        return self.memory()[0]

    def take(self, n_bytes):
        pointer = ctypes.c_uint64()
        return self.lib.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(n_bytes))


class Filler:
    """A process that, once told to go, leaves `leave` bytes of the device free. with Filler(machine, leave): ... goes at once."""

    def __init__(self, machine, leave):
        self.process = subprocess.Popen([sys.executable, str(pathlib.Path(__file__).resolve()), "--fill", str(leave)], env=machine.environment(),
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process.stdout.readline()  # its context is there
        self.left = None

    def go(self):
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        self.left = int(self.process.stdout.readline())

    def __enter__(self):
        self.go()
        return self

    def end(self):
        self.process.stdin.close()
        self.process.wait(30)

    def __exit__(self, *_):
        self.end()


def fill(leave):
    cuda = Cuda()
    print("ready", flush=True)
    sys.stdin.readline()
    # Large pieces, then small ones: memory that is free need not be in one.
    for piece in (1 << 30, 64 * MIB, 4 * MIB):
        while cuda.free() - leave >= piece and cuda.take(piece) == 0:
            pass
    print(cuda.free(), flush=True)
    sys.stdin.read()


class Machine:
    """The device, the program, and the rows of the table."""

    def __init__(self, options, folder):
        self.fake = options.fake
        self.folder = pathlib.Path(folder)
        self.lathe = str(options.lathe.resolve() if options.lathe else program())
        os.environ["LATHE"] = self.lathe
        self.variables = {"XDG_CACHE_HOME": folder}
        if self.fake:
            self.variables |= {"LATHE_LIBCUDA": str(self.fake.resolve() / "libfake_cuda.so"),
                               "LATHE_NVRTC": str(self.fake.resolve() / "libfake_nvrtc.so"),
                               "FAKE_CUDA_SHARED": str(self.folder / "memory"), "FAKE_CUDA_MEMORY": str(1024 * MIB)}
        elif os.environ.get("LATHE_NVRTC"):
            self.variables["LATHE_NVRTC"] = os.environ["LATHE_NVRTC"]
        os.environ.update(self.variables)
        self.cuda = Cuda()
        self.rows, self.failed = [], 0
        self.engine = str(self.folder / "tales.lathe")
        self.cpu = None

    def environment(self, more=None):
        return {k: v for k, v in os.environ.items() if not k.startswith("LATHE_")} | self.variables | (more or {})

    def run(self, *arguments, env=None, limit=120):
        """(exit code, standard output, standard error)"""
        done = subprocess.run([self.lathe, *map(str, arguments)], env=self.environment(env), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=limit)
        return done.returncode, done.stdout, done.stderr

    def server(self, *flags, env=None, model=None, wait=True):
        small = [] if "--max-sequences" in flags else ["--max-sequences", "8"]
        return Server(*map(str, flags), *small, "--log-level", "warn", model_path=str(model or self.engine), wait=wait,
                      env=self.variables | (env or {}))

    def check(self, name, holds, seen):
        self.rows.append({"what": name, "holds": bool(holds), "seen": str(seen)})
        self.failed += not holds
        print(f"{'ok  ' if holds else 'FAIL'}  {name}: {str(seen)[:600]}", flush=True)
        return holds

    def check_refused(self, name, result, *parts):
        """One sentence with all of `parts`, exit code 1, nothing on standard output."""
        code, out, err = result
        lines = [line for line in err.splitlines() if line.strip()]
        good = code == 1 and out == "" and len(lines) == 1 and re.match("lathe: [^-]", lines[0]) and all(p in lines[0] for p in parts)
        return self.check(name, good, f"exit code {code}: {err.strip()}")

    def wait_free(self, baseline, limit=10):
        """Until the device has as much free as before, but 4 MiB; the seconds it took, or None."""
        start = time.monotonic()
        while time.monotonic() - start < limit:
            if self.cuda.free() >= baseline - 4 * MIB:
                return time.monotonic() - start
            time.sleep(0.01)
        return None

    def check_free(self, name, baseline):
        seconds = self.wait_free(baseline)
        lost = (baseline - self.cuda.free()) / MIB
        self.check(name, seconds is not None, f"{lost:.0f} MiB still taken" if seconds is None else f"free again after {seconds:.2f} s")


# ---- requests ----


def stream(port, prompt, tokens, streamed=True, **more):
    """One greedy completion, however it ends: {status, ids, finish, error, done}"""
    answer = {"status": 0, "ids": [], "finish": None, "error": None, "done": False}
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=240)
    try:
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "stream": streamed,
                "return_token_ids": True} | more
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer["status"] = response.status
        if not streamed or response.status != 200:
            parsed = json.loads(response.read())
            answer["error"] = parsed.get("error", {}).get("message")
            if response.status == 200:
                choice = parsed["choices"][0]
                answer |= {"ids": choice["token_ids"], "finish": choice["finish_reason"], "done": True}
            return answer
        for line in response:
            if line.startswith(b"data: [DONE]"):
                answer["done"] = True
            elif line.startswith(b"data: "):
                event = json.loads(line[6:])
                if event.get("error"):
                    answer["error"] = event["error"]["message"]
                for choice in event.get("choices", []):
                    answer["ids"] += choice.get("token_ids") or []
                    answer["finish"] = choice["finish_reason"] or answer["finish"]
    except (OSError, http.client.HTTPException) as fault:
        answer["error"] = answer["error"] or repr(fault)
    finally:
        connection.close()
    return answer


def together(calls):
    """Results of functions that run at once."""
    results = [None] * len(calls)

    def work(i):
        results[i] = calls[i]()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def judge(machine, answers):
    """(whether every token of the (prompt, answer) pairs is one that the CPU would say, how far the worst is behind)"""
    worst, n = 0, 0
    for prompt, answer in answers:
        if not answer["ids"]:
            continue
        before = machine.cpu.post("/tokenize", {"prompt": prompt})[1]["tokens"]
        body = {"prompt": before + answer["ids"], "max_tokens": 0, "echo": True, "logprobs": 1}
        scores = machine.cpu.post("/v1/completions", body)[1]["choices"][0]["logprobs"]
        for i in range(len(before), len(before) + len(answer["ids"])):
            worst = max(worst, max(scores["top_logprobs"][i].values()) - scores["token_logprobs"][i])
            n += 1
    return worst <= TOLERANCE, f"{n} tokens, the worst {worst:.3f} nats behind the CPU's"


def serves_right(machine, servers, tokens=TOKENS):
    """Whether all servers, all prompts at once, say what the CPU would."""
    answers = together([lambda s=s, p=p: (p, stream(s.port, p, tokens)) for s in servers for p in PROMPTS])
    wrong = [a for _, a in answers if not a["done"] or len(a["ids"]) != tokens]
    if wrong:
        return False, wrong[:2]
    return judge(machine, answers)


# ---- the cases ----


def case_right(machine):
    """The engine of all other cases, and the CPU that judges them."""
    for target in ("cuda", "cpu"):
        path = machine.engine if target == "cuda" else machine.folder / "cpu.lathe"
        code, _, err = machine.run("build", ROOT / "models/tales-16m", "-o", path, "--target", target, "--no-tune", "-q")
        assert code == 0, err
    machine.cpu = machine.server("--context", "2048", model=machine.folder / "cpu.lathe")
    with machine.server("--context", "512", "--kv-bytes", "32M") as server:
        machine.check("one server alone", *serves_right(machine, [server]))


def measure(machine, engine, flags):
    """(what lathe plan says, bytes that the server really took, what it says itself)"""
    before = machine.cuda.free()
    code, out, err = machine.run("plan", engine, *flags, "--memory", before, "--json")
    assert code == 0, err
    with machine.server(*flags, model=engine, env={"LATHE_CUDA_MEMORY": "1"}) as server:
        used = before - machine.cuda.free()
        stages = [(int(n), what) for n, what in re.findall(r"cuda memory: (\d+) bytes free after (.*)", server.read_log())]
    machine.wait_free(before)
    free, parts = before, {}
    for now, what in stages:
        parts[what] = (free - now) / MIB
        free = now
    return json.loads(out), used, parts


def case_plan(machine):
    """`lathe plan` is right about the memory that a server takes."""
    tales = [["--kv-bytes", "64M", "--max-sequences", "8"], ["--kv-bytes", "200M", "--max-sequences", "12" if machine.fake else "256"],
             ["--context", "512", "--max-sequences", "16", "--max-step-tokens", "512"],
             ["--kv-bytes", "64M", "--max-sequences", "8", "--deterministic"]]
    large = [["--kv-bytes", "8G", "--context", "8192", "--max-sequences", "256"],
             ["--context", "32768", "--max-sequences", "32", "--gpu-memory-fraction", "0.2"],
             ["--kv-bytes", "2G", "--context", "2048", "--max-sequences", "1024", "--max-step-tokens", "8192"]]
    for engine, all_flags in [(machine.engine, tales)] + [(e, large) for e in machine.engines]:
        for flags in all_flags:
            plan, used, parts = measure(machine, engine, flags)
            predicted = plan["total_bytes"]
            if machine.fake:  # whose context and graphs take what they like
                predicted -= plan["cuda_bytes"]
                used -= 16 * MIB
            off = 100 * (predicted / used - 1)
            machine.check(f"plan {pathlib.Path(engine).stem} {' '.join(flags)}", abs(off) <= 5,
                          f"predicted {predicted / MIB:.0f} MiB, taken {used / MIB:.0f} MiB ({off:+.1f} %); CUDA predicted "
                          f"{plan['cuda_bytes'] / MIB:.0f}; " + ", ".join(f"{k} {v:.1f}" for k, v in parts.items()))


HINT = re.compile(r"what would fit: .*\(lathe serve ((?:--[a-z-]+ \d+ ?)+)\)")


def needs(machine, *flags):
    """Bytes of weights, buffers and workspaces at these flags, CUDA's own among them."""
    code, out, err = machine.run("plan", machine.engine, *flags, "--memory", 64 << 30, "--json")
    assert code == 0, err
    plan = json.loads(out)
    return plan["total_bytes"] - plan["kv_bytes"]


def case_small(machine):
    """A GPU that is too small, or full: one sentence with what would fit, and that does fit."""
    least = ["--context", "512", "--max-sequences", "8", "--max-step-tokens", "256", "--kv-bytes", "8M"]
    _, own, _ = measure(machine, machine.engine, least)
    whole = ["--context", "2048", "--max-sequences", "8", "--max-step-tokens", "16384"]
    code, out, err = machine.run("plan", machine.engine, *whole, "--memory", needs(machine, *whole) + 2 * MIB)
    machine.check_refused("plan --memory: too small", (code, out, err), "the GPU is too small", "what would fit: a context of")
    machine.check_refused("plan --memory: too small for CUDA", machine.run("plan", machine.engine, "--memory", "100M"), "CUDA itself takes")
    baseline = machine.cuda.free()
    with Filler(machine, own + 8 * MIB) as filler:
        code, out, err = machine.run("serve", machine.engine, "--port", "0", *whole)
        machine.check_refused(f"serve on a GPU with {filler.left / MIB:.0f} MiB free", (code, out, err), "the GPU is too small", "are free")
        hint = HINT.search(err)
        if machine.check("it names flags that would fit", hint, err.strip()[-160:]):
            with machine.server(*hint[1].split()) as server:
                machine.check("a server with these flags is right", *serves_right(machine, [server]))
    with Filler(machine, own + 8 * MIB):
        code, out, err = machine.run("run", ROOT / "models/tales-16m", "Once", "-q")
        last = err.strip().splitlines()[-1]  # behind those that say what is built
        machine.check("run DIR there, which would measure kernels first",
                      code == 1 and out == "" and last.startswith("lathe: measuring this model's kernels needs") and "--no-tune" in last, err.strip())
    with Filler(machine, 4 * MIB) as filler:
        machine.check_refused(f"serve on a GPU with {filler.left / MIB:.0f} MiB free",
                              machine.run("serve", machine.engine, "--port", "0"), "is full: other processes")
    machine.check_free("nothing is left behind", baseline)


def case_shared(machine):
    """Two servers on one GPU; a third that does not fit."""
    baseline = machine.cuda.free()
    third = ["--context", "2048", "--kv-bytes", "8G" if not machine.fake else "900M", "--max-sequences", "256"]
    with Filler(machine, 3072 * MIB if not machine.fake else 900 * MIB):
        for flags in (["--gpu-memory-fraction", "0.4"], ["--kv-bytes", "200M"]):
            with machine.server(*flags) as a, machine.server(*flags) as b:
                machine.check(f"two servers with {' '.join(flags)} at once", *serves_right(machine, [a, b]))
                machine.check_refused("a third that does not fit", machine.run("serve", machine.engine, "--port", "0", *third),
                                      "the GPU is too small", "what would fit: --kv-bytes")
    machine.check_free("the memory of all is free again", baseline)
    flags = ["--context", "512", "--max-sequences", "8", "--kv-bytes", "8M", "--max-step-tokens", "256"]
    _, own, _ = measure(machine, machine.engine, flags)
    with Filler(machine, 2 * own - 8 * MIB):
        servers = [machine.server(*flags, env={"LATHE_FAULT": "load:1"}, wait=False) for _ in range(2)]
        outcomes = together([lambda s=s: outcome(s) for s in servers])
        # Each may take what the other lacks; then both say so, and the next one has room.
        machine.check("of two that start at once where one fits, one serves at most, and who does not says why",
                      outcomes.count("ready") <= 1 and all(o == "ready" or (o.startswith("1: lathe: ") and o.count("\n") == 0) for o in outcomes), outcomes)
        if "ready" not in outcomes:
            servers.append(machine.server(*flags, wait=False))
            again = outcome(servers[-1])
            machine.check("and started again, as it says, it serves", again == "ready", again)
        for server in servers:
            server.unexpected = False
            if server.alive():
                server.stop()
    machine.check_free("and free it again", baseline)


def outcome(server):
    try:
        server.wait_ready(60)
        return "ready"
    except RuntimeError:
        server.unexpected = False
        return f"{server.process.returncode}: {server.read_log().strip()}"


def case_race(machine):
    """Another process takes the memory between our looking and our taking."""
    baseline = machine.cuda.free()
    filler = Filler(machine, 8 * MIB)
    before = machine.cuda.free()
    server = machine.server(env={"LATHE_FAULT": "load:5"}, wait=False)
    while machine.cuda.free() > before - 8 * MIB and server.alive():
        time.sleep(0.01)  # until its context is there
    time.sleep(0.3)
    filler.go()
    code = server.process.wait(60)
    err = server.read_log()
    server.unexpected = False
    filler.end()
    machine.check_refused("filled while it loads", (code, "", err), "ran out of memory while the engine was loaded", "--gpu-memory-fraction")
    machine.check_free("nothing is left behind", baseline)


def faulty(machine, fault, flags=(), env=None):
    """Streams and whole answers in flight when the fault comes: (server, answers)."""
    step, tokens = (12, 32) if machine.fake else (400, 1500)
    prompts = PROMPTS[:3] if machine.fake else PROMPTS
    variables = {"LATHE_FAULT": f"{fault}:{step}"} | (env or {})
    server = machine.server("--context", "2048", "--kv-bytes", "64M", *flags, env=variables)
    calls = [lambda p=p, s=s: (p, s, stream(server.port, p, tokens, streamed=s)) for s in (True, False) for p in prompts]
    if machine.fake:
        calls = calls[:4]
    answers = together(calls)
    return server, answers


def check_fatal(machine, fault, says, flags=(), env=None):
    baseline = machine.cuda.free()
    server, answers = faulty(machine, fault, flags, env)
    begin = time.monotonic()
    label = f"LATHE_FAULT={fault} {' '.join(flags)}".strip()
    try:
        code = server.process.wait(60)
    except subprocess.TimeoutExpired:
        code = None
    seconds = time.monotonic() - begin
    server.unexpected = False
    if server.alive():
        server.stop(signal.SIGKILL)
    streams = [a for _, s, a in answers if s]
    whole = [a for _, s, a in answers if not s]
    machine.check(f"{label}: streams end with the fault", all(a["status"] == 200 and a["error"] and says in a["error"] and not a["done"]
                                                            and a["finish"] is None for a in streams), streams[0])
    machine.check(f"{label}: whole answers are errors", all(a["status"] >= 500 and a["error"] and says in a["error"] for a in whole), whole)
    machine.check(f"{label}: no wrong token", *judge(machine, [(p, a) for p, _, a in answers]))
    machine.check(f"{label}: streams had begun", all(a["ids"] for a in streams), [len(a["ids"]) for a in streams])
    machine.check(f"{label}: the process ends with 70", code == 70, f"{code}, {seconds:.1f} s after the last answer")
    machine.check_free(f"{label}: memory", baseline)


def case_launch(machine):
    check_fatal(machine, "launch", "LATHE_FAULT asks for a launch that fails")


def case_hang(machine):
    check_fatal(machine, "hang", "did not end within 1.5 seconds", env={"LATHE_STEP_TIMEOUT": "1.5"})


def case_nan(machine):
    """One request fails; the others, and all after it, are right."""
    server, answers = faulty(machine, "nan")
    with server:
        bad = [(p, a) for p, _, a in answers if a["error"]]
        machine.check("LATHE_FAULT=nan: one request fails", len(bad) == 1 and not bad[0][1]["done"], bad[:2])
        machine.check("LATHE_FAULT=nan: the log says why", "not finite" in server.read_log(), server.read_log()[-300:])
        machine.check("LATHE_FAULT=nan: no wrong token", *judge(machine, [(p, a) for p, _, a in answers]))
        machine.check("LATHE_FAULT=nan: the others are complete", all(a["done"] for _, _, a in answers if not a["error"]),
                      [len(a["ids"]) for _, _, a in answers])
        machine.check("LATHE_FAULT=nan: the server goes on", *serves_right(machine, [server]))
        idle = server.wait_idle()
        machine.check("LATHE_FAULT=nan: no page is left over", idle is not None, idle)


def case_killed(machine):
    """SIGKILL while it loads and while it serves."""
    baseline = machine.cuda.free()
    for moment in (["context"] if machine.fake else ["context", 0.25, 0.35, 0.45, 0.6]) + ["serving"]:
        server = machine.server("--context", "2048", "--kv-bytes", "64M", wait=moment == "serving",
                                env={"LATHE_FAULT": "load:20"} if moment == "context" else None)
        if moment == "context":
            while machine.cuda.free() > baseline - 8 * MIB:
                time.sleep(0.01)
        elif moment == "serving":
            threading.Thread(target=lambda: stream(server.port, PROMPTS[0], 2000)).start()
            time.sleep(0.3)
        else:
            time.sleep(moment)
        taken = (baseline - machine.cuda.free()) / MIB
        server.unexpected = False
        server.stop(signal.SIGKILL)
        server.log.close()
        seconds = machine.wait_free(baseline)
        machine.check(f"killed ({moment}) with {taken:.0f} MiB taken", seconds is not None, f"free again after {seconds} s")
    with machine.server("--context", "512", "--kv-bytes", "32M") as server:
        machine.check("the next server is right", *serves_right(machine, [server]))


def case_absent(machine):
    """Nothing to run on, or nothing to build with."""
    run = ["run", machine.engine, "Once", "--max-tokens", "1", "-q"]
    tales = ROOT / "models/tales-16m"
    build = ["build", tales, "-o", machine.folder / "x.lathe", "--no-tune", "--target"]
    bogus = machine.folder / "bogus.so"
    bogus.write_text("no library")
    none = {"LATHE_LIBCUDA": "/nonexistent/libcuda.so.1"}
    machine.check_refused("no driver", machine.run(*run, env=none), "no CUDA driver: found no libcuda.so.1")
    machine.check_refused("a driver that is none", machine.run(*run, env={"LATHE_LIBCUDA": str(bogus)}), "no CUDA driver", "bogus.so")
    machine.check_refused("a library of something else", machine.run(*run, env={"LATHE_LIBCUDA": "libc.so.6"}), "no CUDA driver", "no function cuInit")
    machine.check_refused("no device visible", machine.run(*run, env={"CUDA_VISIBLE_DEVICES": ""}), "finds no device")
    code, out, err = machine.run("devices", env=none)
    machine.check("lathe devices without a driver", code == 0 and out.startswith("No GPU: no CUDA driver"), out.strip())
    machine.check_refused("build --target cuda without a driver", machine.run(*build, "cuda", env=none), "no CUDA driver", "--no-tune")
    for what, env, part in (("no NVRTC", "/nonexistent", "found no libnvrtc"), ("an NVRTC that is none", str(bogus), "bogus.so")):
        machine.check_refused(what, machine.run(*build, "cuda", env={"LATHE_NVRTC": env}), "no CUDA compiler", part, "pip install nvidia-cuda-nvrtc")
    code, out, err = machine.run("run", tales, "Once upon a time", "--max-tokens", "4", "-q", env={"LATHE_NVRTC": "/nonexistent"})
    machine.check("run DIR without NVRTC: on the CPU, with a warning", code == 0 and out and "running on the CPU, not on" in err, err.strip())
    code, out, err = machine.run("run", tales, "Once upon a time", "--max-tokens", "4", "-q", env=none)
    machine.check("run DIR without a driver: on the CPU", code == 0 and out != "" and "warning" not in err, err.strip())
    other = machine.folder / "other.lathe"
    code, _, err = machine.run("build", tales, "-o", other, "--no-tune", "-q", "--target", "sm_80")
    assert code == 0, err
    machine.check_refused("an engine of another GPU", machine.run("run", other, "Once", "-q"), "is for cuda:sm_80", "build it again here with 'lathe build",
                          "--target cuda")


def case_other(machine):
    """Drivers and GPUs that are not here, whatever is: needs the fake libraries."""
    if not machine.fake:
        return
    run = ["run", machine.engine, "Once", "--max-tokens", "1", "-q"]
    machine.check_refused("an old driver", machine.run(*run, env={"FAKE_CUDA_VERSION": "11040"}), "version 11.4", "needs 12.0 or newer", "update the")
    machine.check_refused("a driver older than the engine's", machine.run(*run, env={"FAKE_CUDA_VERSION": "12080"}),
                          "needs a driver of CUDA 13.0 or newer", "update the driver, or build it again")
    machine.check_refused("a GPU that is too old", machine.run(*run, env={"FAKE_CUDA_SM": "75"}), "compute capability 7.5")
    machine.check_refused("another GPU than the engine's", machine.run(*run, env={"FAKE_CUDA_SM": "89"}), "is for cuda:sm_90a", "is cuda:sm_89",
                          "build it again here with")
    machine.check_refused("a compiler that is too old for the GPU",
                          machine.run("build", ROOT / "models/tales-16m", "-o", machine.folder / "x.lathe", "--no-tune", "--target", "sm_100",
                                      env={"FAKE_NVRTC_VERSION": "12040"}), "NVRTC 12.4", "cannot compile for sm_100a")
    for sm in ("90", "89"):
        code, out, err = machine.run("run", ROOT / "models/tales-16m", "Once", "--max-tokens", "2", "-q", env={"FAKE_CUDA_SM": sm, "FAKE_CUDA_IDLE": "1"})
        machine.check(f"run DIR on sm_{sm} builds its engine", code == 0 and "built" in err, err.strip())
    built = sorted(path.name for path in (machine.folder / "lathe").glob("*sm_*.lathe"))
    machine.check("each GPU has its own", len(built) == 2, built)
    engine = next(path for path in (machine.folder / "lathe").glob("*sm_89*.lathe"))
    other = next(path for path in (machine.folder / "lathe").glob("*sm_90a*.lathe"))
    engine.write_bytes(other.read_bytes())
    code, out, err = machine.run("run", ROOT / "models/tales-16m", "Once", "--max-tokens", "2", "-q", env={"FAKE_CUDA_SM": "89", "FAKE_CUDA_IDLE": "1"})
    machine.check("an engine of another GPU in the cache is built again", code == 0 and "built" in err, err.strip())


def case_idle(machine):
    """The GPU waits for the host for less than 3 % of the time at 256 streams."""
    for engine in machine.engines or [machine.engine]:
        small = engine == machine.engine
        out = machine.folder / "idle.json"
        code, _, err = machine.run("bench", "throughput", engine, "--concurrency", "4" if machine.fake else "256", "--requests", "4" if machine.fake else "512",
                                   "--input-len", "8" if small else "128", "--output-len", "4" if machine.fake else "128", "--context", "1024",
                                   "--kv-bytes", "64M" if machine.fake else "2G" if small else "24G", "--json", out)
        result = json.loads(out.read_text()) if code == 0 else {}
        idle = result.get("device_idle_percent")
        limit = 100.1 if small else 3  # a step of tales-16m is shorter than what surrounds it
        machine.check(f"idle at 256 streams, {pathlib.Path(engine).stem}", idle is not None and -0.5 <= idle <= limit,
                      f"{idle} % (host {result.get('host_percent')} %, {result.get('output_tokens_per_second')} tok/s)" if result else err)


CASES = {name.removeprefix("case_"): case for name, case in list(globals().items()) if name.startswith("case_")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lathe", type=pathlib.Path)
    parser.add_argument("--fake", type=pathlib.Path)
    parser.add_argument("--engine", action="append", default=[])
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("--fill", type=int)
    options = parser.parse_args()
    if options.fill is not None:
        return fill(options.fill)
    with tempfile.TemporaryDirectory(prefix="lathe-device-") as folder:
        machine = Machine(options, folder)
        machine.engines = options.engine
        for name in ["right"] + [n for n in options.only.split(",") if n != "right"]:
            begin = time.monotonic()
            try:
                CASES[name](machine)
            except Exception as fault:  # the other cases still tell something
                machine.check(name, False, repr(fault))
                traceback.print_exc()
            print(f"      {name}: {time.monotonic() - begin:.1f} s", flush=True)
        if machine.cpu:
            machine.cpu.stop()
    if options.json:
        options.json.write_text(json.dumps(machine.rows, indent=1) + "\n")
    print(f"{len(machine.rows) - machine.failed} of {len(machine.rows)} hold")
    sys.exit(1 if machine.failed else 0)


if __name__ == "__main__":
    main()
