"""`lathe push`, and engines of several machines in one repository."""
import json
import os
import re
import shutil
import threading
import time

import pytest
from pull_test import MB, blob, contents

WRITE = {"HF_TOKEN": "hf_write"}


@pytest.fixture(scope="session")
def engine(tales, tmp_path_factory):
    """An engine of tales-16m for any CPU, not measured: the same file on every machine."""
    from conftest import Place
    from hub_double import Hub
    folder = tmp_path_factory.mktemp("engine")
    with Hub() as hub:
        Place(hub, folder).lathe("build", tales, "-o", folder / "tales.lathe", "--target", "cpu:portable", "--no-tune", "--quiet")
    return folder / "tales.lathe"


def tree(place, repo, revision="main"):
    return place.hub.repos[repo].tree(revision)[1]


def index(place, repo):
    return json.loads(tree(place, repo)["lathe.json"].read())["engines"]


def test_an_engine_with_its_card(place, engine):
    done = place.lathe("push", engine, "acme/tales", "--base-model", "acme/tales-16m", **WRITE)
    assert re.fullmatch(r"pushed 3\d\.\d MB to http://127.0.0.1:\d+/acme/tales \(main at [0-9a-f]{8}\) in .*\n"
                        r"  tales-16m-bf16-cpu-portable.lathe\n  lathe.json\n  README.md\n", done.stdout), done.stdout
    files = tree(place, "acme/tales")
    assert files["tales-16m-bf16-cpu-portable.lathe"].read() == engine.read_bytes()
    assert place.hub.requests("PUT", "part=30") and not place.hub.repos["acme/tales"].private
    (entry,) = index(place, "acme/tales")
    assert (entry["target"], entry["dtype"], entry["builder"], entry["size"]) == ("cpu:portable", "bf16", "0.1.0", engine.stat().st_size)
    card = files["README.md"].read().decode()
    assert card.startswith("---\nlibrary_name: lathe\n") and "base_model: acme/tales-16m\n" in card
    assert "| `tales-16m-bf16-cpu-portable.lathe` | cpu:portable | not measured | bf16 | 1 | 3" in card
    assert "lathe serve acme/tales\n" in card
    official = place.python("print(ModelCard.load('acme/tales').data.to_dict())")
    assert "'library_name': 'lathe'" in official and "'base_model': 'acme/tales-16m'" in official


def test_only_what_changed(place, engine):
    place.lathe("push", engine, "acme/tales", **WRITE)
    place.hub.log.clear()
    assert "has all of it already: 3 files unchanged" in place.lathe("push", engine, "acme/tales", **WRITE).stdout
    assert not place.hub.requests("PUT") and not place.hub.requests("POST")
    # The same engine for another repository: its bytes are on the hub already.
    place.lathe("push", engine, "acme/again", **WRITE)
    assert not place.hub.requests("PUT") and "tales-16m-bf16-cpu-portable.lathe" in tree(place, "acme/again")


def test_a_folder(place, tales, tmp_path):
    folder = tmp_path / "up"
    shutil.copytree(tales, folder)
    (folder / "pytorch_model.bin").write_bytes(blob(100))
    (folder / ".git").mkdir()
    (folder / ".git/config").write_text("secret")
    (folder / "sub").mkdir()
    (folder / "sub/notes.txt").write_text("notes")
    done = place.lathe("push", folder, "acme/weights", "--private", **WRITE)
    assert "pytorch_model.bin is left out" in done.stderr
    files = tree(place, "acme/weights")
    expected = sorted([path.name for path in tales.iterdir()] + ["sub/notes.txt"])
    assert sorted(files) == expected and place.hub.repos["acme/weights"].private
    assert files["README.md"].read() == (tales / "README.md").read_bytes()  # its own card
    (folder / "sub/notes.txt").write_text("other notes")
    place.hub.log.clear()
    assert place.lathe("push", folder, "acme/weights", **WRITE).stdout.endswith("\n  sub/notes.txt\n")
    assert not place.hub.requests("PUT")


@pytest.mark.parametrize("name", [b"new\nline", b"\xff\xfe", b"back\\slash"])
def test_names_that_a_hub_does_not_take(place, tmp_path, name):
    with open(os.path.join(os.fsencode(tmp_path), name), "w") as file:
        file.write("x")
    refused = place.refused("push", tmp_path, "acme/names", **WRITE)
    assert "cannot be a file's name on a hub" in refused and "rename it" in refused
    assert not place.hub.log


def test_a_person_s_card_stays(place, engine):
    place.hub.add("acme/tales", {"README.md": b"# Mine\n"})
    place.lathe("push", engine, "acme/tales", **WRITE)
    assert tree(place, "acme/tales")["README.md"].read() == b"# Mine\n"


def test_a_branch(place, engine):
    place.hub.add("acme/tales", {"config.json": b"{}"})
    place.lathe("push", engine, "acme/tales", "--revision", "engines", **WRITE)
    assert sorted(tree(place, "acme/tales")) == ["config.json"]
    assert "lathe.json" in tree(place, "acme/tales", "engines")


def test_who_may_not(place, engine):
    assert "needs a token with write access" in place.refused("push", engine, "acme/tales")
    assert "the token of HF_TOKEN may not write to acme/tales" in place.refused("push", engine, "acme/tales", HF_TOKEN="hf_read")
    assert "HF_TOKEN" in place.refused("push", engine, "acme/tales", HF_TOKEN="hf_wrong")
    assert "HF_HUB_OFFLINE is set" in place.refused("push", engine, "acme/tales", HF_HUB_OFFLINE="1", **WRITE)
    assert not place.hub.repos
    place.hub.add("acme/tales", {"config.json": b"{}"})
    assert "may not write" in place.refused("push", engine, "acme/tales", HF_TOKEN="hf_read")


def test_what_is_no_engine(place, tmp_path):
    other = tmp_path / "x.lathe"
    other.write_bytes(b"no engine")
    place.refused("push", other, "acme/tales", **WRITE)
    assert "expected a repository" in place.refused("push", other, "acme/../x", **WRITE)
    (tmp_path / "empty").mkdir()
    assert "has no file to push" in place.refused("push", tmp_path / "empty", "acme/tales", **WRITE)
    assert not place.hub.log


def test_a_damaged_engine_stays_here(place, engine, tmp_path):
    damaged = tmp_path / "damaged.lathe"
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    place.refused("push", damaged, "acme/tales", **WRITE)
    assert not place.hub.log


def test_busy_servers(place, engine):
    place.hub.faults.api_statuses = [(503, {}), (429, {"Retry-After": "1"})]
    place.hub.faults.put_statuses = [500, 503, 500]
    place.lathe("push", engine, "acme/tales", **WRITE)
    assert tree(place, "acme/tales")["tales-16m-bf16-cpu-portable.lathe"].read() == engine.read_bytes()


def test_somebody_else_commits_meanwhile(place, engine):
    place.hub.add("acme/tales", {"config.json": b"{}"})
    repo = place.hub.repos["acme/tales"]

    def commit_while_it_uploads():
        while not place.hub.requests("PUT"):
            time.sleep(0.01)
        place.hub.update(repo, "main", {"other.txt": place.hub.file("other.txt", b"other")})

    thread = threading.Thread(target=commit_while_it_uploads)
    thread.start()
    place.lathe("push", engine, "acme/tales", **WRITE)
    thread.join()
    assert sorted(tree(place, "acme/tales")) == ["README.md", "config.json", "lathe.json", "other.txt", "tales-16m-bf16-cpu-portable.lathe"]


def test_the_engine_that_fits_is_found(place, engine, tales):
    """Engines for several machines and the weights in one repository: each machine fetches its own."""
    place.lathe("push", engine, "acme/tales", **WRITE)
    repo = place.hub.repos["acme/tales"]
    engines = index(place, "acme/tales")
    other = dict(engines[0], target="cuda:sm_90a", machine="NVIDIA H200", file="other.lathe", sha256="0" * 64, size=40 * MB)
    changes = {"lathe.json": place.hub.file("lathe.json", json.dumps({"engines": engines + [other]}).encode())}
    other_file = place.hub.file("other.lathe", blob(1000))
    other_file.size, other_file.sha256 = 40 * MB, "0" * 64
    changes["other.lathe"] = other_file
    changes |= {path.name: place.hub.file(path.name, path) for path in tales.iterdir() if path.name != "README.md"}
    place.hub.update(repo, "main", changes)
    told = place.lathe("run", "acme/tales", "Once upon a time", "--max-tokens", "8", "--temperature", "0")
    local = place.lathe("run", engine, "Once upon a time", "--max-tokens", "8", "--temperature", "0")
    assert told.stdout == local.stdout and "building" not in told.stderr
    snapshot = next((place.repo_cache("acme/tales") / "snapshots").iterdir())
    assert sorted(path.name for path in snapshot.iterdir()) == ["lathe.json", "tales-16m-bf16-cpu-portable.lathe"]
    assert "cpu:portable" in place.lathe("inspect", "acme/tales").stdout
    # Offline it is found in the cache.
    place.hub.log.clear()
    assert place.lathe("run", "acme/tales", "Once upon a time", "--max-tokens", "8", "--temperature", "0", HF_HUB_OFFLINE="1").stdout == local.stdout
    assert not place.hub.log
    # For a target that no engine is for: from the weights, built into the cache of engines.
    built = place.lathe("run", "acme/tales", "Once upon a time", "--max-tokens", "8", "--temperature", "0", "--target", "cpu:portable",
                        "--dtype", "f32")
    assert "building an engine" in built.stderr
    assert [path.name.split("-f32-")[0] for path in (place.home / "cache/lathe").glob("*.lathe")] == ["tales"]


def test_engines_of_other_machines_alone(place):
    entry = {"file": "m.lathe", "target": "cuda:sm_90a", "machine": "NVIDIA H200", "model": "m", "model_hash": "", "dtype": "bf16",
             "builder": "0.1.0", "format": 3, "tp": 1, "pp": 1, "size": 1000, "sha256": ""}
    file = place.hub.file("m.lathe", blob(1000))
    entry["sha256"] = file.sha256
    place.hub.add("acme/h200", {"lathe.json": json.dumps({"engines": [entry]}).encode(), "m.lathe": blob(1000)})
    for command in (("run", "acme/h200", "x"), ("serve", "acme/h200", "--port", "0"), ("inspect", "acme/h200"), ("pull", "acme/h200")):
        refused = place.refused(*command, CUDA_VISIBLE_DEVICES="")
        assert "engines for cuda:sm_90a (NVIDIA H200) of lathe 0.1.0 and no weights" in refused
    assert not place.hub.requests(part=file.sha256)


def test_models_of_one_session(place, tales):
    """What the official client uploaded runs, and what lathe pulled is what transformers would load."""
    place.python(f"api = HfApi(token='hf_write'); api.create_repo('acme/t'); api.upload_folder(repo_id='acme/t', folder_path={str(tales)!r})")
    done = place.lathe("run", "acme/t", "Once upon a time", "--max-tokens", "8")
    assert done.stdout
    snapshot = next((place.repo_cache("acme/t") / "snapshots").iterdir())
    expected = {path.name: path.read_bytes() for path in tales.iterdir() if path.name != "README.md"}
    assert contents(snapshot) == expected
