"""How tokens are chosen."""
from __future__ import annotations

from . import _lathe
from ._errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_FORMATS = ("json_schema", "json_object", "regex", "choice", "grammar")


class SamplingParams:
    """How tokens are chosen, how many, and what the text must be. None: as the model's generation_config has it.

    The ranges are those of `lathe run`; a value outside raises InvalidArgumentError with the same sentence.

    temperature: spread of the choice, 0 to 100; 0: always the likeliest
    top_p: choose among the likeliest tokens that add up to it, over 0 to 1
    top_k: choose among so many; 0: all
    min_p: drop tokens less likely than this times the likeliest, 0 to 1
    repetition_penalty: divides the scores of tokens already seen, over 0 to 10; 1: off
    presence_penalty, frequency_penalty: lower the score of tokens already generated, -2 to 2
    max_tokens: stop after so many; None: as many as the context holds
    min_tokens: take no end and no stop before so many
    n: independent continuations, 1 to 64
    seed: makes the choice repeatable
    stop: a text, or up to 16, before which the output ends; include_stop_str_in_output keeps it
    stop_token_ids: tokens that end the output
    ignore_eos: go on after the end of the text
    bad_words: texts that are never written
    logit_bias: {token id: -100 to 100}, added to scores
    logprobs: report the log-probability of each token and of so many alternatives, 0 to 20
    prompt_logprobs: the same for the tokens of the prompt
    skip_special_tokens: False: control tokens are spelled out in the text
    json_schema: the output is JSON of this schema: a dict, its text, or a class with model_json_schema() (pydantic)
    json_object: the output is any JSON object
    regex, choice, grammar: the output matches it, is one of these texts, is in this language (docs/grammars.md)
    """

    __slots__ = (
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty",
        "max_tokens", "min_tokens", "n", "seed", "stop", "stop_token_ids", "include_stop_str_in_output", "ignore_eos",
        "bad_words", "logit_bias", "logprobs", "prompt_logprobs", "skip_special_tokens", "json_schema", "json_object",
        "regex", "choice", "grammar")

    def __init__(
            self, *, temperature: float | None = None, top_p: float | None = None, top_k: int | None = None,
            min_p: float | None = None, repetition_penalty: float | None = None, presence_penalty: float | None = None,
            frequency_penalty: float | None = None, max_tokens: int | None = 256, min_tokens: int = 0, n: int = 1,
            seed: int | None = None, stop: str | Sequence[str] | None = None,
            stop_token_ids: Sequence[int] | None = None, include_stop_str_in_output: bool = False,
            ignore_eos: bool = False, bad_words: Sequence[str] | None = None,
            logit_bias: Mapping[int, float] | None = None, logprobs: int | None = None,
            prompt_logprobs: int | None = None, skip_special_tokens: bool = True,
            json_schema: str | Mapping[str, Any] | type | None = None, json_object: bool = False,
            regex: str | None = None, choice: Sequence[str] | None = None, grammar: str | None = None) -> None:
        self.temperature = temperature
        self.top_p = top_p
        self.top_k = top_k
        self.min_p = min_p
        self.repetition_penalty = repetition_penalty
        self.presence_penalty = presence_penalty
        self.frequency_penalty = frequency_penalty
        self.max_tokens = max_tokens
        self.min_tokens = min_tokens
        self.n = n
        self.seed = seed
        self.stop = stop
        self.stop_token_ids = stop_token_ids
        self.include_stop_str_in_output = include_stop_str_in_output
        self.ignore_eos = ignore_eos
        self.bad_words = bad_words
        self.logit_bias = logit_bias
        self.logprobs = logprobs
        self.prompt_logprobs = prompt_logprobs
        self.skip_special_tokens = skip_special_tokens
        self.json_schema = json_schema
        self.json_object = json_object
        self.regex = regex
        self.choice = choice
        self.grammar = grammar
        _lathe.check_sampling(self)

    def replace(self, **changes: Any) -> SamplingParams:
        """A copy with some fields changed."""
        return type(self)(**{name: getattr(self, name) for name in self.__slots__} | changes)

    def _format(self) -> tuple[str, Any] | None:
        """(kind, source) of what the output must be, as the extension module reads it."""
        given = [name for name in _FORMATS if getattr(self, name) not in (None, False)]
        if not given:
            return None
        if len(given) > 1:
            raise InvalidArgumentError(f"{given[1]} and {given[0]} both say what the text must be: leave one out")
        value = getattr(self, given[0])
        if given[0] == "json_schema" and not isinstance(value, str):
            import json
            if hasattr(value, "model_json_schema"):
                value = value.model_json_schema()
            try:
                value = json.dumps(value)
            except (TypeError, ValueError) as fault:
                raise InvalidArgumentError(f"json_schema must be a JSON schema, but {fault}") from None
        return given[0], value

    def __repr__(self) -> str:
        plain = _PLAIN
        changed = (f"{name}={getattr(self, name)!r}" for name in self.__slots__
                   if getattr(self, name) != getattr(plain, name))
        return f"SamplingParams({', '.join(changed)})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SamplingParams):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]


_PLAIN = SamplingParams()


def params_of(given: SamplingParams | None, changes: dict[str, Any]) -> SamplingParams:
    """The parameters of a call that may also name fields of them."""
    if given is not None and not isinstance(given, SamplingParams):
        raise InvalidArgumentError(f"sampling_params must be a lathe.SamplingParams, but is {given!r}")
    if not changes:
        return given or _PLAIN
    unknown = [name for name in changes if name not in SamplingParams.__slots__]
    if unknown:
        import difflib
        close = difflib.get_close_matches(unknown[0], SamplingParams.__slots__, 1)
        raise TypeError(f"'{unknown[0]}' is no field of SamplingParams" + (f": do you mean '{close[0]}'?" if close else ""))
    return given.replace(**changes) if given else SamplingParams(**changes)
