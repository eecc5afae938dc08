"""What the tests of deployment share. $LATHE: the program."""
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]
from lathe_server import Server, program  # noqa: E402


@pytest.fixture(scope="session")
def lathe():
    return str(program())


@pytest.fixture(scope="session")
def server():
    with Server("--log-level", "warn") as running:
        yield running
