"""Tokenizer: of a directory, and of an engine file."""
import pickle

import lathe
import pytest
from conftest import MODEL

TEXT = "Once upon a time, naïve 龙 🐉"


@pytest.fixture(scope="module", params=["directory", "engine"])
def tokenizer(request, engine_file):
    return lathe.Tokenizer(MODEL if request.param == "directory" else engine_file)


def test_there_and_back(tokenizer):
    ids = tokenizer.encode(TEXT)
    assert tokenizer.decode(ids, skip_special_tokens=True) == TEXT
    assert tokenizer(TEXT) == ids
    bare = tokenizer.encode(TEXT, add_special_tokens=False)
    assert ids[-len(bare):] == bare
    assert b"".join(map(tokenizer.token_bytes, bare)).decode() == TEXT
    assert tokenizer.decode(bare[0]) == tokenizer.decode(bare[:1])


def test_vocabulary(tokenizer):
    vocab = tokenizer.get_vocab()
    assert len(tokenizer) == tokenizer.vocab_size == max(vocab.values()) + 1
    token, id = next(iter(vocab.items()))
    assert tokenizer.convert_tokens_to_ids(token) == id and tokenizer.convert_ids_to_tokens(id) == token
    assert tokenizer.convert_tokens_to_ids([token, "no such token"]) == [id, None]
    assert tokenizer.convert_ids_to_tokens([id, 10**6]) == [token, ""]
    assert tokenizer.is_special(tokenizer.eos_token_id) and not tokenizer.is_special(tokenizer.encode("a")[-1])


def test_control_tokens_of_users_are_text(tokenizer):
    control = tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id)
    assert tokenizer.eos_token_id not in tokenizer.encode("a" + control, add_special_tokens=False)
    assert tokenizer.encode("a" + control, add_special_tokens=False, parse_special=True)[-1] == tokenizer.eos_token_id


def test_chat_template(tokenizer):
    messages = [{"role": "user", "content": "Hello"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert "Hello" in text and tokenizer.chat_template
    assert tokenizer.apply_chat_template(messages) == tokenizer.encode(text, add_special_tokens=False, parse_special=True)
    assert tokenizer.apply_chat_template(messages, add_generation_prompt=False, tokenize=False) in text


def test_faults(tokenizer, tmp_path):
    with pytest.raises(lathe.NotFoundError, match="neither an engine file nor a model directory"):
        lathe.Tokenizer(tmp_path / "none")
    with pytest.raises(lathe.NotFoundError, match="no tokenizer"):
        lathe.Tokenizer(tmp_path)
    with pytest.raises(lathe.InvalidArgumentError, match="text must be text, but is 5"):
        tokenizer.encode(5)
    with pytest.raises(lathe.InvalidArgumentError, match="ids must be a list of token ids"):
        tokenizer.decode("x")
    assert pickle.loads(pickle.dumps(tokenizer)).encode(TEXT) == tokenizer.encode(TEXT)
