"""A model's tokenizer and chat template, without its weights."""
from __future__ import annotations

from . import _lathe
from ._progress import Events

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Mapping, Sequence
    from typing import Any


class Tokenizer:
    """Of an engine file, of a model's directory, or of ORG/NAME of a hub, of which no weights are fetched."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        import os
        self.path = os.fspath(path)
        events = Events(None)
        try:
            self._own: Any = _lathe.Tokenizer.open(self.path, events)
        finally:
            events.resolved()

    def encode(self, text: str, *, add_special_tokens: bool = True, parse_special: bool = False) -> list[int]:
        """Ids of a text. Control tokens spelled out in it count as text, unless parse_special says otherwise."""
        return self._own.encode(text, add_special_tokens, parse_special)

    def __call__(self, text: str, **options: Any) -> list[int]:
        return self.encode(text, **options)

    def decode(self, ids: Sequence[int] | int, *, skip_special_tokens: bool = False) -> str:
        """The text of ids."""
        return self._own.decode([ids] if isinstance(ids, int) else ids, skip_special_tokens)

    def apply_chat_template(
            self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None = None,
            add_generation_prompt: bool = True, tokenize: bool = True, **variables: Any) -> list[int] | str:
        """Ids of a conversation in the model's template, or its text with tokenize=False; `variables` are the
        template's own. In what users wrote control tokens stay text."""
        import json
        ids, text = self._own.render_chat(json.dumps(list(messages)), json.dumps(list(tools)) if tools else "",
                                          json.dumps(variables) if variables else "", add_generation_prompt)
        return ids if tokenize else text

    def convert_ids_to_tokens(self, ids: Sequence[int] | int) -> list[str] | str:
        """Tokens as the vocabulary spells them; empty for ids not in use."""
        return self._own.token(ids) if isinstance(ids, int) else [self._own.token(one) for one in ids]

    def convert_tokens_to_ids(self, tokens: Sequence[str] | str) -> list[int | None] | int | None:
        """Ids of tokens by that spelling; None where there is none."""
        return self._own.id_of(tokens) if isinstance(tokens, str) else [self._own.id_of(one) for one in tokens]

    def token_bytes(self, id: int) -> bytes:
        """The bytes that a token adds in the middle of a text; part of a character, maybe."""
        return self._own.token_bytes(id)

    def is_special(self, id: int) -> bool:
        """Whether it is a control token."""
        return self._own.is_special(id)

    def get_vocab(self) -> dict[str, int]:
        """Every token and its id."""
        return self._own.vocab()

    @property
    def vocab_size(self) -> int:
        """The largest id + 1, added tokens included."""
        return self._own.vocab_size

    def __len__(self) -> int:
        return self._own.vocab_size

    @property
    def chat_template(self) -> str | None:
        return self._own.chat_template or None

    @property
    def bos_token_id(self) -> int | None:
        return self._own.bos_token_id

    @property
    def eos_token_id(self) -> int | None:
        return self._own.eos_token_id

    @property
    def pad_token_id(self) -> int | None:
        return self._own.pad_token_id

    @property
    def unk_token_id(self) -> int | None:
        return self._own.unk_token_id

    def __repr__(self) -> str:
        return f"<lathe.Tokenizer {self.path!r}: {self.vocab_size} tokens>"

    def __reduce__(self) -> Any:
        return type(self), (self.path,)
