"""What the tests of packaging share. $LATHE: the program."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from images import ROOT, lathe, missing_tools, unable, unpack  # noqa: E402

UNABLE = unable()
collect_ignore = ["image_test.py", "pull_image_test.py", "run_test.py"] if UNABLE else []


def pytest_terminal_summary(terminalreporter):
    if UNABLE:
        terminalreporter.write_line(f"package: images were neither unpacked nor run: {UNABLE}")


@pytest.fixture(scope="session", autouse=True)
def tools():
    fault = missing_tools()
    if fault:
        pytest.exit(f"package: {fault}", returncode=1)


@pytest.fixture(scope="session")
def engine(tmp_path_factory):
    """tales-16m for every machine with this instruction set; nothing measured, to be quick."""
    path = tmp_path_factory.mktemp("engine") / "tales.lathe"
    lathe("build", ROOT / "models/tales-16m", "-o", path, "--no-tune", "--target", "cpu", "-q")
    return path


@pytest.fixture(scope="session")
def image(engine, tmp_path_factory):
    path = tmp_path_factory.mktemp("oci") / "image"
    lathe("package", engine, "-o", path, "-q")
    return path


@pytest.fixture
def bundle(image, tmp_path):
    return unpack(image, tmp_path / "bundle")
