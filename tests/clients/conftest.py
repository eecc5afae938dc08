"""Servers that the client suites share."""
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from lathe_server import ROOT, Server  # noqa: E402


@pytest.fixture(scope="session")
def server():
    flags = ("--chat-template", str(ROOT / "tests/clients/tools.jinja"), "--tool-format", "hermes")
    with Server(*flags) as running:
        yield running


@pytest.fixture(scope="session")
def client(server):
    import openai
    with openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=60) as made:
        yield made


@pytest.fixture(scope="session")
def name(client):
    return client.models.list().data[0].id
