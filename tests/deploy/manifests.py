"""The Kustomize tree as objects, for the tests of deployment."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
TREE = ROOT / "deploy/kubernetes"
OVERLAYS = sorted(path.name for path in (TREE / "overlays").iterdir())


def kubectl():
    found = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if not found:
        sys.exit("deploy: kubectl is missing (apt-get install kubernetes-client)")
    return found


def parse(text):
    return [document for document in yaml.safe_load_all(text) if document]


def render(name):
    """The objects that `kubectl kustomize` makes of base or of an overlay."""
    folder = TREE / name if name == "base" else TREE / "overlays" / name
    done = subprocess.run([kubectl(), "kustomize", str(folder)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"kubectl kustomize {folder}: {done.stderr}")
    return parse(done.stdout)


def one(objects, kind, name="lathe"):
    found = [item for item in objects if item["kind"] == kind and item["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} of {kind} {name}"
    return found[0]


def by_name(items):
    return {item["name"]: item for item in items}


def environment(container):
    """{name: value} of the plain variables."""
    return {item["name"]: item["value"] for item in container.get("env", []) if "value" in item}


def without_order(value):
    """For comparing: lists of objects are merged by key, and their order means nothing."""
    if isinstance(value, dict):
        return {key: without_order(item) for key, item in value.items()}
    if isinstance(value, list):
        return sorted((without_order(item) for item in value), key=lambda item: json.dumps(item, sort_keys=True))
    return value
