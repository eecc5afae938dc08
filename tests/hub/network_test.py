"""TLS and proxies: whom `lathe pull` trusts, and which way it goes."""
import http.server
import select
import socket
import ssl
import subprocess
import threading

import pytest
from hub_double import Hub
from pull_test import contents, model, without


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """An authority of our own, and a certificate of its for hub.test and 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    openssl = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", folder / "key.pem", "-out",
               folder / "cert.pem", "-subj", "/CN=test", "-addext", "subjectAltName=DNS:hub.test,IP:127.0.0.1"]
    subprocess.run(openssl, check=True, capture_output=True)
    return folder


def over_tls(hub, authority):
    """Both servers of the double speak TLS from now on."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "cert.pem", authority / "key.pem")
    for server in hub.servers:
        server.get_request = wrapped(server, context)
    hub.url, hub.cdn = (f"https://127.0.0.1:{server.server_port}" for server in hub.servers)


def wrapped(server, context):
    def get_request():
        connection, address = server.socket.accept()
        return context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address
    return get_request


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy that knows CONNECT; every name is this machine."""

    def log_message(self, *_):
        pass

    def do_CONNECT(self):
        self.server.seen.append((self.path, self.headers.get("Proxy-Authorization")))
        if self.server.refuse:
            return self.send_error(407)
        with socket.create_connection(("127.0.0.1", int(self.path.rsplit(":", 1)[1]))) as there:
            self.send_response(200, "Connection established")
            self.end_headers()
            self.wfile.flush()
            ends = [self.connection, there]
            while True:
                for end in select.select(ends, [], [])[0]:
                    data = end.recv(1 << 16)
                    if not data:
                        return
                    ends[end is self.connection].sendall(data)


@pytest.fixture
def proxy():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tunnel)
    server.daemon_threads, server.seen, server.refuse = True, [], False
    server.handle_error = lambda *_: None
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_trusts_whom_ssl_cert_file_names(place, authority):
    over_tls(place.hub, authority)
    files = model(20_000_000)
    place.hub.add("acme/tiny", files)
    trusted = {"HF_ENDPOINT": place.hub.url, "SSL_CERT_FILE": str(authority / "cert.pem")}
    assert contents(place.pull("acme/tiny", **trusted)) == without(files, "README.md")


def test_trusts_nobody_else(place, authority):
    over_tls(place.hub, authority)
    place.hub.add("acme/tiny", model())
    assert "the certificate of 127.0.0.1 does not hold" in place.refused("pull", "acme/tiny", HF_ENDPOINT=place.hub.url)
    elsewhere = place.hub.url.replace("127.0.0.1", "localhost")  # a name that the certificate does not have
    refused = place.refused("pull", "acme/tiny", HF_ENDPOINT=elsewhere, SSL_CERT_FILE=str(authority / "cert.pem"))
    assert "the certificate of localhost does not hold" in refused and "ostname mismatch" in refused
    assert "not there" in place.refused("pull", "acme/tiny", SSL_CERT_FILE="/nowhere.pem")
    assert not place.hub.log


def test_no_way_back_from_tls(place, authority):
    with Hub() as plain:
        over_tls(place.hub, authority)
        place.hub.add("acme/tiny", model())
        place.hub.cdn_base = plain.cdn
        refused = place.refused("pull", "acme/tiny", HF_ENDPOINT=place.hub.url, SSL_CERT_FILE=str(authority / "cert.pem"))
        assert "from https to http" in refused and not plain.log


def test_no_upload_without_tls(place, authority, tmp_path):
    """Where the hub is https, what it says may not make a push go out in the clear."""
    (tmp_path / "up").mkdir()
    (tmp_path / "up/model.safetensors").write_bytes(b"weights")
    with Hub() as plain:
        over_tls(place.hub, authority)
        place.hub.cdn = plain.cdn
        way = {"HF_ENDPOINT": place.hub.url, "SSL_CERT_FILE": str(authority / "cert.pem"), "HF_TOKEN": "hf_write"}
        assert "an address without TLS" in place.refused("push", tmp_path / "up", "acme/up", **way)
        assert not plain.log and not place.hub.repos["acme/up"].tree("main")[1]


def test_through_a_proxy(place, authority, proxy):
    over_tls(place.hub, authority)
    files = model()
    place.hub.add("acme/tiny", files)
    hub = place.hub.url.replace("127.0.0.1", "hub.test")  # a name that only the proxy can make something of
    way = {"HF_ENDPOINT": hub, "SSL_CERT_FILE": str(authority / "cert.pem")}
    through = way | {"HTTPS_PROXY": f"http://me:word@127.0.0.1:{proxy.server_port}"}
    assert contents(place.pull("acme/tiny", **through)) == without(files, "README.md")
    assert {where.split(":")[0] for where, _ in proxy.seen} == {"hub.test", "127.0.0.1"}
    assert all(who == "Basic bWU6d29yZA==" for _, who in proxy.seen)
    proxy.refuse = True
    assert "does not let us through" in place.refused("pull", "acme/other", **through)
    assert "unknown" in place.refused("pull", "acme/other", **through, NO_PROXY=".test")
