"""LLM: a model that answers."""
from __future__ import annotations

import sys

from . import _lathe
from ._errors import InvalidArgumentError, ResourceExhaustedError
from ._outputs import EmbeddingOutput, RequestOutput, ShownOutput, output_of
from ._progress import Bar, Events
from ._sampling import SamplingParams, params_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any, Union

    from ._async import AsyncStream
    from ._progress import Progress
    from ._tokenizer import Tokenizer

    Prompt = Union[str, Sequence[int], Mapping[str, Any]]
    Message = Mapping[str, Any]
    Tool = Mapping[str, Any]

# How long a wait may last before Python looks for signals: Ctrl-C is answered within it.
_POLL_S = 0.02


def _one_prompt(prompt: Any) -> str | Sequence[int]:
    """The text or ids of a prompt; vLLM's dicts are understood."""
    if isinstance(prompt, dict):
        keys = [key for key in ("prompt", "prompt_token_ids") if prompt.get(key) is not None]
        if len(keys) != 1 or len(prompt) != 1:
            raise InvalidArgumentError(
                f"a prompt that is a dict must have one of 'prompt' and 'prompt_token_ids', but has {sorted(prompt)}")
        return prompt[keys[0]]
    return prompt


def _many_prompts(prompts: Any) -> list[Any]:
    if isinstance(prompts, (str, dict)):
        return [_one_prompt(prompts)]
    prompts = list(prompts)
    if prompts and all(hasattr(item, "__index__") for item in prompts):
        return [prompts]
    return [_one_prompt(prompt) for prompt in prompts]


def _many_params(given: Any, changes: dict[str, Any], n: int) -> list[SamplingParams]:
    """One for each prompt."""
    if given is None or isinstance(given, SamplingParams):
        return [params_of(given, changes)] * n
    given = list(given)
    if len(given) != n:
        raise InvalidArgumentError(f"sampling_params must be one, or one for each of the {n} prompts, but are {len(given)}")
    return [params_of(one, changes) for one in given]


class Stream:
    """The chunks of an answer: `for chunk in stream`. Closing or dropping it cancels what still runs."""

    def __init__(self, request: _lathe.Request, mailbox: _lathe.Mailbox, prompt: str | None) -> None:
        self._request = request
        self._mailbox = mailbox
        self._prompt = prompt
        self._ended = False

    def __iter__(self) -> Iterator[_lathe.Chunk]:
        return self

    def __next__(self) -> _lathe.Chunk:
        if self._ended:
            raise StopIteration
        try:
            while (chunk := self._request.next()) is None:
                self._mailbox.take(_POLL_S)
        except BaseException:
            self.close()
            raise
        if chunk.last:
            self._ended = True
        return chunk

    def close(self) -> None:
        """Cancels what still runs."""
        self._ended = True
        self._request.cancel()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def output(self) -> RequestOutput:
        """All that has come so far; whole once the stream has ended."""
        return output_of(self._request, self._prompt)


class LLM:
    """A model that answers: an engine file, or a model's directory, whose engine is built once into the cache, or ORG/NAME
    of a hub.

    Every method may be called from any thread. Options are those of `lathe run` and `lathe serve`, by the names
    of docs/server-limits.md; None: chosen.

    progress: None or True shows a build on standard error, a function is called with (stage, done, total),
        False says nothing.
    """

    def __init__(
            self, model: str | os.PathLike[str], *, dtype: str | None = None, target: str | None = None,
            chat_template: str | os.PathLike[str] | None = None, threads: int | None = None, device: int | None = None,
            gpu_memory_fraction: float | None = None, deterministic: bool | None = None,
            kv_bytes: int | str | None = None, host_kv_memory: int | str | None = None, context: int | None = None,
            max_sequences: int | None = None, max_step_tokens: int | None = None, max_step_growth: int | None = None,
            prefix_cache: bool | None = None, max_queued_requests: int | None = None,
            progress: Progress = None) -> None:
        # chat_template is a file, or the template itself.
        source = chat_template if isinstance(chat_template, str) and ("{%" in chat_template or "{{" in chat_template) else ""
        settings = {
            "dtype": dtype, "target": target, "chat_template": None if source else chat_template, "threads": threads,
            "device": device, "gpu_memory_fraction": gpu_memory_fraction, "deterministic": deterministic,
            "kv_bytes": kv_bytes, "host_kv_memory": host_kv_memory, "context": context, "max_sequences": max_sequences,
            "max_step_tokens": max_step_tokens, "max_step_growth": max_step_growth, "prefix_cache": prefix_cache,
            "max_queued_requests": max_queued_requests}
        path = _path_of(model)
        events = Events(progress, path)
        try:
            engine = _lathe.Engine.open(path, settings, source, events)
        finally:
            events.resolved()
        self._adopt(engine, path)

    def _adopt(self, engine: _lathe.Engine, model: str) -> None:
        self._engine = engine
        self.model = model
        self._info: dict[str, Any] = engine.info()
        self._tokenizer: Tokenizer | None = None

    # Answers, all at once.

    def generate(
            self, prompts: Prompt | Sequence[Prompt],
            sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *, progress: bool = False,
            priority: int = 0, timeout: float | None = None, cache_salt: str = "", **sampling: Any) -> list[RequestOutput]:
        """Continues each prompt: a text, token ids, or vLLM's dicts of either. Fields of SamplingParams may be given
        as they are: generate("Once", max_tokens=20). Ctrl-C cancels all of them.

        priority: higher runs earlier; timeout: seconds from now, after which what has come is returned with the
        finish_reason "deadline"; cache_salt: cached prompts are shared only between equal salts.
        """
        jobs = _many_prompts(prompts)
        params = _many_params(sampling_params, sampling, len(jobs))
        return self._run(jobs, params, _shown_prompts(jobs), progress, (priority, timeout, cache_salt))

    def chat(
            self, messages: Sequence[Message] | Sequence[Sequence[Message]],
            sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
            tools: Sequence[Tool] | None = None, tool_choice: str | Mapping[str, Any] | None = None,
            parallel_tool_calls: bool = True, add_generation_prompt: bool = True, continue_final_message: bool = False,
            chat_template_kwargs: Mapping[str, Any] | None = None, progress: bool = False, priority: int = 0,
            timeout: float | None = None, cache_salt: str = "", **sampling: Any) -> list[RequestOutput]:
        """Answers a conversation, or each of several, in the model's chat template. The answer's `message` has its
        content, reasoning and tool calls taken apart."""
        several = bool(messages) and not isinstance(messages[0], dict)
        chats = [
            self._chat_job(one, tools, tool_choice, parallel_tool_calls, add_generation_prompt, continue_final_message,
                           chat_template_kwargs)
            for one in (messages if several else [messages])]
        params = _many_params(sampling_params, sampling, len(chats))
        return self._run(chats, params, [chat.text for chat in chats], progress, (priority, timeout, cache_salt))

    def embed(self, prompts: Prompt | Sequence[Prompt], *, normalize: bool = True, priority: int = 0,
              timeout: float | None = None) -> list[EmbeddingOutput]:
        """The mean of the last hidden states of each prompt; of length 1, unless normalize is False."""
        jobs = _many_prompts(prompts)
        requests = self._submit_all(jobs, [None] * len(jobs), None, (priority, timeout, ""), embed=True)
        return _embeddings(requests, _shown_prompts(jobs), normalize)

    # Answers as they come.

    def stream(self, prompt: Prompt, sampling_params: SamplingParams | None = None, *, priority: int = 0,
               timeout: float | None = None, cache_salt: str = "", **sampling: Any) -> Stream:
        """Continues a prompt: `for chunk in llm.stream("Once"): print(chunk.text, end="")`. A chunk holds what has
        come since the last one."""
        job = _one_prompt(prompt)
        return self._stream(job, job if isinstance(job, str) else None, params_of(sampling_params, sampling),
                            (priority, timeout, cache_salt))

    def stream_chat(
            self, messages: Sequence[Message], sampling_params: SamplingParams | None = None, *,
            tools: Sequence[Tool] | None = None, tool_choice: str | Mapping[str, Any] | None = None,
            parallel_tool_calls: bool = True, add_generation_prompt: bool = True, continue_final_message: bool = False,
            chat_template_kwargs: Mapping[str, Any] | None = None, priority: int = 0, timeout: float | None = None,
            cache_salt: str = "", **sampling: Any) -> Stream:
        """Answers a conversation: chunks have `content`, `reasoning` and `tool_calls` beside `text`."""
        chat = self._chat_job(messages, tools, tool_choice, parallel_tool_calls, add_generation_prompt,
                              continue_final_message, chat_template_kwargs)
        return self._stream(chat, chat.text, params_of(sampling_params, sampling), (priority, timeout, cache_salt))

    def show(self, prompt: Prompt | Sequence[Message], sampling_params: SamplingParams | None = None,
             **options: Any) -> RequestOutput:
        """Prints the answer as it comes, in a terminal or a notebook, and returns it. A list of messages is a chat."""
        is_chat = isinstance(prompt, (list, tuple)) and bool(prompt) and isinstance(prompt[0], dict)
        open_stream: Any = self.stream_chat if is_chat else self.stream
        with open_stream(prompt, sampling_params, **options) as stream:
            if isinstance(prompt, str):
                sys.stdout.write(prompt)
            for chunk in stream:
                if chunk.index == 0:
                    sys.stdout.write(chunk.text)
                    sys.stdout.flush()
            sys.stdout.write("\n")
            output = stream.output
        output.__class__ = ShownOutput
        return output

    # The same in an event loop.

    async def agenerate(
            self, prompts: Prompt | Sequence[Prompt],
            sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *, priority: int = 0,
            timeout: float | None = None, cache_salt: str = "", **sampling: Any) -> list[RequestOutput]:
        """As generate. Cancelling the task cancels the requests."""
        jobs = _many_prompts(prompts)
        params = _many_params(sampling_params, sampling, len(jobs))
        return await self._arun(jobs, params, _shown_prompts(jobs), (priority, timeout, cache_salt))

    async def achat(
            self, messages: Sequence[Message], sampling_params: SamplingParams | None = None, *,
            tools: Sequence[Tool] | None = None, tool_choice: str | Mapping[str, Any] | None = None,
            parallel_tool_calls: bool = True, add_generation_prompt: bool = True, continue_final_message: bool = False,
            chat_template_kwargs: Mapping[str, Any] | None = None, priority: int = 0, timeout: float | None = None,
            cache_salt: str = "", **sampling: Any) -> RequestOutput:
        """As chat, of one conversation."""
        chat = self._chat_job(messages, tools, tool_choice, parallel_tool_calls, add_generation_prompt,
                              continue_final_message, chat_template_kwargs)
        params = [params_of(sampling_params, sampling)]
        return (await self._arun([chat], params, [chat.text], (priority, timeout, cache_salt)))[0]

    async def aembed(self, prompts: Prompt | Sequence[Prompt], *, normalize: bool = True, priority: int = 0,
                     timeout: float | None = None) -> list[EmbeddingOutput]:
        """As embed."""
        from ._async import Channel, wait_all
        channel, jobs = Channel.current(), _many_prompts(prompts)
        requests = [self._submit(job, None, channel.mailbox, False, (priority, timeout, ""), embed=True) for job in jobs]
        await wait_all(requests, channel)
        return _embeddings(requests, _shown_prompts(jobs), normalize)

    def astream(self, prompt: Prompt, sampling_params: SamplingParams | None = None, *, priority: int = 0,
                timeout: float | None = None, cache_salt: str = "", **sampling: Any) -> AsyncStream:
        """As stream: `async for chunk in llm.astream("Once")`. Leaving the loop or cancelling the task cancels it."""
        job = _one_prompt(prompt)
        return self._astream(job, job if isinstance(job, str) else None, params_of(sampling_params, sampling),
                             (priority, timeout, cache_salt))

    def astream_chat(
            self, messages: Sequence[Message], sampling_params: SamplingParams | None = None, *,
            tools: Sequence[Tool] | None = None, tool_choice: str | Mapping[str, Any] | None = None,
            parallel_tool_calls: bool = True, add_generation_prompt: bool = True, continue_final_message: bool = False,
            chat_template_kwargs: Mapping[str, Any] | None = None, priority: int = 0, timeout: float | None = None,
            cache_salt: str = "", **sampling: Any) -> AsyncStream:
        """As stream_chat."""
        chat = self._chat_job(messages, tools, tool_choice, parallel_tool_calls, add_generation_prompt,
                              continue_final_message, chat_template_kwargs)
        return self._astream(chat, chat.text, params_of(sampling_params, sampling), (priority, timeout, cache_salt))

    # The model.

    @property
    def info(self) -> dict[str, Any]:
        """name, family, dtype, vocab_size, max_context, eos_token_ids, bos_token_id, has_chat_template, weight_bytes,
        kv_bytes_per_token."""
        return dict(self._info)

    @property
    def engine_path(self) -> str:
        """The engine file: the model itself, or what was built for it."""
        return self._engine.path

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        if self._tokenizer is None:
            from ._tokenizer import Tokenizer
            self._tokenizer = Tokenizer(self._engine.path)
        return self._tokenizer

    def get_tokenizer(self) -> Tokenizer:
        """As `tokenizer`."""
        return self.tokenizer

    def default_sampling_params(self) -> SamplingParams:
        """What fields that are None stand for: the model's generation_config.json."""
        return SamplingParams(**self._engine.default_sampling())

    get_default_sampling_params = default_sampling_params

    def stats(self) -> dict[str, Any]:
        """Counters since it was opened, and what runs and waits; as of the engine's last step."""
        return self._engine.stats()

    def close(self) -> None:
        """Cancels what runs and gives the memory back. Again: no effect."""
        self._engine.close()

    @property
    def closed(self) -> bool:
        return self._engine.closed

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else f"{self._info['dtype']}, context {self._info['max_context']}"
        return f"<lathe.LLM {self.model!r}: {state}>"

    def __reduce__(self) -> Any:
        raise TypeError("an LLM cannot be pickled or copied, for it has threads and memory of this process: send its "
                        "model's path and open it there")

    # Inside.

    def _chat_job(self, messages: Any, tools: Any, tool_choice: Any, parallel_tool_calls: bool,
                  add_generation_prompt: bool, continue_final_message: bool, kwargs: Any) -> _lathe.ChatJob:
        import json
        body = {"messages": messages, "tools": tools, "tool_choice": tool_choice,
                "parallel_tool_calls": parallel_tool_calls if tools else None,
                "add_generation_prompt": add_generation_prompt and not continue_final_message,
                "continue_final_message": continue_final_message, "chat_template_kwargs": kwargs}
        try:
            text = json.dumps({name: value for name, value in body.items() if value is not None})
        except (TypeError, ValueError) as fault:
            raise InvalidArgumentError(f"messages and tools must be what JSON can hold, but {fault}") from None
        return self._engine.prepare_chat(text, [str(name) for name in kwargs or ()])

    def _submit(self, job: Any, params: SamplingParams | None, mailbox: _lathe.Mailbox, streams: bool,
                options: tuple[int, float | None, str], embed: bool = False) -> _lathe.Request:
        return self._engine.submit(job, params, mailbox, streams, embed, *options)

    def _submit_in(self, params: SamplingParams, streams: bool, options: tuple[int, float | None, str], job: Any,
                   mailbox: _lathe.Mailbox) -> _lathe.Request:
        return self._submit(job, params, mailbox, streams, options)

    def _submit_all(self, jobs: list[Any], params: Sequence[SamplingParams | None], bar: Bar | None,
                    options: tuple[int, float | None, str], embed: bool = False) -> list[_lathe.Request]:
        """Submits all and waits for their ends."""
        mailbox = _lathe.Mailbox.create()
        requests: list[_lathe.Request] = []
        ended = 0

        def wait() -> None:
            nonlocal ended
            ended += len(mailbox.take(_POLL_S))
            if bar is not None:
                bar.update("generating", ended, len(jobs), True)

        try:
            for job, one in zip(jobs, params, strict=True):
                while True:
                    try:
                        requests.append(self._submit(job, one, mailbox, False, options, embed))
                        break
                    except ResourceExhaustedError:  # the queue is full: some must end first
                        if ended == len(requests):
                            raise
                        wait()
            while ended < len(jobs):
                wait()
        except BaseException:
            for request in requests:
                request.cancel()
            raise
        finally:
            if bar is not None:
                bar.clear()
        return requests

    def _run(self, jobs: list[Any], params: list[SamplingParams], shown: list[str | None], progress: bool,
             options: tuple[int, float | None, str]) -> list[RequestOutput]:
        requests = self._submit_all(jobs, params, Bar() if progress else None, options)
        return [output_of(request, text) for request, text in zip(requests, shown, strict=True)]

    async def _arun(self, jobs: list[Any], params: list[SamplingParams], shown: list[str | None],
                    options: tuple[int, float | None, str]) -> list[RequestOutput]:
        from functools import partial

        from ._async import Channel, submit, wait_all
        channel = Channel.current()
        requests: list[_lathe.Request] = []  # dropping those that are there cancels them
        for job, one in zip(jobs, params, strict=True):
            call: Any = partial(self._submit_in, one, False, options)
            requests.append(await submit(job, call, channel.mailbox))
        await wait_all(requests, channel)
        return [output_of(request, text) for request, text in zip(requests, shown, strict=True)]

    def _stream(self, job: Any, shown: str | None, params: SamplingParams,
                options: tuple[int, float | None, str]) -> Stream:
        mailbox = _lathe.Mailbox.create()
        return Stream(self._submit(job, params, mailbox, True, options), mailbox, shown)

    def _astream(self, job: Any, shown: str | None, params: SamplingParams,
                 options: tuple[int, float | None, str]) -> AsyncStream:
        from functools import partial

        from ._async import AsyncStream, submit
        call: Any = partial(self._submit_in, params, True, options)

        async def start(mailbox: _lathe.Mailbox) -> tuple[_lathe.Request, str | None]:
            return await submit(job, call, mailbox), shown

        return AsyncStream(start)


def _path_of(model: Any) -> str:
    import os
    try:
        return os.fspath(model)
    except TypeError:
        raise InvalidArgumentError(f"model must be an engine file or a model's directory, but is {model!r}") from None


def _shown_prompts(jobs: list[Any]) -> list[str | None]:
    return [job if isinstance(job, str) else None for job in jobs]


def _embeddings(requests: list[_lathe.Request], shown: list[str | None], normalize: bool) -> list[EmbeddingOutput]:
    outputs = []
    for request, prompt in zip(requests, shown, strict=True):
        vector: list[float] = request.result()[2]
        if normalize:
            length = sum(x * x for x in vector) ** 0.5
            vector = [x / length for x in vector] if length > 0 else vector
        outputs.append(EmbeddingOutput(str(request.key), prompt, request.prompt_ids, vector))
    return outputs


def adopt(engine: _lathe.Engine, model: str) -> LLM:
    """An LLM over an engine that is open already."""
    llm = LLM.__new__(LLM)
    llm._adopt(engine, model)
    return llm
