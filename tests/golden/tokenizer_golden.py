#!/usr/bin/env python3
"""Golden ids and texts for src/text, from the reference implementations.

Needs tokenizers, sentencepiece and tiktoken. Writes under tests/data/tokenizers:
  strings.json               the texts, a JSON list
  NAME.text.golden           a line per text: index, ids, and the decoded text as JSON where it is not the text
  NAME.control.golden        the same with control tokens parsed, for the texts that spell some
  NAME.decode.golden         random ids and the JSON of what they decode to
  synthetic/NAME.json|.model small tokenizers trained here, to reach every component
Run: python tests/golden/tokenizer_golden.py SHARED, where SHARED holds tokenizers/, models/ and text/.
"""
import io
import json
import pathlib
import random
import re
import sys
import unicodedata

import sentencepiece
import tiktoken
from sentencepiece import sentencepiece_model_pb2
from tiktoken.load import load_tiktoken_bpe
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "tokenizers"

HAND = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\r\n\r\n", "\t", "\t\t ", " \n ", "  \n\n  \t", "a", " a", "a ", " a ", "A",
    "Hello world", " Hello world", "Hello  world", "Hello   world   ", "Hello\tworld", "Hello\nworld\n", "Hello\r\nworld\r\n",
    "The quick brown fox jumps over the lazy dog.", "I'm sure you'll say they've won; he'd rather WE'RE 'S 'T 'LL 'Ve",
    "it's isn't o'clock rock'n'roll 'tis ''quoted'' \"double\"", "don\u2019t use \u2018curly\u2019 \u201cquotes\u201d\u2026",
    "1", "12", "123", "1234", "12345", "1234567890", "3.14159", "1,000,000.00", "2024-01-31T23:59:59Z", "0x1F 0b101 1e-9",
    "\u0661\u0662\u0663\u0664", "\u00bd \u00be \u2167 \u2460 \u3007", "x\u00b2 + y\u00b3 = z\u2074",
    "def f(x):\n    return x ** 2  # square\n\n\nclass A:\n\tpass\n", "if (a && b || !c) { d[i++] = *p--; }", "<html><body>&nbsp;</body></html>",
    "SELECT * FROM t WHERE a='b' AND c>=10;", "https://example.com/a/b?c=d&e=%20f#g", "user@example.org", "C:\\dir\\file.txt",
    "{\"key\": [1, 2, {\"n\": null}]}", "$x_1^2 \\frac{a}{b}$", "a--b---c----d -> => != === !== ...", "!!!???...,,,;;;:::",
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01", "\u6211\u60f3\u5728apple\u5de5\u4f5c1314151\u5929\uff5e", "\u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8\u3067\u3059\u3002",
    "\u30ab\u30bf\u30ab\u30ca \uff76\uff80\uff76\uff85 \uff21\uff22\uff23 \uff11\uff12\uff13", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5\uc785\ub2c8\ub2e4.", "\u1112\u1161\u11ab decomposed hangul",
    "\u041f\u0440\u0438\u0432\u0435\u0442, \u043c\u0438\u0440! \u0401\u043b\u043a\u0430 \u0438 \u044a\u0435\u0437\u0434.", "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438",
    "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f", "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0bb5\u0ba3\u0b95\u0bcd\u0b95\u0bae\u0bcd", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e0a\u0e32\u0e27\u0e42\u0e25\u0e01", "\u1780\u17b6\u1793\u17cb\u178f\u17c2\u1796\u17b7\u179f\u17c1\u179f",
    "\u10d2\u10d0\u10db\u10d0\u10e0\u10ef\u10dd\u10d1\u10d0", "\u0532\u0561\u0580\u0565\u0582", "\u03b3\u03b5\u03b9\u03ac \u03c3\u03bf\u03c5 \u039a\u03cc\u03c3\u03bc\u03b5 \u03a3\u03a3 \u03c2", "\u1e9e \u00df \u0130stanbul \u0131 \u017f K",
    "Ti\u1ebfng Vi\u1ec7t C\u1eeda Vi\u1ec7t", "Z\u0151ld \u00e1rv\u00edzt\u0171r\u0151 t\u00fck\u00f6rf\u00far\u00f3g\u00e9p", "F\u00fchrer na\u00efve caf\u00e9 se\u00f1or \u00e5ngstr\u00f6m", "e\u0301 e\u0300\u0323 a\u0323\u0302 o\u0308\u0304 n\u0303",
    "\u212b \ufb01 \ufb03 \u2460 \u33a5 \u3000\u00a0\u2003 \u2126 \u1e9b\u0323", "\u0958 \u0f43 \u2adc \ufb2c", "a\u0315\u0300\u05ae\u0062 \u0300\u0301",
    "\U0001f600", "\U0001f680 (normal) \U0001f636\u200d\U0001f32b\ufe0f (zwj)", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466\U0001f3fd \U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "1\ufe0f\u20e3 #\ufe0f\u20e3 \u2764\ufe0f \u2705",
    "\U0001d54f\U0001d4d0\U0001d7d8 math", "\U00020000\U0002a6d6 rare han", "\U000e0067\U000e007f tags", "\uffff\ufffe \ufffd \ue000 private",
    "\u200b\u200c\u200d\ufeff zero width", "\u00ad soft\u00adhyphen", "\u0085\u2028\u2029 line ends", "\u180e mongolian \u1680ogham",
    "\x00", "a\x00b", "\x01\x02\x1b[31mred\x1b[0m\x7f", "\x0b\x0c\x1c\x1d\x1e\x1f", "tab\tsep\tvalues\n1\t2\t3\n",
    " leading", "trailing ", "  two  spaces  ", "        eight", "\n\n\nlines\n\n\n\n", " \n \n ", "a\n b\n  c\n   d", "a \t \n\r b",
    "\u2581", "\u2581\u2581", "a\u2581b", " \u2581 a \u2581\u2581b", "\u0120\u010a\u0109", "\u0120the \u0120", "\u00e4\u00bd\u0142",
    "<0x0A>", "<0x41><0xFF>", "<unk>", "a<unk>b", "<s>", "</s>", "<s>[INST] hi [/INST] answer </s><s>[INST] again [/INST]", "[INST]", " [INST] x [/INST]",
    "[AVAILABLE_TOOLS] [TOOL_CALLS][/TOOL_RESULTS]", "<|begin_of_text|>", "<|end_of_text|>text", "a<|eot_id|>b", "x <|eot_id|> y", "<|eot_id|", "|eot_id|>", "<|eot_id|><|eot_id|>",
    "<|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>", "<|im_start|>system\nYou are<|im_end|>\n", "<|endoftext|>", "a <|endoftext|> b<|endoftext|>", "<<|endoftext|>>",
    "<tool_call>{\"a\":1}</tool_call>", "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<|pad|>", "<pad>", "<|reserved_special_token_5|>",
    "<ADD_L> <ADD_R> <ADD_LR> <ADD_W>", "a <ADD_L>b", "a<ADD_R>  b", "a  <ADD_LR>\n b", "x<ADD_W>y <ADD_W> z<ADD_W>", "<ADD_N> <add_n> <ADD_N>x", "tab\t<ADD_L>\t<ADD_R>\t<ADD_LR>",
    "a" * 40, "a" * 41, "ab" * 100, "the" * 50, " " * 15, " " * 16, " " * 17, " " * 33 + "x", "\n" * 9, "-" * 80, "=" * 33, "\u00e9" * 30, "\u4e00" * 50, "\U0001f600" * 20,
    "supercalifragilisticexpialidocious", "Donaudampfschifffahrtselektrizit\u00e4tenhauptbetriebswerkbauunterbeamtengesellschaft", "pneumonoultramicroscopicsilicovolcanoconiosis" * 3,
    "iiiiIIIIllll1111", "aAbBcC dDeEfF", "CamelCaseWord snake_case_word kebab-case-word SCREAMING_CASE", "e.g. i.e. etc. U.S.A. Ph.D.", "\u20ac100 \u00a350 \u00a5200 $5 50% \u00b0C \u00b15",
    "a,b;c:d.e!f?g'h\"i(j)k[l]m{n}o<p>q/r\\s|t@u#v$w%x^y&z*", "\u00ab\u00bb\u201e\u201c\u3010\u3011\u300c\u300d\uff08\uff09\u3001\u3002", "---\ntitle: x\n---\n\n# Head\n\n* item\n* item\n\n```py\nx = 1\n```\n",
]

PIECES = [
    " ", " ", " ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u3000", "the", "The", "story", "king's", "don't", "ing", "Ab", "X", "42", "1234", "\u0663", ".", ",", "!?", "...", "--", "(", ")", "\"", "'", "'ll",
    "\u00e9", "e\u0301", "\u00fc", "\u00df", "\u0416", "\u043c\u0438\u0440", "\u4e2d\u6587", "\u306e", "\uac00", "\u0639", "\u05d0", "\u0915\u094d", "\u0e01\u0e33", "\U0001f600", "\U0001f468\u200d\U0001f469", "\ufe0f", "\u200d",
    "\u2581", "\u0120", "<s>", "</s>", "<|eot_id|>", "<0x0A>", "_", "\\n", "==", "\u20ac", "\u00bd", "\ufb01", "\uff21", "\x00", "\x1f", "\u200b", "\ud7a3", "\U0010ffff",
]


# A character map for SentencePiece: code points in hexadecimal to what they become.
RULES = "FB01\t66 69\nFF21\t41\n41 308\tC4\n2026\t2E 2E 2E\n200B\t\nA0\t20\n"


def make_strings(tales):
    rng = random.Random(20240501)
    strings = list(HAND)
    lines = [line for line in tales.read_text().split("\n") if 30 < len(line) < 160 and "<|" not in line]
    strings += rng.sample(lines, 40)
    for _ in range(80):
        strings.append("".join(rng.choice(PIECES) for _ in range(rng.randint(2, 24))))
    for _ in range(40):  # any scalar values
        chars = []
        while len(chars) < rng.randint(1, 12):
            c = rng.choice([rng.randrange(0x20, 0x250), rng.randrange(0x250, 0x3000), rng.randrange(0x3000, 0x10000), rng.randrange(0x10000, 0x20000)])
            if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) != "Cn":
                chars.append(chr(c))
        strings.append("".join(chars))
    seen = set()
    return [s for s in strings if not (s in seen or seen.add(s))]


def write_lines(name, lines):
    (OUT / name).write_text("".join(line + "\n" for line in lines))


def line_of(index, text, ids, decoded):
    tail = "" if decoded == text else json.dumps(decoded)
    return f"{index}\t{' '.join(map(str, ids))}\t{tail}"


def golden(name, strings, encode, decode, select=lambda s: True, kind="text"):
    lines = []
    for i, text in enumerate(strings):
        if select(text):
            ids = encode(text)
            lines.append(line_of(i, text, ids, decode(ids)))
    write_lines(f"{name}.{kind}.golden", lines)


def golden_decode(name, vocab, decode, skip=(), count=60):
    rng = random.Random(7)
    lines = []
    for _ in range(count):
        ids = [i for i in (rng.randrange(vocab) for _ in range(rng.randint(1, 16))) if i not in skip]
        lines.append(f"{' '.join(map(str, ids))}\t{json.dumps(decode(ids))}")
    write_lines(f"{name}.decode.golden", lines)


def spells_control(text):
    return re.search(r"<s>|</s>|<\|[a-z_0-9]+\|>|<unk>|<pad>|<CTL>|\[/?(INST|TOOL)", text) is not None


def hf(name, tokenizer, strings, decodes=True, select=lambda s: True, plain=lambda s: True):
    """`plain`: which texts the reference encodes without control tokens when told to."""
    tokenizer.encode_special_tokens = True
    decode = lambda ids: tokenizer.decode(ids, skip_special_tokens=True)
    golden(name, strings, lambda s: tokenizer.encode(s).ids, decode, lambda s: select(s) and plain(s))
    tokenizer.encode_special_tokens = False
    golden(name, strings, lambda s: tokenizer.encode(s).ids, decode, lambda s: select(s) and spells_control(s), "control")
    if decodes:
        golden_decode(name, tokenizer.get_vocab_size(), decode)


def sp(name, data, strings, decodes=True, select=lambda s: True):
    model = sentencepiece.SentencePieceProcessor(model_proto=data)
    # The unknown piece counts as a control token, which a decode leaves out.
    decode = lambda ids: model.decode([i for i in ids if i != model.unk_id()])
    golden(name, strings, lambda s: [model.bos_id()] + model.encode(s), decode, select)
    if decodes:
        golden_decode(name, model.vocab_size(), decode)


def gpt2(shared):
    base = shared / "tokenizers/gpt2"
    t = Tokenizer(models.BPE.from_file(str(base / "vocab.json"), str(base / "merges.txt")))
    t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    t.decoder = decoders.ByteLevel()
    t.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=False)])
    return t


QWEN2_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3_SPLIT = QWEN2_SPLIT.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def qwen2(shared):
    base = shared / "tokenizers/qwen2"
    t = Tokenizer(models.BPE.from_file(str(base / "vocab.json"), str(base / "merges.txt")))
    t.normalizer = normalizers.NFC()
    t.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN2_SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = decoders.ByteLevel()
    config = json.loads((base / "tokenizer_config.json").read_text())
    for _, token in sorted(config["added_tokens_decoder"].items(), key=lambda kv: int(kv[0])):
        token = dict(token)
        content, special = token.pop("content"), token.pop("special")
        added = AddedToken(content, special=special, **token)
        (t.add_special_tokens if special else t.add_tokens)([added])
    return t


def llama2_json(shared):
    """The file as it is has merges whose tokens hold spaces, which the reference reads only as pairs, and control
    tokens that are "normalized", which it finds only behind a space mark; lathe looks for them in the raw text."""
    data = json.loads((shared / "tokenizers/llama2/tokenizer.json").read_text())
    vocab = data["model"]["vocab"]
    merges = []
    for merge in data["model"]["merges"]:
        cuts = [i for i, c in enumerate(merge) if c == " "]
        pairs = [(merge[:i], merge[i + 1:]) for i in cuts]
        pairs = [p for p in pairs if len(cuts) == 1 or (p[0] in vocab and p[1] in vocab and p[0] + p[1] in vocab)]
        assert len(pairs) == 1
        merges.append(list(pairs[0]))
    data["model"]["merges"] = merges
    for token in data["added_tokens"]:
        token["normalized"] = False
    return Tokenizer.from_str(json.dumps(data))


def llama3(shared, strings):
    ranks = load_tiktoken_bpe(str(shared / "tokenizers/llama3/tokenizer.model"))
    special = {"<|begin_of_text|>": 128000, "<|end_of_text|>": 128001, "<|start_header_id|>": 128006, "<|end_header_id|>": 128007, "<|eot_id|>": 128009}
    reserved = [i for i in range(256) if i not in (0, 1, 6, 7, 9)]
    special.update({f"<|reserved_special_token_{k}|>": 128000 + i for k, i in enumerate(reserved)})
    t = tiktoken.Encoding("llama3", pat_str=LLAMA3_SPLIT, mergeable_ranks=ranks, special_tokens=special)
    decode = lambda ids: t.decode([i for i in ids if i < 128000])
    golden("llama3", strings, lambda s: [128000] + t.encode(s, disallowed_special=()), decode)
    golden("llama3", strings, lambda s: [128000] + t.encode(s, allowed_special="all"), decode, spells_control, "control")


def train(tokenizer, tales, size=360, **kwargs):
    trainer = trainers.BpeTrainer(vocab_size=size, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"], **kwargs)
    tokenizer.train_from_iterator(tales.read_text().split("\n")[:1500], trainer)
    return tokenizer


def add_flagged(tokenizer):
    tokenizer.add_tokens([
        AddedToken("<ADD_L>", lstrip=True, normalized=False), AddedToken("<ADD_R>", rstrip=True, normalized=False),
        AddedToken("<ADD_LR>", lstrip=True, rstrip=True, normalized=False), AddedToken("<ADD_W>", single_word=True, normalized=False),
        AddedToken("<add_n>", normalized=True)])
    tokenizer.add_special_tokens([AddedToken("<CTL>", lstrip=True, special=True, normalized=False)])
    return tokenizer


def with_bytes(tokenizer):
    """Byte pieces for byte fallback, which the trainer does not add: rebuilt from the JSON."""
    data = json.loads(tokenizer.to_str())
    model = data["model"]
    model["byte_fallback"] = True
    if isinstance(model["vocab"], dict):
        for b in range(256):
            model["vocab"][f"<0x{b:02X}>"] = len(model["vocab"])
    else:
        model["vocab"] += [[f"<0x{b:02X}>", -20.0] for b in range(256)]
    return Tokenizer.from_str(json.dumps(data))


def synthetic(tales):
    """(name, function that makes a tokenizer): together they have every component that lathe reads."""
    P, N, D = pre_tokenizers, normalizers, decoders
    out = []

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.Sequence([P.Punctuation("contiguous"), P.ByteLevel(add_prefix_space=False), P.Digits(False), P.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    t.decoder = D.ByteLevel()
    out.append(("falcon", lambda t=t: train(t, tales, 400, initial_alphabet=P.ByteLevel.alphabet())))

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.Sequence([P.Split(Regex(r"[\r\n]"), "isolated"), P.Split(Regex(r"\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6]+"), "isolated"), P.Split(Regex(r"\s?[!-/:-~\uff01-\uff0f\u2018-\u201f]+"), "isolated"),
                                  P.Split(Regex(r"\s+$"), "isolated"), P.Split(Regex(r"[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"), "isolated"), P.Digits(True), P.ByteLevel(add_prefix_space=False, use_regex=False)])
    t.decoder = D.ByteLevel()
    t.post_processor = processors.Sequence([processors.ByteLevel(), processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)])])
    out.append(("deepseek", lambda t=t: add_flagged(train(t, tales, 400, initial_alphabet=P.ByteLevel.alphabet()))))

    t = Tokenizer(models.BPE())
    t.pre_tokenizer = P.ByteLevel(add_prefix_space=True)
    t.decoder = D.ByteLevel()
    out.append(("prefix_space", lambda t=t: add_flagged(train(t, tales, 400, initial_alphabet=P.ByteLevel.alphabet()))))

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = N.Sequence([N.Prepend("\u2581"), N.Replace(" ", "\u2581")])
    t.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse(), D.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    out.append(("phi3", lambda t=t: with_bytes(train(t, tales))))

    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    t.normalizer = N.Replace(" ", "\u2581")
    t.pre_tokenizer = P.Split(" ", "merged_with_previous")
    t.decoder = D.Sequence([D.Replace("\u2581", " "), D.ByteFallback(), D.Fuse()])
    out.append(("gemma", lambda t=t: with_bytes(train(t, tales))))

    for scheme in ("always", "first", "never"):
        t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=scheme != "first"))
        t.normalizer = N.Sequence([N.NFKC(), N.Strip(scheme != "first", scheme == "first"), N.Lowercase()])
        t.pre_tokenizer = P.Metaspace("\u2581", scheme, split=scheme != "never")
        t.decoder = D.Metaspace("\u2581", scheme, split=scheme != "never")
        out.append((f"metaspace_{scheme}", lambda t=t: add_flagged(train(t, tales, 300))))

    t = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>", continuing_subword_prefix="##"))
    t.normalizer = N.Sequence([N.NFD(), N.StripAccents()])
    t.pre_tokenizer = P.Whitespace()
    out.append(("subword_marks", lambda t=t: train(t, tales, end_of_word_suffix="</w>", continuing_subword_prefix="##")))

    for i, (pattern, behavior, invert) in enumerate([(Regex(r"\w+"), "removed", True), (Regex(r"[,.]\s*"), "merged_with_next", False), (Regex("[aeiou]"), "contiguous", False), (Regex(r"(?=[A-Z])"), "isolated", False)]):
        t = Tokenizer(models.BPE(unk_token="<unk>"))
        t.normalizer = [N.NFC(), N.NFKD(), N.Replace(Regex(r"\s+"), "~"), N.Sequence([])][i]
        t.pre_tokenizer = P.Sequence([P.Split(pattern, behavior, invert), [P.WhitespaceSplit(), P.CharDelimiterSplit("-"), P.BertPreTokenizer(), P.Punctuation()][i]])
        out.append((f"split_{behavior}", lambda t=t: train(t, tales, 300)))

    t = Tokenizer(models.Unigram())
    t.pre_tokenizer = P.Metaspace()
    t.decoder = D.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, show_progress=False, special_tokens=["<unk>", "<s>", "</s>"], unk_token="<unk>")

    def unigram(t=t):
        t.train_from_iterator(tales.read_text().split("\n")[:1500], trainer)
        return t

    def unigram_bytes():
        t = with_bytes(unigram())
        t.decoder = D.Sequence([D.ByteFallback(), D.Metaspace(), D.Fuse()])
        return t

    def unigram_charsmap():
        sink = io.BytesIO()
        rules = OUT / "rules.tsv"
        rules.write_text(RULES)
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(tales.read_text().split("\n")[:1500]), model_writer=sink, normalization_rule_tsv=str(rules),
                                                 model_type="unigram", vocab_size=300, minloglevel=2, num_threads=1)
        rules.unlink()
        proto = sentencepiece_model_pb2.ModelProto()
        proto.ParseFromString(sink.getvalue())
        t = Tokenizer(models.Unigram([(p.piece, p.score) for p in proto.pieces], unk_id=0))
        t.normalizer = N.Sequence([N.Precompiled(proto.normalizer_spec.precompiled_charsmap), N.Replace(Regex(" {2,}"), " ")])
        t.pre_tokenizer = P.Metaspace()
        t.decoder = D.Metaspace()
        t.add_special_tokens(["<unk>", "<s>", "</s>"])
        return t

    return out + [("unigram", unigram), ("unigram_bytes", unigram_bytes), ("unigram_charsmap", unigram_charsmap)]


def synthetic_sp(tales):
    """(name, model bytes)"""
    rules = OUT / "rules.tsv"
    rules.write_text(RULES)
    for name, options in [
        ("sp_unigram", dict(model_type="unigram", vocab_size=300, byte_fallback=False)),
        ("sp_unigram_bytes", dict(model_type="unigram", vocab_size=600, byte_fallback=True, user_defined_symbols=["story", "<ADD_L>"], remove_extra_whitespaces=False)),
        ("sp_bpe", dict(model_type="bpe", vocab_size=300, byte_fallback=False, user_defined_symbols=["the", "<ADD_L>", "  "], control_symbols=["<CTL>"])),
        ("sp_bpe_bytes", dict(model_type="bpe", vocab_size=600, byte_fallback=True, add_dummy_prefix=False, remove_extra_whitespaces=False)),
        ("sp_bpe_suffix", dict(model_type="bpe", vocab_size=300, treat_whitespace_as_suffix=True)),
    ]:
        sink = io.BytesIO()
        sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(tales.read_text().split("\n")[:1500]), model_writer=sink, normalization_rule_tsv=str(rules),
                                                 character_coverage=0.999, minloglevel=2, num_threads=1, **options)
        yield name, sink.getvalue()
    rules.unlink()


def main():
    shared = pathlib.Path(sys.argv[1])
    tales = shared / "text/tales_valid.txt"
    strings = make_strings(tales)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "strings.json").write_text("[\n" + ",\n".join(json.dumps(s) for s in strings) + "\n]\n")
    print(len(strings), "strings")

    hf("tales", Tokenizer.from_file(str(shared / "models/tales-16m/tokenizer.json")), strings)
    hf("gpt2", gpt2(shared), strings)
    hf("qwen2", qwen2(shared), strings)
    hf("llama2_json", llama2_json(shared), strings, decodes=False, select=lambda s: strings.index(s) % 3 == 0 or "<" in s)
    llama3(shared, strings)
    sp("llama2", (shared / "tokenizers/llama2/tokenizer.model").read_bytes(), strings)
    # v2, v3 and v7 differ in control tokens only, whose spelling is text to encode(): one golden serves them.
    for name, path in [("mistral_v1", "tokenizer.model.v1"), ("mistral_v3", "mistral_instruct_tokenizer_240323.model.v3"),
                       ("mistral_v2", "mistral_instruct_tokenizer_240216.model.v2"), ("mistral_v7", "mistral_instruct_tokenizer_241114.model.v7")]:
        sp(name, (shared / "tokenizers/mistral" / path).read_bytes(), strings, decodes=name == "mistral_v3")
    for name in ("mistral_v2", "mistral_v7"):
        path = OUT / f"{name}.text.golden"
        assert path.read_bytes() == (OUT / "mistral_v3.text.golden").read_bytes()
        path.unlink()

    few = [i for i in range(len(strings)) if i % 12 == 0 or "ADD" in strings[i] or "<s>" in strings[i]]
    subset = {strings[i] for i in few}
    (OUT / "synthetic").mkdir(exist_ok=True)
    for name, make in synthetic(tales):
        # Training does not come out the same twice: what is there is kept.
        path = OUT / "synthetic" / f"{name}.json"
        if not path.exists():
            path.write_text(make().to_str())
        # The reference's unigram model takes the spelling of a control token for the token, asked or not.
        plain = (lambda s: not spells_control(s)) if "unigram" in name else lambda s: True
        hf(f"synthetic/{name}", Tokenizer.from_file(str(path)), strings, decodes=False, select=subset.__contains__, plain=plain)
    for name, data in synthetic_sp(tales):
        (OUT / "synthetic" / f"{name}.model").write_bytes(data)
        sp(f"synthetic/{name}", data, strings, decodes=False, select=subset.__contains__)


if __name__ == "__main__":
    main()
