"""lathe.serve: the server inside this process."""
import json
import threading
import urllib.error
import urllib.request

import lathe
import pytest
from conftest import eventually

PROMPT = "Once upon a time"


def post(server, path, body):
    request = urllib.request.Request(server.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        return json.load(answer)


def complete(server, **body):
    return post(server, "/v1/completions", {"prompt": PROMPT, "temperature": 0, "max_tokens": 10} | body)["choices"][0]["text"]


def test_it_answers_beside_its_llm(idle):
    expected = idle.generate(PROMPT, temperature=0, max_tokens=10)[0].text
    with lathe.serve(idle, port=0, model_name="tales") as server:
        assert server.running and server.url == f"http://127.0.0.1:{server.port}" and server.url in repr(server)
        assert complete(server, model="tales") == expected == idle.generate(PROMPT, temperature=0, max_tokens=10)[0].text
        with lathe.serve(idle, port=0) as other:
            assert other.port != server.port and complete(other) == expected
        assert complete(server) == expected
    assert not server.running and server.stop() is True and not idle.closed
    with pytest.raises(urllib.error.URLError):
        complete(server)
    assert idle.generate(PROMPT, temperature=0, max_tokens=10)[0].text == expected


def test_one_of_its_own(engine_file):
    server = lathe.serve(engine_file, port=0, context=256)
    assert complete(server) and server.llm.info["max_context"] == 256
    server.stop()
    assert server.llm.closed


def test_it_stops_while_others_use_the_llm(idle):
    """Its own requests are cancelled; those of Python go on."""
    before = idle.stats()["submitted"]
    stream = idle.stream(PROMPT, max_tokens=400, n=16, ignore_eos=True)
    server = lathe.serve(idle, port=0)
    failed = []

    def ask():
        try:
            complete(server, max_tokens=480, n=8, temperature=1, ignore_eos=True)
        except OSError as fault:
            failed.append(fault)
    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: idle.stats()["submitted"] == before + 2)
    assert server.stop(grace=0) is False
    thread.join()
    assert len(failed) == 1
    assert sum(len(chunk.token_ids) for chunk in stream) == 16 * 400


def test_settings(llm, tmp_path):
    for settings, says in (({"port": 70000}, "port must be"), ({"prot": 1}, "there is no setting 'prot'"),
                           ({"host": "0.0.0.0"}, "keys"), ({"keys_file": "none"}, "none"),
                           ({"model_aliases": ["a,b"]}, "without commas"), ({"max_n": "x"}, "max_n must be")):
        with pytest.raises(lathe.Error, match=says):
            lathe.serve(llm, **settings)
    with pytest.raises(TypeError, match="threads is for LLM"):
        lathe.serve(llm, threads=1)
    with lathe.serve(llm, port=0, model_aliases=["a", "b"], max_body_bytes="1M", insecure_no_auth=False) as server:
        assert complete(server, model="b")
        with pytest.raises(lathe.Error, match="in use"):
            lathe.serve(llm, port=server.port)
    with pytest.raises(lathe.NotFoundError):
        lathe.serve(tmp_path / "none", port=0)
