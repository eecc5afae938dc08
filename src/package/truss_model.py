"""A Truss model over lathe.

Request: {"prompt": "..."} or {"messages": [{"role", "content"}, ...]}, and, as OpenAI's API names them, max_tokens,
temperature, top_p, seed, stop, stream and so on. Answer: {"text", "finish_reason"}, of a chat with "message"; with
"stream": true the text itself, in pieces as they come.
"""
import os
import pathlib

import lathe

SAMPLING = ("max_tokens", "min_tokens", "temperature", "top_p", "top_k", "min_p", "seed", "stop", "presence_penalty",
            "frequency_penalty", "repetition_penalty", "json_schema", "regex")


class Model:
    def __init__(self, **kwargs):
        engines = sorted(pathlib.Path(kwargs.get("data_dir", "data")).glob("*.lathe"))
        self.source = str(engines[0]) if engines else os.environ["LATHE_MODEL"]
        self.llm = None

    def load(self):
        self.llm = lathe.LLM(self.source)

    async def predict(self, model_input):
        params = lathe.SamplingParams(
            **{name: model_input[name] for name in SAMPLING if model_input.get(name) is not None})
        messages = model_input.get("messages")
        if model_input.get("stream"):
            stream = (self.llm.astream(model_input["prompt"], params) if messages is None
                      else self.llm.astream_chat(messages, params))
            return self.pieces(stream)
        if messages is None:
            output = (await self.llm.agenerate(model_input["prompt"], params))[0]
        else:
            output = await self.llm.achat(messages, params)
        answer = {"text": output.text, "finish_reason": output.outputs[0].finish_reason}
        return answer if messages is None else answer | {"message": output.message}

    @staticmethod
    async def pieces(stream):
        # A client that goes away closes this generator, and with it the request.
        async with stream:
            async for chunk in stream:
                if chunk.text:
                    yield chunk.text
