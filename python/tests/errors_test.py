"""Bad input: the sentences of the command line, as exceptions."""
import pathlib
import pickle
import subprocess

import lathe
import pytest
from conftest import MODEL, ROOT
from lathe_server import program

PROMPT = "Once upon a time"


def test_the_classes():
    assert issubclass(lathe.Error, Exception)
    for kind, also, code in ((lathe.InvalidArgumentError, ValueError, "invalid_argument"),
                             (lathe.NotFoundError, FileNotFoundError, "not_found"),
                             (lathe.CorruptError, ValueError, "corrupt"),
                             (lathe.UnsupportedError, NotImplementedError, "unsupported"),
                             (lathe.MismatchError, RuntimeError, "mismatch"),
                             (lathe.ResourceExhaustedError, RuntimeError, "resource_exhausted"),
                             (lathe.IoError, OSError, "io_error"),
                             (lathe.CancelledError, RuntimeError, "cancelled"),
                             (lathe.DeadlineExceededError, TimeoutError, "deadline_exceeded"),
                             (lathe.UnavailableError, RuntimeError, "unavailable"),
                             (lathe.InternalError, RuntimeError, "internal_error")):
        fault = kind("one sentence")
        assert isinstance(fault, (lathe.Error, also)) and issubclass(kind, also) and fault.code == code
        assert str(fault) == "one sentence" and str(pickle.loads(pickle.dumps(fault))) == "one sentence"


def sentence(command):
    """What the command line says, without its name and with fields instead of flags."""
    done = subprocess.run([program(), *command], capture_output=True, text=True)
    assert done.returncode != 0
    lines = [line for line in done.stderr.splitlines() if line.startswith("lathe: ") and "building" not in line]
    return lines[0].removeprefix("lathe: ")


def test_the_same_sentences_as_the_command_line(engine_file, tmp_path):
    broken = tmp_path / "broken.lathe"
    broken.write_bytes(pathlib.Path(engine_file).read_bytes()[:10000])
    for path, kind in ((tmp_path / "none", lathe.NotFoundError), (broken, lathe.CorruptError), (tmp_path, lathe.Error)):
        with pytest.raises(kind) as fault:
            lathe.LLM(path)
        assert str(fault.value) == sentence(["run", str(path), "x"])
    for field, value, flag in (("temperature", -1, "--temperature"), ("top_p", 0, "--top-p"), ("top_k", -2, "--top-k"),
                               ("min_p", 1.5, "--min-p"), ("presence_penalty", 3, "--presence-penalty"),
                               ("frequency_penalty", -3, "--frequency-penalty"), ("n", 65, "--n"),
                               ("repetition_penalty", 0, "--repetition-penalty"), ("max_tokens", -1, "--max-tokens"),
                               ("logprobs", 21, "--logprobs"), ("stop", "x" * 300, "--stop")):
        with pytest.raises(lathe.InvalidArgumentError) as fault:
            lathe.SamplingParams(**{field: value})
        said = sentence(["run", engine_file, "x", flag, str(value)])
        assert str(fault.value).removeprefix(field) == said.removeprefix(flag), said
    for field, value in (("dtype", "f16"), ("threads", -1)):
        with pytest.raises(lathe.InvalidArgumentError, match=field):
            lathe.LLM(MODEL, **{field: value})


@pytest.mark.parametrize("field, value, says", [
    ("temperature", "hot", "temperature must be a number, but is 'hot'"),
    ("temperature", True, "temperature must be a number, but is True"),
    ("temperature", float("nan"), "temperature must be in"),
    ("top_k", 1.5, "top_k must be a whole number, but is 1.5"),
    ("max_tokens", 10**30, "max_tokens must be in"),
    ("ignore_eos", 1, "ignore_eos must be True or False, but is 1"),
    ("seed", -1, "seed must be a whole number in \\[0, 18446744073709551615\\], but is -1"),
    ("stop", 5, "stop must be text or a list of texts, but is 5"),
    ("stop", ["a", 5], "stop\\[1\\] must be text, but is 5"),
    ("stop", ["a"] * 17, "stop"),
    ("stop", "\ud800", "stop must be text without lone surrogates"),
    ("stop_token_ids", "x", "stop_token_ids must be a list of token ids, but is 'x'"),
    ("stop_token_ids", [-1], "stop_token_ids\\[0\\] must be a token id in"),
    ("logit_bias", [1], "logit_bias must be a dict"),
    ("logit_bias", {"x": 1}, "a key of logit_bias must be a token id, but is 'x'"),
    ("logit_bias", {1: 101}, "logit_bias of token 1 must be in"),
    ("prompt_logprobs", 30, "prompt_logprobs must be in"),
    ("json_schema", {"a": object()}, "json_schema must be a JSON schema"),
    ("regex", 5, "regex must be text, but is 5"),
    ("choice", [], None),
])
def test_values_of_sampling_params(llm, field, value, says):
    with pytest.raises(lathe.InvalidArgumentError, match=says):
        llm.generate(PROMPT, **{field: value})


def test_what_does_not_go_together(llm):
    with pytest.raises(lathe.InvalidArgumentError, match="grammar and regex both say what the text must be"):
        lathe.SamplingParams(regex="a", grammar="b")
    with pytest.raises(lathe.InvalidArgumentError, match="structured output says itself where the output ends"):
        lathe.SamplingParams(regex="a", ignore_eos=True)
    with pytest.raises(lathe.InvalidArgumentError, match="min_tokens must not exceed max_tokens"):
        lathe.SamplingParams(min_tokens=5, max_tokens=4)
    with pytest.raises(lathe.Error, match="regex|regular"):
        llm.generate(PROMPT, regex="(")
    with pytest.raises(lathe.Error):
        llm.generate(PROMPT, json_schema={"type": "nonsense"})


def test_names(llm):
    with pytest.raises(TypeError, match="'temprature' is no field of SamplingParams: do you mean 'temperature'?"):
        llm.generate(PROMPT, temprature=1)
    with pytest.raises(TypeError):
        lathe.LLM(MODEL, tensor_parallel_size=2)
    with pytest.raises(lathe.InvalidArgumentError, match="sampling_params must be a lathe.SamplingParams"):
        llm.generate(PROMPT, {"temperature": 1})


@pytest.mark.parametrize("prompt, says", [
    (5, "'int' object is not iterable"),
    ([5.5], "prompt must be a list of token ids, but is 5.5"),
    ([[1, "x"]], "prompt\\[1\\] must be a whole number, but is 'x'"),
    ([10**7], "prompt id 0 must be in"),
    ([-1], "prompt id 0 must be in"),
    ({"text": "x"}, "must have one of 'prompt' and 'prompt_token_ids', but has \\['text'\\]"),
    ({"prompt": "x", "prompt_token_ids": [1]}, "must have one of"),
    ("word " * 5000, "context"),
    ("a\udc80", "prompt must be text without lone surrogates"),
])
def test_prompts(llm, prompt, says):
    with pytest.raises((lathe.InvalidArgumentError, TypeError), match=says):
        llm.generate(prompt)


def test_one_bad_prompt_cancels_the_others(idle):
    before = idle.stats()
    with pytest.raises(lathe.InvalidArgumentError):
        idle.generate([PROMPT, PROMPT, [-1]], max_tokens=400, ignore_eos=True)
    assert idle.stats()["submitted"] - before["submitted"] == 2


def test_options_of_an_llm(engine_file):
    for options, says in (({"threads": 5000}, "threads"), ({"context": 10**6}, "context"),
                          ({"kv_bytes": "many"}, "kv_bytes"), ({"target": "tpu"}, "tpu"),
                          ({"gpu_memory_fraction": 2}, "gpu_memory_fraction"),
                          ({"chat_template": "none.jinja"}, "none.jinja"), ({"chat_template": "{% if %}"}, "line 1")):
        with pytest.raises(lathe.Error, match=says):
            lathe.LLM(MODEL if "target" in options else engine_file, **options)
    with pytest.raises(lathe.InvalidArgumentError, match="model must be an engine file or a model's directory"):
        lathe.LLM(5)


def test_after_close(engine_file):
    llm = lathe.LLM(engine_file)
    stream = llm.stream(PROMPT, max_tokens=500, ignore_eos=True)
    next(stream)
    llm.close()
    llm.close()
    assert llm.closed and "closed" in repr(llm)
    with pytest.raises(lathe.CancelledError, match="its LLM was closed"):
        list(stream)
    for use in (lambda: llm.generate(PROMPT), lambda: llm.stats(), lambda: llm.embed(PROMPT),
                lambda: llm.chat([{"role": "user", "content": "x"}])):
        with pytest.raises(lathe.UnavailableError, match="this LLM is closed"):
            use()


def test_no_pickles_and_copies_of_an_llm(llm):
    import copy
    for make in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="send its model's path and open it there"):
            make(llm)
    params = lathe.SamplingParams(temperature=0.5, stop=["x"])
    assert pickle.loads(pickle.dumps(params)) == params == copy.deepcopy(params)
    assert repr(params) == "SamplingParams(temperature=0.5, stop=['x'])"
    assert params.replace(stop=None).stop is None


def test_names_agree_with_the_tables():
    """No option of an LLM is missing in Python, and none is there that the table lacks."""
    import inspect

    from lathe import _lathe
    own = set(inspect.signature(lathe.LLM).parameters) - {"model", "progress"}
    assert own == set(_lathe.llm_settings())
    assert set(inspect.signature(lathe.SamplingParams).parameters) == set(lathe.SamplingParams.__slots__)
    assert (ROOT / "docs/server-limits.md").exists() and "port" in _lathe.server_settings()
