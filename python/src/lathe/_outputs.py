"""What comes back, with the names that vLLM's classes have."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from . import _lathe


class _Record:
    """Equal when all fields are; shown by their names."""

    __slots__: tuple[str, ...] = ()
    _fields: tuple[str, ...] = ()

    def __init_subclass__(cls) -> None:
        cls._fields = cls.__slots__ or cls._fields

    def __init__(self, *values: Any) -> None:
        for name, value in zip(self._fields, values, strict=True):
            setattr(self, name, value)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={getattr(self, name)!r}' for name in self._fields)})"

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self._fields)

    __hash__ = None  # type: ignore[assignment]


class Logprob(_Record):
    """The natural log-probability of a token under the model's own distribution."""

    __slots__ = ("logprob", "rank", "decoded_token")
    logprob: float
    rank: int | None  # among the alternatives, from 1; None: the token is none of them
    decoded_token: str | None


class CompletionOutput(_Record):
    """One of the n continuations of a prompt."""

    __slots__ = ("index", "text", "token_ids", "finish_reason", "logprobs", "cumulative_logprob", "content",
                 "reasoning", "tool_calls")
    index: int
    text: str  # as the model wrote it
    token_ids: list[int]
    finish_reason: str | None  # stop, length, cancelled, deadline; None: it still runs
    logprobs: list[dict[int, Logprob]] | None
    cumulative_logprob: float | None
    content: str  # of a chat: the text without reasoning and tool calls
    reasoning: str  # of a chat: what the model marks as its reasoning
    tool_calls: list[dict[str, Any]]  # of a chat: as OpenAI has them

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message, to be put behind the others of a chat."""
        out: dict[str, Any] = {"role": "assistant", "content": self.content}
        if self.reasoning:
            out["reasoning_content"] = self.reasoning
        if self.tool_calls:
            out["tool_calls"] = self.tool_calls
        return out


class RequestMetrics(_Record):
    """Seconds from when the request was submitted."""

    __slots__ = ("queued", "first_token", "last_token")
    queued: float  # until its first step
    first_token: float
    last_token: float


class RequestOutput(_Record):
    """A prompt and its continuations."""

    __slots__ = ("request_id", "prompt", "prompt_token_ids", "prompt_logprobs", "outputs", "finished",
                 "num_cached_tokens", "num_generated_tokens", "metrics")
    request_id: str
    prompt: str | None  # of a chat: as its template has it; None: the prompt was token ids
    prompt_token_ids: list[int]
    prompt_logprobs: list[dict[int, Logprob] | None] | None
    outputs: list[CompletionOutput]
    finished: bool
    num_cached_tokens: int  # of the prompt, found in the prefix cache
    num_generated_tokens: int  # of all continuations
    metrics: RequestMetrics

    @property
    def text(self) -> str:
        """The text of the first continuation."""
        return self.outputs[0].text

    @property
    def message(self) -> dict[str, Any]:
        """The assistant's message of the first continuation."""
        return self.outputs[0].message


class EmbeddingOutput(_Record):
    """A prompt and its embedding."""

    __slots__ = ("request_id", "prompt", "prompt_token_ids", "embedding")
    request_id: str
    prompt: str | None
    prompt_token_ids: list[int]
    embedding: list[float]


class ShownOutput(RequestOutput):
    """What LLM.show returns: IPython, which would show the value of a cell's last line, has seen it already."""

    __slots__ = ()

    def _ipython_display_(self) -> None:
        self.__class__ = RequestOutput  # type: ignore[assignment]


def output_of(request: _lathe.Request, prompt: str | None) -> RequestOutput:
    """What a request has come to; raises what it failed with."""
    continuations, prompt_logprobs, _, usage, times = request.result()
    outputs = [CompletionOutput(index, *continuation) for index, continuation in enumerate(continuations)]
    return RequestOutput(str(request.key), prompt, request.prompt_ids, prompt_logprobs, outputs, request.ended,
                         usage[1], usage[2], RequestMetrics(*times))
