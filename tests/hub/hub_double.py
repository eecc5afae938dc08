"""A Hugging Face Hub small enough to sit in a test: repositories in memory, a CDN on another port, uploads by git-lfs.

The official client (huggingface_hub) runs against it too (official_test.py), so that what it says is what the real
one says as far as clients can tell. Faults are switched on by the test that wants them (class Faults).
"""
import base64
import hashlib
import http.server
import json
import pathlib
import re
import threading
import time
import urllib.parse

COMMIT = re.compile(r"[0-9a-f]{40}")
TEXT = (".json", ".md", ".txt", ".jinja", ".gitattributes")
PART = 1 << 20  # of a multipart upload


class File:
    """What a path is at a commit. `source`: bytes, or the path of a file with them."""

    def __init__(self, source, lfs):
        self.source, self.lfs = source, lfs
        data = self.read()
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()

    def read(self):
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    @property
    def etag(self):
        return self.sha256 if self.lfs else self.git


class Repo:
    def __init__(self, private=False, gated=False):
        self.private, self.gated = private, gated
        self.commits, self.refs = {}, {}
        self.commit("main", {})

    def tree(self, revision):
        oid = self.refs.get(revision, revision)
        return (oid, self.commits[oid]) if oid in self.commits else (None, None)

    def commit(self, revision, tree):
        oid = hashlib.sha1(f"{len(self.commits)} {revision} {sorted(tree)} {id(self)}".encode()).hexdigest()
        self.commits[oid] = tree
        self.refs[revision] = oid
        return oid


class Faults:
    def __init__(self):
        self.cut_after = None      # bytes after which an answer with a file is cut
        self.statuses = []         # what the next requests for files get instead: (status, headers)
        self.api_statuses = []     # the same, of the API
        self.put_statuses = []     # statuses that the next uploads get
        self.wrong_hash = 0        # answers with a file that have a bit flipped
        self.redirect_life = None  # requests that a signed address of the CDN is good for
        self.truncate = None       # bytes that the CDN has of every file
        self.pointers = False      # the CDN has the pointer instead of the file
        self.rate = None           # bytes a second, of each connection
        self.silent = False        # nothing comes after the head
        self.no_ranges = False
        self.list = None           # what the list of files is instead (JSON, or bytes)
        self.gzip_says = False     # answers say that they are gzip
        self.api_at = None         # another server that questions to the API are redirected to
        self.next_at = None        # where the list of files says that it goes on
        self.words = None          # what the hub says of a fault, instead of its own sentence


class Hub:
    def __init__(self):
        self.repos, self.objects, self.faults = {}, {}, Faults()
        self.tokens = {"hf_read": "read", "hf_write": "write"}
        self.log, self.signed, self.parts = [], {}, {}
        self.lock = threading.Lock()
        self.cdn_base = None  # another server of the objects, by their hashes
        self.page = 1000
        self.servers = [Server(self, ApiHandler), Server(self, CdnHandler)]
        # Another name for the CDN's host: clients take hosts, not ports, for what a token may be told to.
        self.url, self.cdn = f"http://127.0.0.1:{self.servers[0].server_port}", f"http://localhost:{self.servers[1].server_port}"
        for server in self.servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        for server in self.servers:
            server.shutdown()
            server.server_close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def add(self, repo_id, files, **kwargs):
        """A repository with files {path: bytes or pathlib.Path}; its commit."""
        repo = self.repos.setdefault(repo_id, Repo(**kwargs))
        return self.update(repo, "main", {path: self.file(path, source) for path, source in files.items()})

    def file(self, path, source):
        made = File(source, lfs=not path.endswith(TEXT))
        if made.lfs:
            self.objects[made.sha256] = made
        return made

    def update(self, repo, revision, changes):
        with self.lock:
            tree = dict(repo.tree(revision)[1])
            tree.update(changes)
            return repo.commit(revision, tree)

    def requests(self, method=None, part=""):
        return [entry for entry in self.log if method in (None, entry[0]) and part in entry[1]]


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, hub, handler):
        self.hub = hub
        super().__init__(("127.0.0.1", 0), handler)

    def handle_error(self, request, client_address):
        pass  # clients are killed in these tests


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16

    def log_message(self, *_):
        pass

    @property
    def hub(self):
        return self.server.hub

    def route(self):
        self.hub.log.append((self.command, self.path, dict(self.headers)))
        length = int(self.headers.get("Content-Length") or 0)
        self.body = self.rfile.read(length) if length else b""
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        parts = urllib.parse.urlsplit(self.path)
        self.query = dict(urllib.parse.parse_qsl(parts.query))
        self.answer(parts.path)

    do_GET = do_HEAD = do_POST = do_PUT = route

    def reply(self, status, body=b"", headers=()):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        if "Content-Length" not in dict(headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def fault(self, status, code, message):
        message = self.hub.faults.words or message
        self.reply(status, {"error": message}, {"X-Error-Code": code, "X-Error-Message": message})

    def send_file(self, data, etag, headers=()):
        """A file or the range of it that is asked for, with the faults of the day."""
        faults = self.hub.faults
        with self.hub.lock:
            if faults.statuses and self.command == "GET":
                status, extra = faults.statuses.pop(0)
                return self.reply(status, {"error": "a fault"}, extra)
            if faults.wrong_hash > 0 and self.command == "GET" and data:
                faults.wrong_hash -= 1
                data = bytes([data[0] ^ 1]) + data[1:]
        if faults.truncate is not None:
            data = data[:faults.truncate]
        first, last, status = 0, len(data), 200
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        out = {"ETag": f'"{etag}"', "Accept-Ranges": "bytes", **dict(headers)}
        if wanted and not faults.no_ranges:
            first, last, status = int(wanted[1]), int(wanted[2]) + 1 if wanted[2] else len(data), 206
            if first >= len(data):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(data)}"})
            last = min(last, len(data))
            out["Content-Range"] = f"bytes {first}-{last - 1}/{len(data)}"
        if faults.gzip_says:
            out["Content-Encoding"] = "gzip"
        out["Content-Length"] = str(last - first)
        if self.command == "HEAD":
            return self.reply(200, b"", out)
        self.reply(status, b"", out)
        self.pour(memoryview(data)[first:last])

    def pour(self, data):
        faults = self.hub.faults
        sent, piece, start = 0, 1 << 16, time.monotonic()
        while sent < len(data):
            take = min(piece, len(data) - sent)
            if faults.cut_after is not None:
                take = min(take, faults.cut_after - sent)
                if take == 0:
                    self.wfile.flush()
                    self.close_connection = True
                    return
            while faults.silent:
                self.wfile.flush()
                time.sleep(0.1)
            self.wfile.write(data[sent:sent + take])
            sent += take
            if faults.rate:
                self.wfile.flush()
                time.sleep(max(0.0, start + sent / faults.rate - time.monotonic()))


class CdnHandler(Handler):
    def answer(self, path):
        hub = self.hub
        if "Authorization" in self.headers:  # signed addresses refuse a second way of saying who one is
            return self.reply(400, {"error": "Only one auth mechanism allowed"})
        kind, oid = path.strip("/").split("/")[:2]
        if kind == "upload" and self.command == "PUT":
            if hub.faults.put_statuses:
                return self.reply(hub.faults.put_statuses.pop(), b"")
            with hub.lock:
                hub.parts.setdefault(oid, {})[int(self.query.get("part", 0))] = self.body
            return self.reply(200, b"", {"ETag": f'"{hashlib.md5(self.body).hexdigest()}"'})
        with hub.lock:
            left = hub.signed.get(self.query.get("signature"), 0)
            if left <= 0:
                return self.reply(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
            hub.signed[self.query["signature"]] = left - 1
        file = hub.objects[oid]
        data = file.read()
        if hub.faults.pointers:
            data = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %d\n" % (oid.encode(), file.size)
        self.send_file(data, file.sha256)


class ApiHandler(Handler):
    def answer(self, path):
        hub = self.hub
        if hub.faults.api_statuses and path.startswith("/api/"):
            status, headers = hub.faults.api_statuses.pop(0)
            return self.reply(status, {"error": "a fault"}, headers)
        if hub.faults.api_at and path.startswith("/api/"):
            return self.reply(307, b"", {"Location": hub.faults.api_at + self.path})
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        self.role = hub.tokens.get(given)
        if given and self.role is None:
            return self.fault(401, "", "Invalid credentials in Authorization header")
        for pattern, handler in ROUTES:
            match = re.fullmatch(pattern, path)
            if match:
                return handler(self, *(urllib.parse.unquote(group) for group in match.groups() if group is not None))
        self.reply(404, {"error": f"the double has no {path}"})

    def repo(self, repo_id):
        """The repository, or None after an answer that says why not."""
        repo = self.hub.repos.get(repo_id)
        if repo is None or (repo.private and self.role is None):
            # As the hub does: who is nobody does not learn whether it exists.
            self.fault(404 if self.role else 401, "RepoNotFound", "Repository not found")
            return None
        return repo

    def at(self, repo_id, revision):
        repo = self.repo(repo_id)
        if repo is None:
            return None, None, None
        oid, tree = repo.tree(revision)
        if oid is None:
            self.fault(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return repo, oid, tree

    def may_write(self):
        if self.role == "write":
            return True
        self.fault(403 if self.role else 401, "", "You don't have the required permissions to write")
        return False

    def info(self, repo_id, revision="main"):
        repo, oid, tree = self.at(repo_id, revision)
        if oid:
            self.reply(200, {"_id": "0", "id": repo_id, "modelId": repo_id, "sha": oid, "private": repo.private, "gated": repo.gated,
                             "tags": [], "downloads": 0, "siblings": [{"rfilename": path} for path in sorted(tree)]})

    def tree(self, repo_id, revision):
        repo, oid, tree = self.at(repo_id, revision)
        if not oid:
            return
        if self.hub.faults.list is not None:
            return self.reply(200, self.hub.faults.list)
        if self.hub.faults.next_at:
            return self.reply(200, [], {"Link": f'<{self.hub.faults.next_at}{self.path}>; rel="next"'})
        entries = [entry(path, tree[path]) for path in sorted(tree)]
        first = int(self.query.get("cursor", 0))
        headers = {}
        if first + self.hub.page < len(entries):
            query = urllib.parse.urlencode({**self.query, "cursor": first + self.hub.page})
            headers["Link"] = f'<{self.hub.url}/api/models/{repo_id}/tree/{revision}?{query}>; rel="next"'
        self.reply(200, entries[first:first + self.hub.page], headers)

    def paths_info(self, repo_id, revision):
        repo, oid, tree = self.at(repo_id, revision)
        if oid:
            wanted = json.loads(self.body)["paths"] if self.body.startswith(b"{") else urllib.parse.parse_qs(self.body.decode())["paths"]
            self.reply(200, [entry(path, tree[path]) for path in wanted if path in tree])

    def resolve(self, repo_id, revision, path):
        repo, oid, tree = self.at(repo_id, revision)
        if not oid:
            return
        if repo.gated and self.role is None:
            return self.fault(401, "GatedRepo", "Access to this model is restricted")
        headers = {"X-Repo-Commit": oid}
        if path not in tree:
            return self.reply(404, {"error": "Entry not found"}, {**headers, "X-Error-Code": "EntryNotFound", "X-Error-Message": "Entry not found"})
        file = tree[path]
        if not file.lfs:
            return self.send_file(file.read(), file.git, headers)
        with self.hub.lock:
            signature = hashlib.sha256(f"{len(self.hub.signed)}".encode()).hexdigest()[:16]
            life = self.hub.faults.redirect_life
            self.hub.signed[signature] = 1 << 60 if life is None else life
        where = self.hub.cdn_base or self.hub.cdn + "/file"
        location = f"{where}/{file.sha256}" + ("" if self.hub.cdn_base else f"?signature={signature}")
        self.reply(302, b"", {**headers, "Location": location, "X-Linked-Etag": f'"{file.sha256}"',
                              "X-Linked-Size": str(file.size), "ETag": f'"{file.git}"'})

    def create(self):
        if not self.may_write():
            return
        wanted = json.loads(self.body)
        name = "/".join(part for part in (wanted.get("organization"), wanted["name"]) if part)
        if name in self.hub.repos:
            return self.reply(409, {"error": "You already created this model repo", "url": f"{self.hub.url}/{name}"})
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        self.hub.repos[name] = Repo(private=private)
        self.reply(200, {"url": f"{self.hub.url}/{name}", "name": name})

    def branch(self, repo_id, revision):
        repo = self.repo(repo_id)
        if repo is not None and self.may_write():
            if revision in repo.refs:
                return self.reply(409, {"error": "Reference already exists"})
            repo.refs[revision] = repo.refs["main"]
            self.reply(200, {})

    def preupload(self, repo_id, revision):
        repo, oid, tree = self.at(repo_id, revision)
        if not oid or not self.may_write():
            return
        files = []
        for file in json.loads(self.body)["files"]:
            path = file["path"]
            base64.b64decode(file["sample"], validate=True)
            lfs = not path.endswith(TEXT) or file["size"] > 10 << 20
            there = tree.get(path)
            files.append({"path": path, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False,
                          **({"oid": there.etag} if there else {})})
        self.reply(200, {"files": files, "commitOid": oid})

    def batch(self, repo_id):
        if self.repo(repo_id) is None or not self.may_write():
            return
        objects = []
        for wanted in json.loads(self.body)["objects"]:
            out = dict(wanted)
            if wanted["oid"] not in self.hub.objects:
                target = f"{self.hub.cdn}/upload/{wanted['oid']}"
                upload = {"href": target}
                if wanted["size"] > 3 * PART:
                    n = -(-wanted["size"] // PART)
                    upload = {"href": f"{self.hub.url}/lfs/complete/{wanted['oid']}",
                              "header": {"chunk_size": str(PART), **{f"{i:05d}": f"{target}?part={i}" for i in range(1, n + 1)}}}
                out["actions"] = {"upload": upload, "verify": {"href": f"{self.hub.url}/lfs/verify/{wanted['oid']}"}}
            objects.append(out)
        self.reply(200, {"transfer": "basic", "objects": objects})

    def complete(self, oid):
        wanted = json.loads(self.body)["parts"]
        parts = self.hub.parts.get(oid, {})
        right = all(part["etag"] == f'"{hashlib.md5(parts[part["partNumber"]]).hexdigest()}"' for part in wanted)
        self.reply(200 if right and len(wanted) == len(parts) else 400, {})

    def verify(self, oid):
        parts = self.hub.parts.pop(oid, {})
        data = b"".join(parts[i] for i in sorted(parts))
        asked = json.loads(self.body)
        if hashlib.sha256(data).hexdigest() != oid or asked["size"] != len(data):
            return self.reply(422, {"error": "the object's hash is another"})
        self.hub.objects[oid] = File(data, lfs=True)
        self.reply(200, {})

    def commit(self, repo_id, revision):
        repo, oid, tree = self.at(repo_id, revision)
        if not oid or not self.may_write():
            return
        changes, removed = {}, []
        for line in self.body.decode().splitlines():
            item = json.loads(line)
            key, value = item["key"], item["value"]
            if key == "header" and value.get("parentCommit", oid) != oid:
                return self.reply(412, {"error": "A commit has happened since. Please refresh and try again."})
            if key == "file":
                changes[value["path"]] = File(base64.b64decode(value["content"]), lfs=False)
            elif key == "lfsFile":
                if value["oid"] not in self.hub.objects:
                    return self.reply(400, {"error": f"no object {value['oid']}"})
                changes[value["path"]] = self.hub.objects[value["oid"]]
            elif key == "deletedFile":
                removed.append(value["path"])
        made = self.hub.update(repo, revision, changes)
        for path in removed:
            del repo.commits[made][path]
        self.reply(200, {"success": True, "commitUrl": f"{self.hub.url}/{repo_id}/commit/{made}", "commitOid": made,
                         "hookOutput": ""})

    def whoami(self):
        if self.role is None:
            return self.fault(401, "", "Invalid username or password.")
        self.reply(200, {"type": "user", "name": "acme", "orgs": [], "auth": {"accessToken": {"role": self.role}}})

    def validate_yaml(self):
        self.reply(200, {"errors": [], "warnings": []})


def entry(path, file):
    out = {"type": "file", "oid": file.git, "size": file.size, "path": path}
    if file.lfs:
        out["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": 134}
    return out


ID = r"((?:[^/]+/)?[^/]+)"
ROUTES = [
    (rf"/api/models/{ID}/revision/([^/]+)", ApiHandler.info),
    (rf"/api/models/{ID}/tree/([^/]+)", ApiHandler.tree),
    (rf"/api/models/{ID}/paths-info/([^/]+)", ApiHandler.paths_info),
    (rf"/api/models/{ID}/preupload/([^/]+)", ApiHandler.preupload),
    (rf"/api/models/{ID}/commit/([^/]+)", ApiHandler.commit),
    (rf"/api/models/{ID}/branch/([^/]+)", ApiHandler.branch),
    (r"/api/models/([^/]+/[^/]+)", ApiHandler.info),
    (r"/api/repos/create", ApiHandler.create),
    (r"/api/whoami-v2", ApiHandler.whoami),
    (r"/api/validate-yaml", ApiHandler.validate_yaml),
    (rf"/{ID}\.git/info/lfs/objects/batch", ApiHandler.batch),
    (r"/lfs/complete/([0-9a-f]+)", ApiHandler.complete),
    (r"/lfs/verify/([0-9a-f]+)", ApiHandler.verify),
    (rf"/{ID}/resolve/([^/]+)/(.+)", ApiHandler.resolve),
]


def files_of(folder):
    """{path: source} of a folder, for Hub.add."""
    root = pathlib.Path(folder)
    return {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
