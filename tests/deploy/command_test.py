"""`lathe deploy k8s` prints what the Kustomize tree gives, and objects of the right shape in every combination."""
import itertools
import re
import subprocess

import pytest
from manifests import OVERLAYS, ROOT, one, parse, render, without_order
from manifests_test import check_object, server_of

MODEL = "mistralai/Mistral-7B-Instruct-v0.2"
GPU = ["--gpu", "h200"]
# The overlays, and the command that makes the same of the parts that it carries.
SAME = {
    "cpu": [MODEL],
    "gke-gpu": [MODEL, *GPU],
    "spot": [MODEL, *GPU, "--spot"],
    "monitoring": [MODEL, *GPU, "--monitoring"],
    "autoscale": [MODEL, *GPU, "--replicas", "2..8"],
    "gateway": [MODEL, *GPU, "--gateway"],
    "engine-volume": ["/models/model.lathe", *GPU],
    "engine-image": ["oci://registry.example/models/mistral-7b-h200:latest", *GPU],
}


def deploy(lathe, *flags):
    return subprocess.run([lathe, "deploy", "k8s", *flags], capture_output=True, text=True, cwd=ROOT)


def made(lathe, *flags):
    done = deploy(lathe, *flags)
    assert done.returncode == 0, done.stderr
    return parse(done.stdout)


def test_every_overlay_has_its_flags():
    assert set(OVERLAYS) - set(SAME) == {"multi-node"}, "which the command leaves out until an engine can span machines"


@pytest.mark.parametrize("name", SAME)
def test_the_command_and_kustomize_agree(lathe, name):
    def key(item):
        return item["kind"], item["metadata"]["name"]
    ours, theirs = sorted(made(lathe, *SAME[name]), key=key), sorted(render(name), key=key)
    assert [key(item) for item in ours] == [key(item) for item in theirs]
    for mine, other in zip(ours, theirs):
        assert without_order(mine) == without_order(other), key(mine)


MACHINES = [[], GPU, [*GPU, "--spot"], ["--gpu", "l4", "--gpus", "2", "--node-selector", "gpu=l4"]]
MODELS = [MODEL, "/models/m.lathe", "oci://registry.example/m:1#m.lathe"]
EXTRAS = [[], ["--replicas", "1..4"], ["--gateway", "--monitoring"], ["--replicas", "2..8", "--gateway", "--name", "tales", "--namespace", "llm"]]


@pytest.mark.parametrize("machine,model,extra", list(itertools.product(MACHINES, MODELS, EXTRAS)))
def test_every_combination_has_the_shape_of_its_kinds(lathe, machine, model, extra):
    objects = made(lathe, model, *machine, *extra, "--image", "registry.example/lathe:2", "--memory", "48Gi", "--cpus", "6")
    name = "tales" if "tales" in extra else "lathe"
    for item in objects:
        check_object(rename(item, name), [rename(other, name) for other in objects])
    assert ("HorizontalPodAutoscaler" in {item["kind"] for item in objects}) == ("--replicas" in extra)
    assert all(item["metadata"].get("namespace") == ("llm" if name == "tales" else None) for item in objects)


def rename(item, name):
    """The checks look for objects called lathe, in no namespace."""
    metadata = {key: value for key, value in item["metadata"].items() if key != "namespace"}
    metadata["name"] = re.sub(f"^{name}", "lathe", metadata["name"])
    item = item | {"metadata": metadata}
    return item if name == "lathe" else parse(re.sub(rf"\b{name}\b", "lathe", as_text(item)))[0]


def as_text(item):
    import yaml
    return yaml.safe_dump(item)


@pytest.fixture(scope="module")
def engine(lathe, tmp_path_factory):
    path = tmp_path_factory.mktemp("engine") / "tales.lathe"
    subprocess.run([lathe, "build", "models/tales-16m", "--no-tune", "--quiet", "-o", str(path)], check=True, cwd=ROOT)
    return path


def test_an_engine_file_of_this_machine(lathe, engine):
    done = deploy(lathe, str(engine))
    objects = parse(done.stdout)
    _, container = server_of(objects)
    assert {"name": "LATHE_MODEL", "value": "/models/tales.lathe"} in container["env"]
    assert container["resources"]["limits"]["memory"] == "9Gi"
    assert "tales.lathe on the claim lathe-models" in done.stderr


def test_an_engine_of_another_machine_and_a_broken_one(lathe, engine, tmp_path):
    done = deploy(lathe, str(engine), *GPU)
    assert done.returncode == 1 and done.stdout == "" and "would leave a GPU idle" in done.stderr
    broken = tmp_path / "broken.lathe"
    broken.write_bytes(engine.read_bytes()[:5000])
    done = deploy(lathe, str(broken))
    assert done.returncode == 1 and done.stdout == "" and str(broken) in done.stderr


def test_a_longer_drain_has_a_longer_grace_period(lathe):
    pod = one(made(lathe, MODEL, "--setting", "grace=300"), "Deployment")["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 320


@pytest.mark.parametrize("flags,says", [
    (["models/tales-16m"], "models/tales-16m is a folder of this machine"),
    (["a/b/c"], "neither a repository of the hub"),
    ([MODEL, "--gpu", "h900"], "--gpu must be one of"),
    ([MODEL, "--replicas", "8..2"], "--replicas must be"),
    ([MODEL, "--setting", "contxt=1"], "there is no setting 'contxt'"),
    ([MODEL, "--setting", "context=many"], "context"),
    ([MODEL, "--setting", "port=80"], "port is fixed"),
    ([MODEL, "--name", "My_App"], "--name must be"),
])
def test_faults_are_one_sentence_and_print_nothing(lathe, flags, says):
    done = deploy(lathe, *flags)
    assert done.returncode in (1, 2) and done.stdout == ""
    assert says in done.stderr and len(done.stderr.strip().splitlines()) <= 3
