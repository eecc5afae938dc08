#!/usr/bin/env python3
"""What Python's Jinja2 makes of chat templates, for src/text/template.

Needs jinja2 3.1 and xxhash. Writes under tests/data/templates:
  NAME.jinja          templates of real models whose licence allows it (that of tales-16m lies in models/)
  conversations.json  contexts to render them with
  expected.json       per template and conversation: the text, or its hash (XXH3, 128 bits) when it is long or the
                      template is not ours to copy, or {"raises": message} of raise_exception, or {"error": true}
  snippets.json       small templates, one language feature each, with their output (null: the reference raises)
  random.json         random templates, with their output, its hash in [brackets], or null
Run: python tests/golden/template_golden.py SHARED, where SHARED holds templates/ and models/.
"""

import copy
import json
import pathlib
import re
import sys
import warnings

import xxhash

import template_conversations
import template_random
import template_reference
import template_snippets

OUT = pathlib.Path(__file__).resolve().parents[1] / "data" / "templates"

# Apache-2.0 or MIT; the others are read from SHARED where it is there.
COPIED = ("Qwen", "mistralai-Mistral-Nemo", "NousResearch-Hermes", "deepseek-ai")
LONGEST_TEXT = 1500
RANDOM_CASES = 2000
RANDOM_SEED = "lathe"
# Texts that hold an address, which differ from run to run, or the name of a Python object.
ADDRESS = re.compile(r"<(generator|built-in|bound|function|class|list_?reverse|reversed|dict_reverse|range_iter)|0x|iterator object|object (of|&)")


def digest(text):
    return xxhash.xxh3_128_hexdigest(text.encode())


def dump(value, levels):
    """JSON with a line for every element down to `levels`."""
    if levels == 0 or not isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"))
    if isinstance(value, list):
        return "[\n" + ",\n".join(dump(item, levels - 1) for item in value) + "\n]"
    return "{\n" + ",\n".join(f"{json.dumps(key)}:{dump(item, levels - 1)}" for key, item in value.items()) + "\n}"


def write(name, value, levels):
    (OUT / name).write_text(dump(value, levels) + "\n")


def template_files(shared):
    files = {path.stem: path for path in sorted((shared / "templates").glob("*.jinja"))}
    files["tales-16m"] = shared / "models" / "tales-16m" / "chat_template.jinja"
    return files


def expected(source, context, copied):
    text, error = template_reference.render(source, context)
    if error is not None:
        kind, _, message = error.partition(": ")
        return {"raises": message} if kind == "TemplateError" else {"error": True}
    return {"text": text} if copied and len(text) <= LONGEST_TEXT else {"hash": digest(text)}


def write_templates(shared):
    conversations = template_conversations.conversations()
    write("conversations.json", conversations, 1)
    results = {}
    for name, path in template_files(shared).items():
        source = path.read_text()
        copied = name.startswith(COPIED)
        if copied:
            (OUT / f"{name}.jinja").write_text(source)
        shown = copied or name == "tales-16m"
        results[name] = [expected(source, template_conversations.expand(c), shown) for c in conversations]
    write("expected.json", results, 2)


def write_snippets():
    cases = []
    for source in template_snippets.snippets():
        text, _ = template_reference.render(source, copy.deepcopy(template_snippets.CONTEXT))
        if text is None or not ADDRESS.search(text):
            cases.append([source, text])
    write("snippets.json", {"context": template_snippets.CONTEXT, "cases": cases}, 2)


def write_random():
    cases = []
    for source in template_random.templates(6 * RANDOM_CASES, RANDOM_SEED):
        if len(source) > 240 or len(cases) == RANDOM_CASES:
            continue
        text, _ = template_reference.render(source, copy.deepcopy(template_snippets.CONTEXT))
        if text is None:
            cases.append([source, None])
        elif not ADDRESS.search(text):
            cases.append([source, text if len(text) <= 40 else [digest(text)]])
    write("random.json", cases, 1)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # Python's own, about odd expressions in the compiled templates
    OUT.mkdir(parents=True, exist_ok=True)
    write_templates(pathlib.Path(sys.argv[1]))
    write_snippets()
    write_random()
