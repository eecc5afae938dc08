#!/usr/bin/env python3
"""How fast `lathe pull` is beside curl, from the same nginx on this machine: one large file, and many small ones.

The hub double says where files are; nginx has them, as a CDN has. In turn, so that what else the machine does hits
both alike; medians. Prints one line of JSON a case and fails when pull reaches less than 90 % of what curl does with
the large file, or is slower than curl with the many (one curl for all of them, on kept connections). curl checks no
hash; pull checks all. With --rate nginx gives each connection no more than that, as CDNs do; with --tls it
speaks TLS, as hubs do.

Usage: LATHE=PROGRAM throughput.py [--size MIB] [--files N] [--rounds N] [--rate BYTES_PER_SECOND_OF_A_CONNECTION] [--tls]
"""
import argparse
import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]
from hub_double import Hub  # noqa: E402
from lathe_server import program  # noqa: E402

NGINX = """
daemon off; error_log stderr crit; pid {root}/nginx.pid; worker_processes 1;
events {{ worker_connections 256; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000; {limit}
  client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3; uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
  server {{ listen 127.0.0.1:{port} {tls}; root {root}/objects; }}
}}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Bench:
    def __init__(self, root, rate, tls):
        self.root, self.port = root, free_port()
        (root / "objects").mkdir()
        limit = f"limit_rate {rate};" if rate else ""
        ssl = ""
        if tls:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", root / "key.pem",
                            "-out", root / "cert.pem", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"],
                           check=True, capture_output=True)
            ssl = f"ssl; ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem"
        (root / "nginx.conf").write_text(NGINX.format(root=root, port=self.port, limit=limit, tls=ssl))
        os.chmod(root, 0o755)
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self.nginx = subprocess.Popen([nginx, "-c", str(root / "nginx.conf"), "-p", str(root)], stderr=subprocess.DEVNULL)
        self.hub = Hub()
        self.hub.cdn_base = f"http{'s' if tls else ''}://127.0.0.1:{self.port}"
        while subprocess.run(["curl", "-sk", "-o", "/dev/null", self.hub.cdn_base]).returncode:
            time.sleep(0.05)

    def add(self, repo, files):
        commit = self.hub.add(repo, files)
        self.urls = [f"{self.hub.url}/{repo}/resolve/{commit}/{path}" for path in files]
        for file in self.hub.repos[repo].tree("main")[1].values():
            target = self.root / "objects" / file.sha256
            target.write_bytes(file.read())
            target.chmod(0o644)

    def timed(self, command, out):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        env = {name: value for name, value in os.environ.items() if not name.startswith("HF_") and "proxy" not in name.lower()}
        env |= {"HF_ENDPOINT": self.hub.url, "HF_HUB_CACHE": str(out), "HOME": str(self.root)}
        if (self.root / "cert.pem").exists():
            env |= {"SSL_CERT_FILE": str(self.root / "cert.pem"), "CURL_CA_BUNDLE": str(self.root / "cert.pem")}
        start = time.monotonic()
        subprocess.run(command, check=True, env=env, cwd=out, stdout=subprocess.DEVNULL)
        seconds = time.monotonic() - start
        shutil.rmtree(out)
        return seconds

    def curl(self):
        config = self.root / "curl.txt"
        config.write_text("".join(f'url = "{url}"\noutput = "{url.rsplit("/", 1)[1]}"\n' for url in self.urls))
        return self.timed(["curl", "-sL", "-K", str(config)], self.root / "curl")

    def pull(self, repo):
        return self.timed([str(program()), "pull", "-q", repo, "--include", "*"], self.root / "pull")

    def compare(self, case, repo, rounds, size):
        pairs = [(self.curl(), self.pull(repo)) for _ in range(rounds)]
        curl, pull = (statistics.median(times) for times in zip(*pairs))
        result = {"case": case, "MB": round(size / 1e6, 1), "curl_s": round(curl, 3), "pull_s": round(pull, 3),
                  "curl_MB_s": round(size / curl / 1e6), "pull_MB_s": round(size / pull / 1e6),
                  "share": round(statistics.median(a / b for a, b in pairs), 3)}
        print(json.dumps(result), flush=True)
        return result["share"]

    def close(self):
        self.hub.close()
        self.nginx.terminate()
        self.nginx.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--tls", action="store_true")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="lathe-hub-bench-") as folder:
        bench = Bench(pathlib.Path(folder), args.rate, args.tls)
        try:
            block = os.urandom(1 << 20)
            bench.add("acme/large", {"model.safetensors": b"".join(i.to_bytes(4, "big") + block[4:] for i in range(args.size))})
            large = bench.compare("one large file", "acme/large", args.rounds, args.size << 20)
            small = {f"part-{i:04d}.safetensors": i.to_bytes(4, "big") + block[4:100_000] for i in range(args.files)}
            bench.add("acme/many", small)
            many = bench.compare(f"{args.files} files", "acme/many", args.rounds, args.files * 100_000)
        finally:
            bench.close()
    return 0 if large >= 0.9 and many > 1 else 1


if __name__ == "__main__":
    sys.exit(main())
