"""The OCI layout: other tools take it, and it is the same whenever it is made."""
import gzip
import io
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tarfile
import time

import pytest
from images import ROOT, lathe, layout, one_sentence, program, run, size_of, tree, unpack

# Without weights, compressed. (docs/package.md, "Size")
CPU_LIMIT, CUDA_LIMIT = 40e6, 600e6


def test_skopeo_reads_it(image):
    shown = json.loads(run("skopeo", "inspect", f"oci:{image}:latest").stdout)
    assert shown["Os"] == "linux" and shown["Architecture"] in ("amd64", "arm64")
    assert len(shown["Layers"]) == 3
    assert shown["Labels"]["org.opencontainers.image.title"] == "tales-16m"
    assert shown["Labels"]["lathe.engine.target"].startswith("cpu:")
    config = json.loads(run("skopeo", "inspect", "--config", f"oci:{image}:latest").stdout)["config"]
    assert config["Entrypoint"] == ["/usr/bin/lathe"] and config["Cmd"] == ["serve"]
    assert config["User"] == "65532:65532" and config["StopSignal"] == "SIGTERM"
    raw = json.loads(run("skopeo", "inspect", "--raw", f"oci:{image}:latest").stdout)
    assert raw == layout(image)[0]


@pytest.mark.parametrize("to", ["oci", "docker-archive"])
def test_skopeo_copies_it(image, tmp_path, to):
    # Without it skopeo compresses the engine's layer, for minutes where the engine is large.
    keep = ["--preserve-digests"] if to == "oci" else []
    name = f"{to}:{tmp_path}/copy:latest" if to == "oci" else f"{to}:{tmp_path}/copy:tales:latest"
    run("skopeo", "--insecure-policy", "copy", *keep, f"oci:{image}:latest", name)
    config = json.loads(run("skopeo", "inspect", "--config", name).stdout)
    assert config["rootfs"] == layout(image)[1]["rootfs"]
    if to == "oci":  # unchanged: what is pulled by digest is this
        ours, theirs = (json.loads((path / "index.json").read_text())["manifests"][0]["digest"]
                        for path in (image, tmp_path / "copy"))
        assert ours == theirs


def test_umoci_unpacks_it(image, engine, bundle):
    root = bundle / "rootfs"
    assert (root / "models/tales.lathe").read_bytes() == engine.read_bytes()
    assert (root / "usr/bin/lathe").read_bytes() == program().read_bytes()
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert "nonroot:x:65532:65532:" in (root / "etc/passwd").read_text()
    assert (root / "etc/ssl/certs/ca-certificates.crt").stat().st_size > 100000
    assert len(list((root / "usr/share/doc/lathe/licences").glob("*.txt"))) > 10
    assert json.loads((root / "usr/share/doc/lathe/sbom.spdx.json").read_text()) == json.loads(
        (image / "sbom.spdx.json").read_text())
    config = json.loads((bundle / "config.json").read_text())
    assert config["process"]["args"] == ["/usr/bin/lathe", "serve"]
    assert config["process"]["user"]["uid"] == 65532
    # Nothing that its user could change but /tmp.
    for path, (mode, user, group, _) in tree(root).items():
        assert (user, group) == (0, 0) and (mode & 0o022 == 0 or path == "tmp"), path


def test_layers_by_another_reader(image):
    """Python's tarfile agrees, and finds no name, owner or time of this machine."""
    manifest, config = layout(image)
    for layer, diff_id in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
        data = (image / "blobs/sha256" / layer["digest"][7:]).read_bytes()
        if layer["mediaType"].endswith("+gzip"):
            assert data[4:8] == b"\0\0\0\0" and data[3] == 0  # no time, no name
            data = gzip.decompress(data)
        import hashlib
        assert "sha256:" + hashlib.sha256(data).hexdigest() == diff_id
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = archive.getmembers()
        assert [member.name for member in members] == sorted(member.name for member in members)
        for member in members:
            assert (member.uid, member.gid, member.uname, member.gname, member.mtime) == (0, 0, "", "", 0)
            assert member.isfile() or member.isdir()


def test_same_digest_from_elsewhere(engine, image, tmp_path):
    """Another folder, umask, time of the file and of the day, and locale."""
    (tmp_path / "deep/er").mkdir(parents=True)
    copy = tmp_path / "deep/er" / engine.name
    shutil.copyfile(engine, copy)
    copy.chmod(0o600)
    os.utime(copy, (1, 1))
    environment = os.environ | {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "HOME": str(tmp_path)}
    subprocess.run(["bash", "-c", f"umask 077; cd {tmp_path}/deep; exec {program()} package er/{engine.name} -o out -q"],
                   check=True, env=environment)
    assert (tmp_path / "deep/out/index.json").read_text() == (image / "index.json").read_text()
    lathe("package", engine, "-o", tmp_path / "dated", "-q", env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"})
    manifest, config = layout(tmp_path / "dated")
    assert config["created"] == "2023-11-14T22:13:20Z"


def test_size_for_cpus(image):
    everything, without = size_of(layout(image)[0])
    print(f"image: {everything / 1e6:.1f} MB, without the engine {without / 1e6:.2f} MB compressed")
    assert without <= CPU_LIMIT


def nvrtc_folder():
    folder = pathlib.Path(os.environ.get("LATHE_NVRTC", ROOT / "build/kernels-venv/nvrtc"))
    return folder if folder.is_dir() else None


def test_size_with_nvidias_compiler(tmp_path):
    if nvrtc_folder() is None:
        print("no NVRTC on this machine (make test-kernels brings it): size with it not measured")
        return
    lathe("package", "--pull", "org/name", "--with-nvrtc", nvrtc_folder(), "-o", tmp_path / "image", "-q")
    manifest, config = layout(tmp_path / "image")
    everything, _ = size_of(manifest)
    root = unpack(tmp_path / "image", tmp_path / "bundle") / "rootfs"
    nvidia = sum(path.stat().st_size for path in (root / "usr/lib").glob("libnvrtc*"))
    print(f"image with NVRTC: {everything / 1e6:.1f} MB compressed; NVIDIA's files {nvidia / 1e6:.1f} MB unpacked")
    assert everything <= CUDA_LIMIT
    assert "NVIDIA_VISIBLE_DEVICES=all" in config["config"]["Env"]


def test_bill_of_materials_is_valid(image):
    from spdx_tools.spdx.parser.parse_anything import parse_file
    from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
    document = parse_file(str(image / "sbom.spdx.json"))
    faults = validate_full_spdx_document(document)
    assert not faults, "\n".join(fault.validation_message for fault in faults)
    names = {package.name for package in document.packages}
    assert {"lathe", "OpenSSL", "Boost", "libc", "libstdc++", "tales-16m", "ca-certificates"} <= names
    for package in document.packages:
        if package.name not in ("tales-16m",):  # a container and a model have no release of their own
            assert package.version, package.name
    # Every file that is loaded is listed with the digest that it has in the image.
    listed = {package.file_name: package.checksums[0].value for package in document.packages
              if package.file_name and package.file_name.startswith("/")}
    manifest, _ = layout(image)
    import hashlib
    found = {}
    for layer in manifest["layers"]:
        with tarfile.open(image / "blobs/sha256" / layer["digest"][7:]) as archive:
            for member in archive:
                if member.isfile():
                    found["/" + member.name] = hashlib.sha256(archive.extractfile(member).read()).hexdigest()
    programs = {path for path in found if ".so" in path or path.startswith(("/usr/bin/", "/models/"))}
    assert programs <= set(listed), programs - set(listed)
    assert all(found[path] == digest for path, digest in listed.items())


def test_full_disk_and_interruption_leave_nothing(engine, tmp_path):
    small = tmp_path / "small"
    small.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", small)
    try:
        one_sentence(lathe("package", engine, "-o", small / "image", "-q", check=False), "MiB", "free")
        assert list(small.iterdir()) == []
    finally:
        run("umount", small)
    for delay in (0.0, 0.05, 0.2, 0.5):
        process = subprocess.Popen([program(), "package", engine, "-o", tmp_path / "out/image"], stderr=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL)
        (tmp_path / "out").mkdir(exist_ok=True)
        time.sleep(delay)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        left = [path.name for path in (tmp_path / "out").iterdir()]
        assert (code == 0 and left == ["image"]) or (code in (128 + 15, -15) and left == []), (code, left)
        shutil.rmtree(tmp_path / "out")


def test_faults_are_one_sentence(engine, image, tmp_path):
    damaged = tmp_path / "damaged.lathe"
    data = bytearray(engine.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    one_sentence(lathe("package", damaged, "-o", tmp_path / "x", "-q", check=False), "damaged.lathe", "checksum", "build it again")
    damaged.write_bytes(data[:5000])
    one_sentence(lathe("package", damaged, "-o", tmp_path / "x", "-q", check=False), "truncated")
    damaged.unlink()
    one_sentence(lathe("package", engine, "-o", image, "-q", check=False), "exists", "--force")
    one_sentence(lathe("package", tmp_path / "none.lathe", "-o", tmp_path / "x", "-q", check=False), "none.lathe")
    one_sentence(lathe("package", ROOT / "models/tales-16m", "-o", tmp_path / "x", "-q", check=False), "lathe build")
    one_sentence(lathe("package", engine, "-o", tmp_path / "x", "--format", "zip", "-q", check=False), "oci, dockerfile or truss")
    one_sentence(lathe("package", engine, "-o", tmp_path / "x", "--setting", "port=1", "-q", check=False), "--port", code=2)
    one_sentence(lathe("package", "-o", tmp_path / "x", "-q", check=False), "--pull")
    assert list(tmp_path.iterdir()) == []


def test_engine_of_another_machine(tmp_path):
    """It may be packaged, and says what it fits; with --run-here it is refused."""
    engine = tmp_path / "other.lathe"
    target = "cpu:avx512bf16"
    lathe("build", ROOT / "models/tales-16m", "-o", engine, "--no-tune", "--target", target, "-q")
    done = lathe("package", engine, "-o", tmp_path / "image")
    assert f"runs on {target}" in done.stdout
    assert layout(tmp_path / "image")[1]["config"]["Labels"]["lathe.engine.target"] == target
    done = lathe("package", engine, "-o", tmp_path / "here", "--run-here", check=False)
    if "avx512_bf16" in pathlib.Path("/proc/cpuinfo").read_text():
        assert done.returncode == 0, done.stderr
    else:
        one_sentence(done, "avx512bf16", "lathe build")
        assert not (tmp_path / "here").exists()
