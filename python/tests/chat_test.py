"""Conversations, tools and reasoning."""
import json

import lathe
import pytest

HELLO = [{"role": "user", "content": "Hello"}]
TOOLS = [{"type": "function", "function": {
    "name": "weather", "description": "The weather of a town.",
    "parameters": {"type": "object", "properties": {"town": {"enum": ["Oslo", "Rome"]}}, "required": ["town"],
                   "additionalProperties": False}}}]


def test_chat_is_generate_behind_the_template(llm):
    ids = llm.tokenizer.apply_chat_template(HELLO)
    output = llm.chat(HELLO, temperature=0, max_tokens=12)[0]
    assert output.prompt_token_ids == ids
    assert output.text == llm.generate(ids, temperature=0, max_tokens=12)[0].text
    assert output.message == {"role": "assistant", "content": output.text}
    assert llm.tokenizer.apply_chat_template(HELLO, tokenize=False) == output.prompt


def test_several_conversations(llm):
    outputs = llm.chat([HELLO, [{"role": "user", "content": "Tell me of a dragon"}]], temperature=0, max_tokens=6)
    assert len(outputs) == 2 and outputs[0].prompt != outputs[1].prompt


def test_chat_streams(llm):
    whole = llm.chat(HELLO, temperature=0, max_tokens=20)[0]
    chunks = list(llm.stream_chat(HELLO, temperature=0, max_tokens=20))
    assert "".join(chunk.text for chunk in chunks) == "".join(chunk.content for chunk in chunks) == whole.text


def test_continue_the_last_message(llm):
    messages = [*HELLO, {"role": "assistant", "content": "Once upon a"}]
    output = llm.chat(messages, continue_final_message=True, temperature=0, max_tokens=5)[0]
    assert output.prompt.endswith("Once upon a")


def test_a_forced_call(tools_llm):
    for choice in ("required", {"type": "function", "function": {"name": "weather"}}):
        output = tools_llm.chat(HELLO, tools=TOOLS, tool_choice=choice, parallel_tool_calls=False, max_tokens=100, seed=3)[0]
        (call,) = output.outputs[0].tool_calls
        assert call["function"]["name"] == "weather" and call["type"] == "function" and call["id"]
        assert json.loads(call["function"]["arguments"])["town"] in ("Oslo", "Rome")
        assert output.message["tool_calls"] == [call]
    pieces = [piece for chunk in tools_llm.stream_chat(HELLO, tools=TOOLS, tool_choice="required",
                                                       parallel_tool_calls=False, max_tokens=100, seed=3)
              for piece in chunk.tool_calls]
    assert pieces[0]["function"]["name"] == "weather"
    assert json.loads("".join(piece["function"]["arguments"] for piece in pieces))["town"] in ("Oslo", "Rome")


def test_what_is_wrong_with_messages(llm, tools_llm):
    cases = [
        ([{"role": "robot", "content": "x"}], {}, r"messages\[0\].role"),
        ([{"role": "user"}], {}, r"messages\[0\].content"),
        ([], {}, "messages"),
        ([{"role": "user", "content": object()}], {}, "what JSON can hold"),
        (HELLO, {"tools": TOOLS}, "knows no tools"),
        (HELLO, {"tool_choice": "required"}, "'tool_choice' needs 'tools'"),
        (HELLO, {"chat_template_kwargs": {"messages": "x"}}, "messages"),
        (HELLO, {"continue_final_message": True}, "must be the assistant's"),
    ]
    for messages, options, says in cases:
        with pytest.raises(lathe.InvalidArgumentError, match=says):
            llm.chat(messages, **options)
    with pytest.raises(lathe.InvalidArgumentError, match="leaves no room for calls"):
        tools_llm.chat(HELLO, tools=TOOLS, regex="a+")
    with pytest.raises(lathe.InvalidArgumentError, match="leave the other output format out"):
        tools_llm.chat(HELLO, tools=TOOLS, tool_choice="required", regex="a+")


def test_a_template_of_ones_own(engine_file):
    template = "{% for message in messages %}[{{ message.role }}] {{ message.content }}{% endfor %}{{ mood }}"
    with lathe.LLM(engine_file, chat_template=template) as llm:
        output = llm.chat(HELLO, max_tokens=2, chat_template_kwargs={"mood": "!"})[0]
    assert output.prompt.endswith("[user] Hello!")
