"""The official openai client against `lathe serve`: what an application built on it relies on."""
import asyncio
import hashlib
import json
import math
import re
import time

import jsonschema
import openai
import pytest
from conftest import Server
from lathe_server import ROOT

STORY = "Once upon a time there was a little"
ASK = [{"role": "user", "content": "Tell me a story about a cat."}]


def wait_idle(server):
    waited = server.wait_idle(5)
    assert waited is not None, "KV pages or sequences are left over"
    return waited


# ---- models


def test_models(client, name):
    page = client.models.list()
    assert [m.id for m in page.data][0] == name and page.data[0].object == "model"
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("no-such-model")
    assert error.value.code == "model_not_found"


def test_unknown_model_is_404(client):
    with pytest.raises(openai.NotFoundError) as error:
        client.completions.create(model="gpt-17", prompt=STORY)
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


# ---- completions


def test_completion(client, name):
    done = client.completions.create(model=name, prompt=STORY, max_tokens=20, temperature=0)
    assert done.object == "text_completion" and done.id and abs(done.created - time.time()) < 60
    assert len(done.choices) == 1 and done.choices[0].text
    assert done.choices[0].finish_reason in ("length", "stop")
    usage = done.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert usage.completion_tokens <= 20 and usage.prompt_tokens > 3


def test_greedy_repeats(client, name):
    texts = {client.completions.create(model=name, prompt=STORY, max_tokens=40, temperature=0).choices[0].text
             for _ in range(3)}
    assert len(texts) == 1


def test_seed(client, name):
    def text(seed):
        return client.completions.create(model=name, prompt=STORY, max_tokens=40, temperature=1, seed=seed).choices[0].text
    assert text(7) == text(7)
    assert len({text(seed) for seed in range(6)}) > 1


def test_n(client, name):
    done = client.completions.create(model=name, prompt=STORY, max_tokens=24, temperature=1, n=4, seed=1)
    assert [c.index for c in done.choices] == [0, 1, 2, 3]
    assert len({c.text for c in done.choices}) > 1
    assert done.usage.completion_tokens <= 4 * 24


def test_several_prompts(client, name):
    prompts = ["Once upon a time", "The dog said", "One day, Lily"]
    together = client.completions.create(model=name, prompt=prompts, max_tokens=16, temperature=0)
    alone = [client.completions.create(model=name, prompt=p, max_tokens=16, temperature=0).choices[0].text for p in prompts]
    assert [c.text for c in sorted(together.choices, key=lambda c: c.index)] == alone


def test_prompt_as_ids(client, name, server):
    _, answer = server.post("/tokenize", {"model": name, "prompt": STORY})
    as_ids = client.completions.create(model=name, prompt=answer["tokens"], max_tokens=16, temperature=0)
    as_text = client.completions.create(model=name, prompt=STORY, max_tokens=16, temperature=0)
    assert as_ids.choices[0].text == as_text.choices[0].text
    assert as_ids.usage.prompt_tokens == len(answer["tokens"]) == answer["count"]
    _, back = server.post("/detokenize", {"model": name, "tokens": answer["tokens"]})
    assert back["prompt"].endswith(STORY)


def test_echo(client, name):
    plain = client.completions.create(model=name, prompt=STORY, max_tokens=8, temperature=0)
    echoed = client.completions.create(model=name, prompt=STORY, max_tokens=8, temperature=0, echo=True)
    assert echoed.choices[0].text == STORY + plain.choices[0].text


def test_completion_logprobs(client, name):
    done = client.completions.create(model=name, prompt=STORY, max_tokens=6, temperature=0, logprobs=3)
    probs = done.choices[0].logprobs
    n = done.usage.completion_tokens
    assert len(probs.tokens) == len(probs.token_logprobs) == len(probs.top_logprobs) == len(probs.text_offset) == n
    assert "".join(probs.tokens) == done.choices[0].text
    for chosen, top in zip(probs.token_logprobs, probs.top_logprobs):
        assert chosen <= 1e-6 and max(top.values()) == pytest.approx(chosen, abs=1e-5)  # greedy takes the likeliest


def test_echo_logprobs_score_the_prompt(client, name):
    done = client.completions.create(model=name, prompt=STORY, max_tokens=0, echo=True, logprobs=1)
    probs = done.choices[0].logprobs.token_logprobs
    assert probs[0] is None and all(p is not None and p <= 1e-6 for p in probs[1:])


def test_stop(client, name):
    whole = client.completions.create(model=name, prompt=STORY, max_tokens=60, temperature=0).choices[0].text
    stop = whole[20:25]
    cut = client.completions.create(model=name, prompt=STORY, max_tokens=60, temperature=0, stop=[stop]).choices[0]
    assert cut.text == whole[:whole.index(stop)] and cut.finish_reason == "stop"
    kept = client.completions.create(model=name, prompt=STORY, max_tokens=60, temperature=0, stop=stop,
                                     extra_body={"include_stop_str_in_output": True}).choices[0]
    assert kept.text == whole[:whole.index(stop)] + stop


def test_logit_bias(client, name, server):
    _, ids = server.post("/tokenize", {"model": name, "prompt": " cat", "add_special_tokens": False})
    token = ids["tokens"][0]
    done = client.completions.create(model=name, prompt=STORY, max_tokens=3, temperature=0, logit_bias={str(token): 100})
    _, back = server.post("/detokenize", {"model": name, "tokens": [token] * 3})
    assert done.choices[0].text == back["prompt"]


def test_completion_stream(client, name):
    whole = client.completions.create(model=name, prompt=STORY, max_tokens=32, temperature=0)
    chunks = list(client.completions.create(model=name, prompt=STORY, max_tokens=32, temperature=0, stream=True,
                                            stream_options={"include_usage": True}))
    assert "".join(c.choices[0].text for c in chunks if c.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert not chunks[-1].choices and all(c.usage is None for c in chunks[:-1])
    assert len({c.id for c in chunks}) == 1
    finishes = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert finishes[-1] == whole.choices[0].finish_reason and not any(finishes[:-1])


def test_stream_of_n(client, name):
    texts = {}
    for chunk in client.completions.create(model=name, prompt=STORY, max_tokens=16, temperature=1, n=3, seed=5, stream=True):
        for choice in chunk.choices:
            texts[choice.index] = texts.get(choice.index, "") + choice.text
    whole = client.completions.create(model=name, prompt=STORY, max_tokens=16, temperature=1, n=3, seed=5)
    assert texts == {c.index: c.text for c in whole.choices}


def test_token_ids(client, name):
    done = client.completions.create(model=name, prompt=STORY, max_tokens=5, temperature=0, logprobs=0,
                                     extra_body={"return_token_ids": True, "return_tokens_as_token_ids": True})
    choice = done.choices[0].model_dump()
    assert len(choice["token_ids"]) == done.usage.completion_tokens
    assert choice["logprobs"]["tokens"] == [f"token_id:{i}" for i in choice["token_ids"]]
    assert len(choice["prompt_token_ids"]) == done.usage.prompt_tokens


def test_cached_tokens(client, name):
    long = STORY + " dog who liked to run and play in the park with the other dogs all day long." * 6
    client.completions.create(model=name, prompt=long, max_tokens=2)
    again = client.completions.create(model=name, prompt=long, max_tokens=2)
    assert 0 < again.usage.prompt_tokens_details.cached_tokens < again.usage.prompt_tokens


# ---- chat


def test_chat(client, name):
    done = client.chat.completions.create(model=name, messages=ASK, max_tokens=24, temperature=0)
    assert done.object == "chat.completion" and done.choices[0].message.role == "assistant"
    assert done.choices[0].message.content and done.usage.completion_tokens <= 24
    other = client.chat.completions.create(model=name, messages=ASK, max_completion_tokens=24, temperature=0)
    assert other.choices[0].message.content == done.choices[0].message.content


def test_chat_roles_and_parts(client, name):
    messages = [{"role": "system", "content": "Be kind."}, {"role": "user", "content": [{"type": "text", "text": "Hi."}]},
                {"role": "assistant", "content": "Hello."}, {"role": "user", "content": "A story, please."}]
    assert client.chat.completions.create(model=name, messages=messages, max_tokens=4).choices[0].message.content


def test_chat_stream(client, name):
    whole = client.chat.completions.create(model=name, messages=ASK, max_tokens=32, temperature=0)
    chunks = list(client.chat.completions.create(model=name, messages=ASK, max_tokens=32, temperature=0, stream=True,
                                                 stream_options={"include_usage": True}))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert chunks[-2].choices[0].finish_reason == whole.choices[0].finish_reason


def test_chat_stream_helper(client, name):
    # The helper counts an answer that was cut by max_tokens as a fault: end it with a stop string.
    with client.chat.completions.stream(model=name, messages=ASK, max_tokens=500, temperature=0, stop=".") as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds and final.choices[0].message.content


def test_chat_logprobs(client, name):
    done = client.chat.completions.create(model=name, messages=ASK, max_tokens=6, temperature=0, logprobs=True, top_logprobs=4)
    content = done.choices[0].logprobs.content
    assert len(content) == done.usage.completion_tokens
    for token in content:
        assert len(token.top_logprobs) == 4 and token.logprob <= 1e-6
        assert token.top_logprobs[0].logprob == pytest.approx(token.logprob, abs=1e-5)
        assert sum(math.exp(t.logprob) for t in token.top_logprobs) <= 1 + 1e-4
    raw = b"".join(bytes(token.bytes) for token in content)
    assert raw.decode(errors="ignore").startswith(done.choices[0].message.content[:5])


def test_async_client(server, name):
    async def run():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0) as client:
            calls = [client.chat.completions.create(model=name, messages=ASK, max_tokens=16, temperature=0) for _ in range(16)]
            return [done.choices[0].message.content for done in await asyncio.gather(*calls)]
    assert len(set(asyncio.run(run()))) == 1


# ---- structured output


SCHEMA = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"},
          "tags": {"type": "array", "items": {"enum": ["big", "small"]}, "maxItems": 3}},
          "required": ["name", "age", "tags"], "additionalProperties": False}


def structured(client, name, **arguments):
    return client.chat.completions.create(model=name, messages=ASK, max_tokens=300, seed=3, **arguments).choices[0]


@pytest.mark.parametrize("temperature", [0, 1])
def test_json_schema(client, name, temperature):
    form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA, "strict": True}}
    choice = structured(client, name, response_format=form, temperature=temperature)
    if choice.finish_reason == "stop":
        jsonschema.validate(json.loads(choice.message.content), SCHEMA)
    else:
        assert choice.finish_reason == "length" and choice.message.content.startswith("{")


def test_json_object(client, name):
    choice = structured(client, name, response_format={"type": "json_object"}, temperature=0.7)
    if choice.finish_reason == "stop":
        assert isinstance(json.loads(choice.message.content), dict)
    else:
        assert choice.message.content.lstrip().startswith("{")


def test_parse_into_pydantic(client, name):
    import pydantic

    class Pet(pydantic.BaseModel):
        kind: str = pydantic.Field(pattern="^(cat|dog)$")
        legs: int = pydantic.Field(ge=2, le=4)

    parsed = client.chat.completions.parse(model=name, messages=ASK, response_format=Pet, max_tokens=100, temperature=0)
    pet = parsed.choices[0].message.parsed
    assert pet.kind in ("cat", "dog") and 2 <= pet.legs <= 4


@pytest.mark.parametrize("field", ["guided_regex", "structured_outputs"])
def test_regex(client, name, field):
    pattern = r"\d{3}-\d{2} (yes|no)"
    body = {field: pattern if field == "guided_regex" else {"regex": pattern}}
    choice = structured(client, name, extra_body=body, temperature=1)
    assert re.fullmatch(pattern, choice.message.content) and choice.finish_reason == "stop"


def test_choice(client, name):
    choices = ["red", "green", "blue and yellow"]
    seen = {structured(client, name, extra_body={"guided_choice": choices}, temperature=2).message.content for _ in range(3)}
    assert seen <= set(choices)


def test_grammar(client, name):
    grammar = 'root ::= item (", " item)*\nitem ::= ("cat" | "dog") " " [1-9]\n'
    choice = structured(client, name, extra_body={"guided_grammar": grammar}, temperature=1)
    if choice.finish_reason == "stop":
        assert re.fullmatch(r"(cat|dog) [1-9](, (cat|dog) [1-9])*", choice.message.content)


def test_structured_stream(client, name):
    form = {"type": "json_schema", "json_schema": {"name": "pet", "schema": SCHEMA}}
    whole = structured(client, name, response_format=form, temperature=0).message.content
    chunks = client.chat.completions.create(model=name, messages=ASK, max_tokens=300, temperature=0, seed=3, stream=True,
                                            response_format=form)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole


@pytest.mark.parametrize("body", [
    {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nonsense"}}}},
    {"response_format": {"type": "xml"}},
    {"extra_body": {"guided_regex": "(["}},
    {"extra_body": {"guided_grammar": "root ::= missing"}},
    {"extra_body": {"guided_choice": []}},
    {"extra_body": {"guided_regex": "a", "guided_choice": ["b"]}},
])
def test_impossible_formats_are_400(client, name, body):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=name, messages=ASK, max_tokens=5, **body)
    assert error.value.param and error.value.code and error.value.body["message"]


# ---- tools


TOOLS = [{"type": "function", "function": {
    "name": "get_weather", "description": "The weather of a place.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string", "maxLength": 10},
                                                    "unit": {"enum": ["C", "F"]}},
                   "required": ["city", "unit"], "additionalProperties": False}}},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}, "additionalProperties": False}}}]
CALL = {"type": "function", "function": {"name": "get_weather"}}


def check_call(call):
    assert call.type == "function" and call.id and call.function.name == "get_weather"
    jsonschema.validate(json.loads(call.function.arguments), TOOLS[0]["function"]["parameters"])


def test_forced_tool(client, name):
    choice = client.chat.completions.create(model=name, messages=ASK, tools=TOOLS, tool_choice=CALL, max_tokens=200,
                                            temperature=0).choices[0]
    assert choice.finish_reason in ("tool_calls", "stop")
    check_call(choice.message.tool_calls[0])


def test_required_tool(client, name):
    choice = client.chat.completions.create(model=name, messages=ASK, tools=TOOLS, tool_choice="required", max_tokens=200,
                                            temperature=0, parallel_tool_calls=False).choices[0]
    assert len(choice.message.tool_calls) == 1
    assert choice.message.tool_calls[0].function.name in ("get_weather", "get_time")


def test_streamed_tool(client, name):
    whole = client.chat.completions.create(model=name, messages=ASK, tools=TOOLS, tool_choice=CALL, max_tokens=200,
                                           temperature=0).choices[0].message
    function, arguments, identity = "", "", None
    for chunk in client.chat.completions.create(model=name, messages=ASK, tools=TOOLS, tool_choice=CALL, max_tokens=200,
                                                temperature=0, stream=True):
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            if call.index == 0:
                identity = identity or call.id
                function += call.function.name or ""
                arguments += call.function.arguments or ""
    assert identity and function == "get_weather" and arguments == whole.tool_calls[0].function.arguments


def test_tool_none_and_results(client, name):
    plain = client.chat.completions.create(model=name, messages=ASK, tools=TOOLS, tool_choice="none", max_tokens=8)
    assert not plain.choices[0].message.tool_calls
    call = {"id": "call_1", "type": "function", "function": {"name": "get_weather", "arguments": '{"city":"Rome","unit":"C"}'}}
    messages = ASK + [{"role": "assistant", "content": None, "tool_calls": [call]},
                      {"role": "tool", "tool_call_id": "call_1", "content": "Sunny"}]
    assert client.chat.completions.create(model=name, messages=messages, tools=TOOLS, tool_choice="none",
                                          max_tokens=8).choices[0].message.content is not None


# ---- embeddings


def test_embeddings(client, name):
    done = client.embeddings.create(model=name, input=["A cat sat.", "A cat sat.", "Numbers and rain."], encoding_format="float")
    vectors = [d.embedding for d in done.data]
    assert [d.index for d in done.data] == [0, 1, 2] and vectors[0] == vectors[1] != vectors[2]
    assert math.sqrt(sum(x * x for x in vectors[0])) == pytest.approx(1, abs=1e-3)
    packed = client.embeddings.create(model=name, input="A cat sat.", encoding_format="base64").data[0].embedding
    import base64
    import struct
    raw = base64.b64decode(packed)
    assert list(struct.unpack(f"<{len(raw) // 4}f", raw)) == pytest.approx(vectors[0], abs=1e-6)
    assert client.embeddings.create(model=name, input="A cat sat.").data[0].embedding == pytest.approx(vectors[0], abs=1e-6)


# ---- faults


@pytest.mark.parametrize("arguments,param", [
    ({"temperature": -0.1}, "temperature"), ({"temperature": 101}, "temperature"), ({"top_p": 0}, "top_p"), ({"top_p": 1.1}, "top_p"),
    ({"n": 0}, "n"), ({"n": 1000}, "n"), ({"max_tokens": -1}, "max_tokens"), ({"presence_penalty": 2.1}, "presence_penalty"),
    ({"frequency_penalty": -3}, "frequency_penalty"), ({"logprobs": -1}, "logprobs"), ({"logprobs": 10000}, "logprobs"),
    ({"stop": [""]}, "stop"), ({"logit_bias": {"1": 101}}, "logit_bias"), ({"logit_bias": {"x": 1}}, "logit_bias"),
    ({"logit_bias": {"99999999": 1}}, "logit_bias"), ({"extra_body": {"top_k": -2}}, "top_k"), ({"extra_body": {"min_p": 2}}, "min_p"),
    ({"extra_body": {"no_such_field": 1}}, "no_such_field"), ({"extra_body": {"temperature": "hot"}}, "temperature"),
    ({"extra_body": {"stream": "yes"}}, "stream"), ({"prompt": ""}, None), ({"prompt": [99999999]}, "prompt"), ({"prompt": []}, "prompt"),
    ({"prompt": [-1]}, "prompt"), ({"suffix": "x"}, "suffix"), ({"best_of": 3}, "best_of"),
])
def test_bad_parameters_are_named(client, name, arguments, param):
    arguments = {"prompt": STORY, "max_tokens": 2} | arguments
    if param is None:  # an empty prompt is a BOS alone where the tokenizer adds one: both answers are right
        client.completions.create(model=name, **arguments)
        return
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=name, **arguments)
    assert error.value.param.split("[")[0].split(".")[0] == param, error.value.body
    assert error.value.code and error.value.type == "invalid_request_error"


def test_too_long_says_both_numbers(client, name):
    with pytest.raises(openai.BadRequestError) as error:
        client.completions.create(model=name, prompt=[5] * 5000, max_tokens=5)
    assert error.value.code == "context_length_exceeded"
    assert "5000" in error.value.body["message"].replace(",", "") and "2048" in error.value.body["message"].replace(",", "")


@pytest.mark.parametrize("messages", [[], [{"role": "wizard", "content": "x"}], [{"content": "x"}],
                                      [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]])
def test_bad_messages(client, name, messages):
    with pytest.raises(openai.BadRequestError) as error:
        client.chat.completions.create(model=name, messages=messages)
    assert error.value.param.startswith("messages")


def test_a_template_that_fails_is_400():
    with Server("--chat-template", str(ROOT / "tests/clients/refusing.jinja")) as server:
        with openai.OpenAI(base_url=server.url + "/v1", api_key="x", max_retries=0) as client:
            with pytest.raises(openai.BadRequestError) as error:
                client.chat.completions.create(model=client.models.list().data[0].id, messages=ASK)
            assert "no users, please" in error.value.body["message"]


def test_keys(tmp_path):
    keys = tmp_path / "keys.yaml"
    digest = hashlib.sha256(b"sk-right").hexdigest()
    keys.write_text(f"keys:\n  - name: tester\n    sha256: {digest}\n")
    keys.chmod(0o600)
    with Server("--keys-file", str(keys), key="sk-right") as server:
        assert server.request("GET", "/metrics", headers={"Authorization": ""})[0] == 401
        with openai.OpenAI(base_url=server.url + "/v1", api_key="sk-wrong", max_retries=0) as client:
            with pytest.raises(openai.AuthenticationError):
                client.models.list()
        with openai.OpenAI(base_url=server.url + "/v1", api_key="sk-right", max_retries=0) as client:
            assert client.models.list().data
        assert "sk-right" not in server.read_log() and "sk-wrong" not in server.read_log()


# ---- time


def test_deadline(client, name):
    begin = time.monotonic()
    with pytest.raises(openai.APIStatusError) as error:
        client.completions.create(model=name, prompt=STORY, max_tokens=1900, extra_body={"timeout": 0.05, "ignore_eos": True})
    assert error.value.status_code in (408, 504) and time.monotonic() - begin < 2


def test_client_timeout_frees_pages(client, name, server):
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.1).completions.create(model=name, prompt=STORY, max_tokens=1900,
                                                            extra_body={"ignore_eos": True})
    wait_idle(server)


def test_closing_a_stream_frees_pages(client, name, server):
    cancelled = server.metrics()["lathe_cancellations_total"]
    for _ in range(3):
        stream = client.completions.create(model=name, prompt=STORY, max_tokens=1900, stream=True,
                                           extra_body={"ignore_eos": True})
        for i, _ in enumerate(stream):
            if i == 3:
                break
        assert server.pages_used() > 0
        stream.close()
        assert wait_idle(server) < 0.5
    assert server.metrics()["lathe_cancellations_total"] >= cancelled + 3


def test_many_at_once(server, name):
    async def run():
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0, timeout=120) as client:
            async def one(i):
                text = ""
                stream = await client.completions.create(model=name, prompt=f"Story {i % 8}:", max_tokens=24, temperature=0, stream=True)
                async for chunk in stream:
                    text += chunk.choices[0].text if chunk.choices else ""
                return i % 8, text
            return await asyncio.gather(*(one(i) for i in range(64)))
    texts = {}
    for i, text in asyncio.run(run()):
        assert texts.setdefault(i, text) == text
    wait_idle(server)


# ---- what the client does not show


def test_request_ids(client, name, server):
    raw = client.completions.with_raw_response.create(model=name, prompt=STORY, max_tokens=1,
                                                      extra_headers={"X-Request-Id": "my-id-7"})
    assert raw.headers["x-request-id"] == "my-id-7"
    assert client.completions.with_raw_response.create(model=name, prompt=STORY, max_tokens=1).headers["x-request-id"]
    assert "my-id-7" in server.read_log() and STORY not in server.read_log()


def test_triton_generate(client, name, server):
    status, answer = server.post(f"/v2/models/{name}/generate", {"text_input": STORY, "max_tokens": 12, "temperature": 0})
    plain = client.completions.create(model=name, prompt=STORY, max_tokens=12, temperature=0)
    assert status == 200 and answer["text_output"].endswith(plain.choices[0].text)
    status, answer = server.post(f"/v2/models/{name}/generate", {"text_input": STORY, "beam_width": 2})
    assert status == 400 and answer["error"]["param"] == "beam_width"


def test_probes_and_version(server):
    for path in ("/livez", "/readyz", "/health", "/version", "/metrics", "/openapi.json", "/"):
        assert server.get(path)[0] == 200, path
    assert server.get("/nothing/here")[0] == 404
