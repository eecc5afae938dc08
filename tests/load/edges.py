#!/usr/bin/env python3
"""Every parameter of every endpoint, as /openapi.json has them, just outside of what is allowed, while 32 streams run: a
number below the least and above the most, one entry too many, every other type, NaN, infinities, integers beyond 64 bits,
absent, and a field that is unknown. Each is refused with OpenAI's error, its param and code; null means absent."""
import json
import time

from loadlib import Server, Verdict, start_bench

LIMIT_MS = 50
LEAST = {"/v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}, "/v1/embeddings": {"input": "hi"},
         "/tokenize": {"prompt": "hi"}, "/detokenize": {"tokens": [5, 6]}, "/v2/models/{name}/generate": {"text_input": "hi", "max_tokens": 1},
         "/v2/models/{name}/generate_stream": {"text_input": "hi", "max_tokens": 1}}
REQUIRED = {"messages", "prompt", "input", "tokens", "text_input"}
NO_JSON = ("NaN", "Infinity", "-Infinity", "1e999")


def resolve(document, schema):
    while "$ref" in schema:
        found = document
        for part in schema["$ref"][2:].split("/"):
            found = found[part]
        schema = found
    return schema


def outside(document, schema):
    """(why, JSON text) of values that the schema does not have."""
    schema = resolve(document, schema)
    kinds = [schema] + [resolve(document, s) for s in schema.get("anyOf", []) + schema.get("oneOf", [])]
    types = set()
    for kind in kinds:
        found = kind.get("type", [])
        types |= set(found if isinstance(found, list) else [found])
        if "minimum" in kind and types & {"integer", "number"}:
            yield "below the least", json.dumps(kind["minimum"] - 1)
        if "exclusiveMinimum" in kind:
            yield "at the bound", json.dumps(kind["exclusiveMinimum"])
        if "maximum" in kind and types & {"integer", "number"}:
            yield "above the most", json.dumps(kind["maximum"] + 1)
        if kind.get("maxItems", 1 << 30) < 10000:
            yield "too many", json.dumps(["a"] * (kind["maxItems"] + 1))
    if types:
        samples = {"boolean": "true", "string": '"zz"', "array": "[[{}]]", "object": '{"zz":{}}'}
        yield from (("a " + kind, text) for kind, text in samples.items() if kind not in types)
        if "number" not in types:
            yield "a fraction", "1.5"
        yield from (("beyond 64 bits", text) for text in ("9223372036854775808", "-9223372036854775809") if not types & {"number"})
    yield from (("no JSON", text) for text in NO_JSON)


def requests(document):
    """(path, field, why, body) of all that must be refused; why "null" is for a field that may be null."""
    for path, operations in document["paths"].items():
        if "post" not in operations:
            continue
        schema = resolve(document, operations["post"]["requestBody"]["content"]["application/json"]["schema"])
        least = LEAST.get(path, {"prompt": "hi", "max_tokens": 1})
        yield path, "no_such_field", "unknown", json.dumps(least | {"no_such_field": 1})
        for field in REQUIRED & set(least):
            yield path, field, "missing", json.dumps({k: v for k, v in least.items() if k != field})
        for field, value in schema["properties"].items():
            for why, text in [*outside(document, value), ("null", "null")]:
                body = json.dumps(least | {field: "@"}).replace('"@"', text)
                yield path, field, "missing" if why == "null" and field in REQUIRED & set(least) else why, body


def main():
    verdict = Verdict("edges")
    with Server("--max-sequences", "33", "--kv-bytes", "256M", "--log-level", "warn") as server:
        document = json.loads(server.get("/openapi.json")[1])
        load = start_bench(server, "--concurrency", "32", "--duration", "600", "--dataset", "random:64/256", "--ignore-eos")
        times, nulls = [], 0
        try:
            for path, field, why, body in requests(document):
                begin = time.perf_counter()
                if why == "null":
                    if field not in ("max_tokens", "max_new_tokens"):  # then the answer is as long as it gets
                        nulls += 1
                        status = server.request("POST", path.replace("{name}", "tales-16m"), body)[0]
                        verdict.check(status == 200, f"{path} {field} null: {status}")
                    continue
                status, _, raw = server.request("POST", path.replace("{name}", "tales-16m"), body)
                times.append((time.perf_counter() - begin) * 1e3)
                try:
                    error = json.loads(raw)["error"]
                    shaped = bool(error["message"] and error["code"]) and (why == "no JSON" or bool(error["param"]))
                except (ValueError, KeyError, TypeError):
                    shaped = False
                verdict.check(status in (400, 404) and shaped, f"{path} {field} {why}: {status} {raw[:200]!r} to {body[:200]}")
        finally:
            load.terminate()
            load.wait()
        times.sort()
        p99 = times[int(len(times) * 0.99)]
        verdict.set(refused=len(times), nulls=nulls, p50_ms=times[len(times) // 2], p99_ms=p99, max_ms=times[-1])
        verdict.check(p99 <= LIMIT_MS, f"the 99th percentile of refusals is {p99:.1f} ms")
        verdict.check(server.wait_idle(30) is not None, "KV pages are left over")
    verdict.finish()


if __name__ == "__main__":
    main()
