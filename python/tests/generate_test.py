"""generate: shapes, parameters, what comes back."""
import math
import subprocess
import threading

import lathe
import pytest
from conftest import MODEL, eventually
from lathe_server import program

PROMPT = "Once upon a time"


def test_the_example_of_the_issue(tmp_path, monkeypatch):
    """A directory: built into the cache, which is empty here, and found there the second time."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    seen = []
    text = lathe.LLM(MODEL, progress=lambda *now: seen.append(now)).generate(PROMPT)[0].text
    assert len(text) > 20 and {"reading", "packing"} <= {stage for stage, _, _ in seen}
    built = list(tmp_path.glob("lathe/*.lathe"))
    assert len(built) == 1
    again = []
    with lathe.LLM(MODEL, progress=lambda *now: again.append(now)) as llm:
        assert again == [] and llm.engine_path == str(built[0])


def test_same_text_as_the_command_line(llm):
    command = [program(), "run", llm.engine_path, PROMPT, "--temperature", "0", "--max-tokens", "60", "--quiet"]
    expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert llm.generate(PROMPT, temperature=0, max_tokens=60)[0].text.rstrip("\n") == expected.rstrip("\n")


def test_shapes(llm):
    outputs = llm.generate([PROMPT, "The old king"], lathe.SamplingParams(max_tokens=8, n=2, seed=1))
    assert [output.prompt for output in outputs] == [PROMPT, "The old king"]
    for output in outputs:
        assert output.finished and output.prompt_token_ids == llm.tokenizer.encode(output.prompt)
        assert [one.index for one in output.outputs] == [0, 1]
        assert output.text == output.outputs[0].text
        assert output.num_generated_tokens == sum(len(one.token_ids) for one in output.outputs)
        assert 0 <= output.metrics.queued <= output.metrics.first_token <= output.metrics.last_token
        for one in output.outputs:
            assert one.finish_reason in ("stop", "length") and len(one.token_ids) <= 8
            assert one.logprobs is None and one.cumulative_logprob is None
            assert one.text == llm.tokenizer.decode(one.token_ids, skip_special_tokens=True)
    assert len({output.request_id for output in outputs}) == 2


def test_every_way_to_write_a_prompt(llm):
    ids = llm.tokenizer.encode(PROMPT)
    ways = [PROMPT, [PROMPT], (PROMPT,), ids, tuple(ids), [ids], {"prompt": PROMPT}, [{"prompt_token_ids": ids}]]
    texts = [llm.generate(way, temperature=0, max_tokens=6)[0].text for way in ways]
    assert len(set(texts)) == 1
    assert llm.generate([]) == []
    mixed = llm.generate([PROMPT, ids], temperature=0, max_tokens=6)
    assert [output.prompt for output in mixed] == [PROMPT, None]


def test_one_params_for_each_prompt(llm):
    params = [lathe.SamplingParams(max_tokens=n, ignore_eos=True) for n in (3, 5)]
    outputs = llm.generate([PROMPT, PROMPT], params)
    assert [len(output.outputs[0].token_ids) for output in outputs] == [3, 5]
    with pytest.raises(lathe.InvalidArgumentError, match="one for each of the 1 prompts, but are 2"):
        llm.generate(PROMPT, params)


def test_seed_and_defaults(llm):
    def run(**options):
        return llm.generate(PROMPT, max_tokens=30, **options)[0].text
    assert run(seed=7) == run(seed=7)
    assert len({run() for _ in range(4)}) > 1
    assert run(seed=7, temperature=0) == run(seed=8, temperature=0)
    defaults = llm.default_sampling_params()
    assert run(seed=7) == run(seed=7, temperature=defaults.temperature, top_p=defaults.top_p, top_k=defaults.top_k)


def test_stops(llm):
    whole = llm.generate(PROMPT, temperature=0, max_tokens=40, ignore_eos=True)[0]
    word = whole.text.split()[5]
    cut = llm.generate(PROMPT, temperature=0, max_tokens=40, stop=word)[0].outputs[0]
    assert cut.text == whole.text[:whole.text.index(word)] and cut.finish_reason == "stop"
    kept = llm.generate(PROMPT, temperature=0, max_tokens=40, stop=[word], include_stop_str_in_output=True)[0]
    assert kept.text == cut.text + word
    id = whole.outputs[0].token_ids[4]
    ended = llm.generate(PROMPT, temperature=0, max_tokens=40, stop_token_ids=[id])[0].outputs[0]
    assert ended.token_ids[-1] == id and ended.finish_reason == "stop" and len(ended.token_ids) <= 5
    assert whole.outputs[0].finish_reason == "length"


def test_logprobs(llm):
    output = llm.generate(PROMPT, temperature=0, max_tokens=5, logprobs=3, prompt_logprobs=1)[0]
    one = output.outputs[0]
    assert len(one.logprobs) == len(one.token_ids)
    for id, entry in zip(one.token_ids, one.logprobs, strict=True):
        assert len(entry) == 3 and entry[id].rank == 1  # greedy
        assert sorted((p.logprob for p in entry.values()), reverse=True) == [p.logprob for p in entry.values()]
        assert entry[id].decoded_token == llm.tokenizer.token_bytes(id).decode("utf-8", "replace")
    assert math.isclose(one.cumulative_logprob, sum(e[i].logprob for i, e in zip(one.token_ids, one.logprobs, strict=True)))
    assert output.prompt_logprobs[0] is None and len(output.prompt_logprobs) == len(output.prompt_token_ids)
    assert output.prompt_token_ids[1] in output.prompt_logprobs[1]
    chosen_only = llm.generate(PROMPT, temperature=0, max_tokens=2, logprobs=0)[0].outputs[0]
    assert [list(entry) for entry in chosen_only.logprobs] == [[id] for id in chosen_only.token_ids]


def test_logit_bias_and_bad_words(llm):
    id = llm.tokenizer.encode("dragon", add_special_tokens=False)[0]
    assert set(llm.generate(PROMPT, max_tokens=4, temperature=0, logit_bias={id: 100})[0].outputs[0].token_ids) == {id}
    plain = llm.generate(PROMPT, max_tokens=20, temperature=0)[0].text
    word = max(plain.split(), key=len).strip(".,!?\"'")
    assert word not in llm.generate(PROMPT, max_tokens=20, temperature=0, bad_words=[word])[0].text.split()


def test_structured_output(llm):
    import json
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99, "minimum": 0}},
              "required": ["age"], "additionalProperties": False}
    for given in (schema, json.dumps(schema)):
        value = json.loads(llm.generate(PROMPT, json_schema=given, max_tokens=60)[0].text)
        assert set(value) == {"age"} and 0 <= value["age"] <= 99

    class Person:
        @classmethod
        def model_json_schema(cls):
            return schema
    assert set(json.loads(llm.generate(PROMPT, json_schema=Person, max_tokens=60)[0].text)) == {"age"}
    assert llm.generate(PROMPT, choice=["red", "green"])[0].text in ("red", "green")
    assert llm.generate(PROMPT, regex="[ab]{3}")[0].text.strip("ab") == ""
    assert llm.generate(PROMPT, grammar='root ::= "x" | "yy"')[0].text in ("x", "yy")


def test_deadline(llm):
    output = llm.generate(PROMPT, ignore_eos=True, max_tokens=400, timeout=0.02)[0].outputs[0]
    assert output.finish_reason == "deadline" and len(output.token_ids) < 400


def test_more_prompts_than_the_queue_holds(engine_file):
    with lathe.LLM(engine_file, max_queued_requests=4, max_sequences=2) as llm:
        outputs = llm.generate([f"Story {i}" for i in range(40)], max_tokens=3, ignore_eos=True)
    assert [output.prompt for output in outputs] == [f"Story {i}" for i in range(40)]
    assert {output.num_generated_tokens for output in outputs} == {3}


def test_several_threads_and_several_llms(llm, engine_file):
    expected = llm.generate(PROMPT, temperature=0, max_tokens=20)[0].text
    texts = []
    with lathe.LLM(engine_file, threads=1) as other:
        def run(one):
            for _ in range(5):
                texts.append(one.generate(PROMPT, temperature=0, max_tokens=20)[0].text)
        threads = [threading.Thread(target=run, args=(one,)) for one in (llm, other, llm)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(texts) == 15 and set(texts) == {expected}


def test_other_python_threads_run_meanwhile(llm):
    """The lock of the interpreter is given away while tokens are made."""
    turns = 0
    done = threading.Event()

    def count():
        nonlocal turns
        while not done.is_set():
            turns += 1
            done.wait(0.001)
    thread = threading.Thread(target=count)
    thread.start()
    llm.generate(PROMPT, max_tokens=150, ignore_eos=True)
    done.set()
    thread.join()
    assert turns > 5


def test_embeddings(llm):
    one, same, other = llm.embed([PROMPT, PROMPT, "The quick brown fox"])
    assert one.embedding == same.embedding != other.embedding
    assert math.isclose(sum(x * x for x in one.embedding), 1, rel_tol=1e-5)
    assert one.prompt == PROMPT and one.prompt_token_ids == llm.tokenizer.encode(PROMPT)
    raw = llm.embed(PROMPT, normalize=False)[0].embedding
    length = sum(x * x for x in raw) ** 0.5
    assert all(math.isclose(a / length, b, rel_tol=1e-6, abs_tol=1e-9) for a, b in zip(raw, one.embedding, strict=True))


def test_stats(engine_file):
    with lathe.LLM(engine_file, threads=1) as llm:
        assert llm.stats()["submitted"] == llm.stats()["generated_tokens"] == 0
        llm.generate(PROMPT, max_tokens=5, ignore_eos=True)
        eventually(lambda: llm.stats()["finished"] == 1)  # counted when the step is over
        stats = llm.stats()
    assert stats["submitted"] == 1 and stats["generated_tokens"] == 5 and stats["accepting"] is True


def test_info(llm):
    assert llm.info["name"] == "tales-16m" and llm.info["vocab_size"] == llm.tokenizer.vocab_size
    assert "tales" in repr(llm) and "context" in repr(llm)


def test_progress_of_a_batch(llm, capfd):
    llm.generate([PROMPT] * 3, max_tokens=3, progress=True)  # no terminal here: nothing for so short a run
    assert capfd.readouterr().err == ""


def test_outputs_are_values(llm):
    import copy
    import pickle
    output = llm.generate(PROMPT, temperature=0, max_tokens=4, logprobs=1)[0]
    assert pickle.loads(pickle.dumps(output)) == output == copy.deepcopy(output)
    assert repr(output).startswith("RequestOutput(request_id=")
