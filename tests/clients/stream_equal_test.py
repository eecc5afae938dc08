"""Stream = non-stream, byte for byte: prompts in many scripts, stop strings that straddle tokens, every choice."""
import concurrent.futures
import http.client
import json
import os
import random

PROMPTS = int(os.environ.get("STREAM_PROMPTS", "500"))
WORDS = ["Once upon a time", "猫は木の上に", "小狗跑得很快", "학교에 갔어요", "Жил-был кот", "🦊🐻‍❄️ went home 🏠", "naïve café",
         "שלום עולם", "مرحبا بالعالم", "ผมชอบกินข้าว", "e\u0301\u0323", "🇫🇷🇯🇵", "\t tabs and\nlines", "1 + 1 = 2", "<b>&amp;</b>",
         "She said \"hi\"", "C:\\new", "𝔘𝔫𝔦", "end."]


def make(seed):
    """One request body, without `stream`."""
    draw = random.Random(seed)
    prompt = " ".join(draw.choice(WORDS) for _ in range(draw.randint(1, 8)))
    body = {"max_tokens": draw.choice([1, 7, 24, 48]), "temperature": draw.choice([0, 0.8, 1.5]), "seed": seed,
            "n": draw.choice([1, 1, 1, 2])}
    if draw.random() < 0.4:  # any token at all: tales alone would never leave ASCII
        body |= {"temperature": 50, "max_tokens": 48}
    return prompt, body


class Caller:
    def __init__(self, port, name):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self.name = name

    def post(self, chat, prompt, body):
        body = body | {"model": self.name} | ({"messages": [{"role": "user", "content": prompt}]} if chat else {"prompt": prompt})
        self.connection.request("POST", "/v1/chat/completions" if chat else "/v1/completions", json.dumps(body),
                                {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        return answer.status, answer.read()

    def whole(self, chat, prompt, body):
        """{choice: (text, finish)} and the usage."""
        status, raw = self.post(chat, prompt, body)
        answer = json.loads(raw)
        assert status == 200, answer
        return ({c["index"]: (c["message"]["content"] if chat else c["text"], c["finish_reason"]) for c in answer["choices"]},
                answer["usage"]["completion_tokens"])

    def streamed(self, chat, prompt, body):
        status, raw = self.post(chat, prompt, body | {"stream": True, "stream_options": {"include_usage": True}})
        assert status == 200, raw
        events = [line.removeprefix(b"data: ") for line in raw.split(b"\n\n") if line.startswith(b"data: ")]
        assert events[-1] == b"[DONE]"
        texts, finish, usage = {}, {}, None
        for event in events[:-1]:
            event.decode()  # every event is whole UTF-8
            chunk = json.loads(event)
            usage = (chunk.get("usage") or {}).get("completion_tokens", usage)
            for c in chunk["choices"]:
                piece = (c["delta"].get("content") or "") if chat else c["text"]
                texts[c["index"]] = texts.get(c["index"], "") + piece
                finish[c["index"]] = c["finish_reason"] or finish.get(c["index"])
        return {i: (texts[i], finish[i]) for i in texts}, usage


def compare(caller, seed):
    prompt, body = make(seed)
    chat = seed % 2 == 1
    whole, tokens = caller.whole(chat, prompt, body)
    assert caller.streamed(chat, prompt, body) == (whole, tokens), f"seed {seed}"
    # A stop string out of the middle of the text, beginning and ending inside tokens.
    text = whole[0][0]
    stopped = 0
    draw = random.Random(-seed)
    if len(text) > 8:
        at = draw.randint(1, len(text) - 4)
        stop = [text[at:at + draw.randint(2, 6)], "\x00never"]
        cut = body | {"stop": stop}
        whole_cut, tokens_cut = caller.whole(chat, prompt, cut)
        assert whole_cut[0][0] == text[:text.index(stop[0])] and whole_cut[0][1] == "stop", f"seed {seed}: {stop}"
        assert caller.streamed(chat, prompt, cut) == (whole_cut, tokens_cut), f"seed {seed}: {stop}"
        stopped = 1
    return stopped, any(ord(c) > 127 for c in text)


def test_stream_is_the_answer(server, name):
    def share(k):
        caller = Caller(server.port, name)
        return [compare(caller, seed) for seed in range(k, PROMPTS, 8)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        results = [result for part in pool.map(share, range(8)) for result in part]
    assert len(results) == PROMPTS
    stopped, foreign = sum(r[0] for r in results), sum(r[1] for r in results)
    print(json.dumps({"prompts": PROMPTS, "with_a_stop": stopped, "with_other_scripts": foreign, "different": 0}))
    assert stopped > PROMPTS * 0.5 and foreign > PROMPTS * 0.1
