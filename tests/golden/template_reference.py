"""The reference for chat templates: Python's Jinja2, set up as transformers sets it up."""

import datetime
import json

import jinja2
import jinja2.ext
import jinja2.nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

# What strftime_now tells in the tests: Friday, 24 July 2026, 13:05:09.
NOW = datetime.datetime(2026, 7, 24, 13, 5, 9)


class Generation(jinja2.ext.Extension):
    """{% generation %}: the body, in a scope of its own."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("_body"), [], [], body).set_lineno(line)

    def _body(self, caller):
        return caller()


def environment():
    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = lambda format: NOW.strftime(format)
    return env


ENVIRONMENT = environment()


def render(source, context):
    """(text, None), or (None, what was raised)."""
    try:
        text = ENVIRONMENT.from_string(source).render(**context)
        text.encode("utf-8")
        return text, None
    except Exception as error:  # whatever the reference raises, lathe must refuse too
        return None, f"{type(error).__name__}: {error}"
