"""`lathe pull` against the double: what it fetches, and what it refuses."""
import random

import pytest

CONFIG = b'{"model_type": "llama"}'
MB = 1 << 20


def blob(size, seed=1):
    return random.Random(seed).randbytes(size)


def model(size=300_000):
    return {"config.json": CONFIG, "tokenizer.json": b"{}", "model.safetensors": blob(size), "README.md": b"# read me\n"}


def contents(path):
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def without(files, *names):
    return {name: data for name, data in files.items() if name not in names}


def only(files, *names):
    return {name: files[name] for name in names}


def test_takes_what_a_model_needs(place):
    files = model() | {"pytorch_model.bin": blob(1000), "consolidated.safetensors": blob(2000), "onnx/model.onnx": b"x",
                       "chat_template.jinja": b"{{}}", "original/params.json": b"{}", "pytorch_model.bin.index.json": b"{}",
                       "tokenizer.model": blob(500, 2)}
    commit = place.hub.add("acme/tiny", files)
    path = place.pull("acme/tiny")
    assert path == place.repo_cache("acme/tiny") / "snapshots" / commit
    assert contents(path) == only(files, "config.json", "tokenizer.json", "model.safetensors", "chat_template.jinja",
                                  "tokenizer.model")
    assert not place.left_over("acme/tiny")


def test_shards_that_the_index_names(place):
    index = b'{"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}'
    files = {"config.json": CONFIG, "model.safetensors.index.json": index, "model-00001-of-00002.safetensors": blob(5000),
             "model-00002-of-00002.safetensors": blob(6000, 2), "extra-00001.safetensors": blob(7000, 3)}
    place.hub.add("acme/shards", files)
    assert contents(place.pull("acme/shards")) == without(files, "extra-00001.safetensors")


def test_patterns(place):
    files = model() | {"a/b/notes.txt": b"notes", "pytorch_model.bin": blob(10)}
    place.hub.add("acme/tiny", files)
    path = place.pull("acme/tiny", "--include", "*.json", "--include", "a/*")
    assert contents(path) == only(files, "config.json", "tokenizer.json", "a/b/notes.txt")
    place.hub.add("acme/other", files)
    path = place.pull("acme/other", "--exclude", "*.safetensors")
    assert contents(path) == without(files, "model.safetensors", "pytorch_model.bin")
    assert "no file of acme/tiny matches" in place.refused("pull", "acme/tiny", "--include", "*.gguf")
    assert "pickled" in place.refused("pull", "acme/tiny", "--include", "*.bin")


def test_revisions(place):
    first = place.hub.add("acme/tiny", model())
    repo = place.hub.repos["acme/tiny"]
    repo.refs["v1.0"] = first
    repo.refs["refs/pr/1"] = first
    second = place.hub.update(repo, "main", {"config.json": place.hub.file("config.json", b"{}")})
    assert place.pull("acme/tiny").name == second
    for revision in ("v1.0", first, "refs/pr/1"):
        assert place.pull(f"acme/tiny@{revision}").name == first
    assert (place.repo_cache("acme/tiny") / "refs/main").read_text() == second
    assert (place.repo_cache("acme/tiny") / "refs/refs/pr/1").read_text() == first
    assert "no such revision" in place.refused("pull", "acme/tiny@v2")


def test_a_second_pull_asks_for_no_file(place):
    place.hub.add("acme/tiny", model())
    place.pull("acme/tiny")
    place.hub.log.clear()
    place.pull("acme/tiny")
    assert not place.hub.requests("GET", "/resolve/") and len(place.hub.log) <= 2


def test_lists_in_pages(place):
    place.hub.page = 7
    files = model() | {f"part-{i}.json": b"%d" % i for i in range(40)}
    place.hub.add("acme/many", files)
    assert contents(place.pull("acme/many")) == without(files, "README.md")


def test_token_stays_on_the_hub(place):
    place.hub.add("acme/secret", model(), private=True)
    place.pull("acme/secret", HF_TOKEN="hf_read")
    on_cdn = [headers for _, path, headers in place.hub.log if path.startswith("/file/")]
    assert on_cdn and not any("Authorization" in headers for headers in on_cdn)
    on_hub = [headers for _, path, headers in place.hub.log if path.startswith("/api/")]
    assert all(headers.get("Authorization") == "Bearer hf_read" for headers in on_hub)


def test_token_files(place):
    place.hub.add("acme/secret", model(), private=True)
    (place.home / "hf").mkdir()
    (place.home / "hf/token").write_text("hf_read\n")
    place.pull("acme/secret")
    other = place.home / "elsewhere"
    other.write_text("  hf_read  ")
    (place.home / "hf/token").unlink()
    place.pull("acme/secret", "--include", "README.md", HF_TOKEN_PATH=str(other))
    assert "is not there, or is private" in place.refused("pull", "acme/secret", "--include", "tokenizer.json")


def test_who_may_not(place):
    place.hub.add("acme/secret", model(), private=True)
    place.hub.add("acme/gated", model(), gated="manual")
    assert "set HF_TOKEN" in place.refused("pull", "acme/secret")
    assert "set HF_TOKEN" in place.refused("pull", "acme/missing")
    assert "acme/missing is not there" in place.refused("pull", "acme/missing", HF_TOKEN="hf_read")
    refused = place.refused("pull", "acme/secret", HF_TOKEN="hf_wrong")
    assert "refuses the token of HF_TOKEN" in refused and "hf_wrong" not in refused
    assert "gated" in place.refused("pull", "acme/gated")
    place.pull("acme/gated", HF_TOKEN="hf_read")
    assert "blanks" in place.refused("pull", "acme/secret", HF_TOKEN="hf read")


def test_pickles_alone(place):
    place.hub.add("acme/pickled", {"config.json": CONFIG, "pytorch_model.bin": blob(1000)})
    refused = place.refused("pull", "acme/pickled")
    assert "only pickled weights (pytorch_model.bin)" in refused and "safetensors" in refused
    place.hub.add("acme/gguf", {"model.gguf": blob(10)})
    assert "GGUF" in place.refused("pull", "acme/gguf")
    place.hub.add("acme/empty", {"README.md": b"#"})
    assert "neither weights" in place.refused("pull", "acme/empty")
    assert not list(place.cache.rglob("*.bin"))


def test_names_that_are_none(place):
    names = ("acme/..", "../acme", "acme/a/b", "acme/a--b", "acme/x.git", "/etc/passwd", "acme/a\nb", "acme/x-",
             "a" * 60 + "/" + "b" * 60, "acme/x@..", "acme/x@a..b")
    for name in names:
        assert "expected a repository" in place.refused("pull", name)
    assert not place.hub.log


BAD_PATHS = ["../evil", "/etc/evil", "a/../../evil", "a//b", "a\\b", "a/./b", "new\nline", "bell" + chr(7), "", "x" * 300,
             "/".join("d" * 40), "a/" * 20 + "..", "~" * 1025]


@pytest.mark.parametrize("path", BAD_PATHS, ids=range(len(BAD_PATHS)))
def test_paths_that_leave_the_folder(place, path):
    place.hub.add("acme/evil", model())
    place.hub.faults.list = [{"type": "file", "path": path, "size": 3, "oid": "0" * 40}]
    assert "nothing was fetched" in place.refused("pull", "acme/evil")
    assert not place.hub.requests("GET", "/resolve/") and not place.repo_cache("acme/evil").exists()


def test_lists_that_are_none(place):
    place.hub.add("acme/evil", model())
    file = {"type": "file", "path": "a", "size": 1, "oid": "0" * 40}
    answers = [(b"{", "acme/evil"), ({"a": 1}, "no list of files"), ([3], "no file"), (b"[" * 5000 + b"]" * 5000, "16"),
               ([file | {"size": -1}], "cannot be"), ([file | {"size": 1 << 60}], "cannot be"),
               ([file | {"lfs": {"oid": "../x", "size": 1}}], "cannot be"), ([file, file | {"path": "a/b"}], "below a file"),
               ([file, file], "twice"), ([file | {"path": f"f{i}.json"} for i in range(100_001)], "more than 100000")]
    for answer, said in answers:
        place.hub.faults.list = answer
        assert said in place.refused("pull", "acme/evil")
    assert not place.hub.requests("GET", "/resolve/")


def test_a_folder_that_is_a_link(place):
    files = {"config.json": CONFIG, "sub/notes.txt": b"x"}
    commit = place.hub.add("acme/linked", files)
    elsewhere = place.home / "elsewhere"
    elsewhere.mkdir()
    snapshot = place.repo_cache("acme/linked") / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "sub").symlink_to(elsewhere)
    assert "is a file or a link" in place.refused("pull", "acme/linked", "--include", "*")
    assert not list(elsewhere.iterdir())


def test_many_files(place):
    files = {"config.json": CONFIG, "model.safetensors": blob(100)}
    files |= {f"f{i:04d}.json": b'{"n": %d}' % (i % 500) for i in range(1000)}
    place.hub.add("acme/many", files)
    assert contents(place.pull("acme/many")) == files


def test_empty_file(place):
    files = {"config.json": CONFIG, "model.safetensors": blob(10), "empty.json": b""}
    place.hub.add("acme/empty", files)
    assert contents(place.pull("acme/empty")) == files


def test_offline(place):
    commit = place.hub.add("acme/tiny", model())
    refused = place.refused("pull", "acme/tiny", HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in refused and not place.hub.log
    path = place.pull("acme/tiny")
    place.hub.log.clear()
    assert place.pull("acme/tiny", HF_HUB_OFFLINE="yes") == path and path.name == commit
    assert not place.hub.log
    assert "not in the cache" in place.refused("pull", "acme/tiny@v2", HF_HUB_OFFLINE="1")


def test_no_network(place):
    place.hub.add("acme/tiny", model())
    path = place.pull("acme/tiny")
    done = place.lathe("pull", "-q", "acme/tiny", HF_ENDPOINT="http://127.0.0.1:9")
    assert done.stdout.strip() == str(path) and "taking what the cache has" in done.stderr
    assert "cannot connect" in place.refused("pull", "acme/other", HF_ENDPOINT="http://127.0.0.1:9")
    assert "neither http" in place.refused("pull", "acme/other", HF_ENDPOINT="ftp://x")
