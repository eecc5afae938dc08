"""The double is honest: huggingface_hub itself works with it, and shares a cache with lathe both ways."""
from lathe_server import program
from pull_test import contents, model, without


def test_official_client_downloads(place):
    files = model() | {"sub/deep/notes.txt": b"notes"}
    commit = place.hub.add("acme/tiny", files)
    path = place.python("print(snapshot_download('acme/tiny'))")
    assert path.endswith(commit) and contents(place.repo_cache("acme/tiny") / "snapshots" / commit) == files
    assert place.python("print(hf_hub_download('acme/tiny', 'config.json', revision='main'))").endswith("config.json")
    listed = place.python("print(len(HfApi().list_repo_files('acme/tiny')), HfApi().model_info('acme/tiny').sha)")
    assert listed == f"{len(files)} {commit}"


def test_official_client_meets_its_errors(place):
    place.hub.add("acme/secret", model(), private=True)
    code = """
import huggingface_hub.errors as errors
for call, expected in ((lambda: hf_hub_download('acme/secret', 'config.json'), errors.RepositoryNotFoundError),
                       (lambda: hf_hub_download('acme/secret', 'no.json', token='hf_read'), errors.RemoteEntryNotFoundError),
                       (lambda: hf_hub_download('acme/secret', 'config.json', revision='x', token='hf_read'), errors.RevisionNotFoundError),
                       (lambda: HfApi(token='hf_wrong').model_info('acme/secret'), errors.HfHubHTTPError),
                       (lambda: HfApi(token='hf_read').create_repo('acme/new'), errors.HfHubHTTPError)):
    try:
        call()
        print('no error', expected)
    except expected:
        pass
print('done')
"""
    assert place.python(code) == "done"


def test_official_client_uploads(place):
    big = bytes(range(256)) * 20_000  # in several parts
    code = f"""
import pathlib
folder = pathlib.Path({str(place.home / 'up')!r})
folder.mkdir()
(folder / 'config.json').write_text('{{}}')
(folder / 'model.safetensors').write_bytes(bytes(range(256)) * 20_000)
api = HfApi(token='hf_write')
api.create_repo('acme/up', private=True)
api.create_repo('acme/up', exist_ok=True)
api.upload_folder(repo_id='acme/up', folder_path=folder)
api.create_commit('acme/up', [CommitOperationAdd('notes.txt', b'notes'), CommitOperationDelete('config.json')], commit_message='change')
print(sorted(api.list_repo_files('acme/up')))
"""
    assert place.python(code) == "['model.safetensors', 'notes.txt']"
    tree = place.hub.repos["acme/up"].tree("main")[1]
    assert tree["model.safetensors"].read() == big and tree["notes.txt"].read() == b"notes"
    assert place.hub.repos["acme/up"].private and place.hub.requests("PUT", "part=5")
    path = place.pull("acme/up", "--include", "*", HF_TOKEN="hf_read")
    assert contents(path) == {"model.safetensors": big, "notes.txt": b"notes"}


def test_lathe_fetched_and_the_official_client_finds(place):
    files = model()
    commit = place.hub.add("acme/tiny", files)
    path = place.pull("acme/tiny")
    place.hub.log.clear()
    assert place.python("print(snapshot_download('acme/tiny'))", HF_HUB_OFFLINE="1") == str(path)
    found = place.python("print(try_to_load_from_cache('acme/tiny', 'model.safetensors'))")
    assert found == str(path / "model.safetensors")
    found = place.python("print(hf_hub_download('acme/tiny', 'config.json', local_files_only=True))")
    assert found == str(path / "config.json")
    assert not place.hub.requests(part="/acme/")
    place.python("snapshot_download('acme/tiny')")  # what is missing, and nothing else
    fetched = [path for method, path, _ in place.hub.log if method == "GET" and ("/resolve/" in path or "/file/" in path)]
    assert len(fetched) == 1 and "README.md" in fetched[0]
    assert contents(path) == files
    info = place.python("info = scan_cache_dir(); print(len(info.warnings), [(r.repo_id, r.nb_files) for r in info.repos])")
    assert info == "0 [('acme/tiny', 4)]"
    links = {file.name: file.readlink() for file in path.iterdir()}
    assert all(not link.is_absolute() and str(link).startswith("../../blobs/") for link in links.values()) and commit == path.name


def test_the_official_client_fetched_and_lathe_finds(place):
    files = model(5_000_000)
    commit = place.hub.add("acme/tiny", files)
    path = place.python("print(snapshot_download('acme/tiny'))")
    assert str(place.pull("acme/tiny", HF_HUB_OFFLINE="1")) == path
    place.hub.log.clear()
    assert str(place.pull("acme/tiny")) == path and path.endswith(commit)
    assert not place.hub.requests("GET", "/file/") and not place.hub.requests("GET", "/resolve/")
    # A second commit with the same weights: they are there already.
    place.hub.update(place.hub.repos["acme/tiny"], "main", {"config.json": place.hub.file("config.json", b"{}")})
    again = place.pull("acme/tiny")
    assert contents(again) == without(files | {"config.json": b"{}"}, "README.md") and not place.hub.requests("GET", "/file/")


def test_lathe_waits_for_the_official_lock(place):
    files = model(2_000_000)
    place.hub.add("acme/lock", files)
    sha = place.hub.repos["acme/lock"].tree("main")[1]["model.safetensors"].sha256
    code = f"""
import subprocess, time
from pathlib import Path
from filelock import FileLock
lock = Path({str(place.cache / '.locks/models--acme--lock')!r}) / '{sha}.lock'
lock.parent.mkdir(parents=True)
with FileLock(lock):
    pull = subprocess.Popen([{str(program())!r}, 'pull', '-q', 'acme/lock'], stdout=subprocess.DEVNULL)
    time.sleep(1.5)
    print(pull.poll())
print(pull.wait(30))
"""
    assert place.python(code) == "None\n0"


def test_the_official_client_waits_for_our_lock(place):
    place.hub.add("acme/lock", model(3_000_000))
    place.hub.faults.rate = 1_000_000
    pull = place.start("pull", "-q", "acme/lock")
    while not list(place.repo_cache("acme/lock").glob("blobs/*.lathe.incomplete")):
        assert pull.poll() is None
    place.python("hf_hub_download('acme/lock', 'model.safetensors')")
    assert pull.wait(30) == 0
    assert len(place.hub.requests("GET", "/file/")) == 1
