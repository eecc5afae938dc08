"""Streaming in a thread: chunks add up to the answer, and leaving cancels it."""
import lathe
import pytest
from conftest import eventually

PROMPT = "Once upon a time"


def test_chunks_add_up(idle):
    whole = idle.generate(PROMPT, temperature=0, max_tokens=50, logprobs=1)[0]
    stream = idle.stream(PROMPT, temperature=0, max_tokens=50, logprobs=1)
    chunks = list(stream)
    assert len(chunks) > 5
    assert "".join(chunk.text for chunk in chunks) == "".join(chunk.content for chunk in chunks) == whole.text
    assert [id for chunk in chunks for id in chunk.token_ids] == whole.outputs[0].token_ids
    assert [entry for chunk in chunks for entry in chunk.logprobs] == whole.outputs[0].logprobs
    assert [chunk.finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].finish_reason == whole.outputs[0].finish_reason and chunks[-1].last
    assert chunks[-1].usage == (len(whole.prompt_token_ids), chunks[-1].usage[1], len(whole.outputs[0].token_ids))
    assert stream.output.outputs == whole.outputs
    assert repr(chunks[0]).startswith("Chunk(index=0, text=")
    assert list(stream) == []


def test_several_continuations(idle):
    params = lathe.SamplingParams(n=3, seed=5, max_tokens=20)
    whole = idle.generate(PROMPT, params)[0]
    texts = ["", "", ""]
    ends = []
    for chunk in idle.stream(PROMPT, params):
        texts[chunk.index] += chunk.text
        if chunk.finish_reason:
            ends.append(chunk.index)
    assert texts == [one.text for one in whole.outputs] and sorted(ends) == [0, 1, 2]


def test_a_slow_reader_gets_more_at_once(idle):
    stream = idle.stream(PROMPT, max_tokens=100, ignore_eos=True, temperature=0)
    chunks = [next(stream)]
    eventually(lambda: stream.output.outputs[0].finish_reason)
    chunks += stream
    assert len(chunks) <= 2 and chunks[-1].last  # the first may have been late already
    ids = [id for chunk in chunks for id in chunk.token_ids]
    assert len(ids) == 100 and ids == stream.output.outputs[0].token_ids


def test_leaving_cancels(idle):
    before = idle.stats()["cancelled"]
    for chunk in idle.stream(PROMPT, max_tokens=500, ignore_eos=True):
        break
    with idle.stream(PROMPT, max_tokens=500, ignore_eos=True) as stream:
        next(stream)
    stream = idle.stream(PROMPT, max_tokens=500, ignore_eos=True)
    del stream, chunk
    eventually(lambda: idle.stats()["cancelled"] >= before + 3)


def test_show_prints_as_it_comes(idle, capsys):
    output = idle.show(PROMPT, temperature=0, max_tokens=12)
    assert capsys.readouterr().out == PROMPT + output.text + "\n"
    assert isinstance(output, lathe.RequestOutput) and output.outputs[0].finish_reason == "length"
    output._ipython_display_()  # IPython shows nothing the first time, as it has been seen
    assert not hasattr(output, "_ipython_display_")
    output = idle.show([{"role": "user", "content": "Hello"}], max_tokens=5)
    assert capsys.readouterr().out == output.text + "\n"


def test_faults_come_before_the_first_chunk(idle):
    with pytest.raises(lathe.InvalidArgumentError, match="temperature must be in"):
        idle.stream(PROMPT, temperature=-1)
    with pytest.raises(lathe.InvalidArgumentError):
        idle.stream([1] * 100000)
