#!/usr/bin/env python3
"""Checks that includes flow one way (docs/architecture.md), from the table in tools/layers.toml.

Fails on an include outside the table, a folder below src/ that the table lacks, a cycle between folders, a
quoted include that is no file of ours, and a dependency in CMakeLists.txt that the table does not allow.
Tests (*_test.cc, test_*.h, testing/) may include anything. Usage: check_layers.py [ROOT]
"""
import pathlib
import re
import sys
import tomllib

TEST = re.compile(r"_test\.cc$|/test_[^/]*$|/testing/")
INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"', re.M)


def layer_of(path, layers):
    """The longest entry of the table that is `path` (a folder) or a parent of it."""
    parts = path.split("/")
    for n in range(len(parts), 0, -1):
        if "/".join(parts[:n]) in layers:
            return "/".join(parts[:n])
    return None


def find_cycle(edges):
    """A list of folders that include each other in a ring, or None."""
    done, trail = set(), []

    def visit(node):
        if node in trail:
            return trail[trail.index(node):] + [node]
        if node in done:
            return None
        trail.append(node)
        for after in sorted(edges.get(node, ())):
            if ring := visit(after):
                return ring
        trail.pop()
        done.add(node)
        return None

    return next((ring for node in sorted(edges) if (ring := visit(node))), None)


def check(root):
    """All faults of the tree below `root`, as printable lines."""
    layers = tomllib.loads((root / "tools/layers.toml").read_text())["may_include"]
    faults, edges = [], {}
    for file in sorted(f for top in ("include", "src", "apps") for f in (root / top).rglob("*")
                       if f.suffix in (".h", ".cc")):
        name = str(file.relative_to(root))
        folder = "include" if name.startswith("include/") else str(file.parent.relative_to(root)).removeprefix("src/")
        layer = layer_of(folder, layers)
        if layer is None:
            faults.append(f"{name}: folder '{folder}' is not in tools/layers.toml")
            continue
        if TEST.search(name):
            continue
        for included in INCLUDE.findall(file.read_text()):
            if (root / "include" / included).is_file():
                target = "include"
            elif (root / "src" / included).is_file():
                target = layer_of(included.rpartition("/")[0], layers)
            # apps include from their own folder, and so do device sources, which the device's compiler reads too
            elif (root / layer / included).is_file() or (file.parent / included).is_file():
                target = layer
            else:
                faults.append(f"{name}: \"{included}\" is no file below include/ or src/")
                continue
            if target != layer and "*" not in layers[layer]:
                edges.setdefault(layer, set()).add(target)
                if target not in layers[layer]:
                    faults.append(f"{name}: {layer} may not include {target} (\"{included}\")")
    if ring := find_cycle(edges):
        faults.append("cycle: " + " -> ".join(ring))
    modules = re.findall(r"^lathe_module\((\S+)\s+DEPS ([^)]*)\)", (root / "CMakeLists.txt").read_text(), re.M)
    for module, dependencies in modules:
        for dependency in dependencies.partition("TEST_DEPS")[0].split():
            if dependency in layers and dependency not in layers.get(module, ()):
                faults.append(f"CMakeLists.txt: {module} may not depend on {dependency}")
    return faults


if __name__ == "__main__":
    found = check(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parents[1])
    print("\n".join(found) if found else "layers: every include flows down")
    sys.exit(1 if found else 0)
