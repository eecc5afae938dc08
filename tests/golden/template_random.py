"""Random templates over template_snippets.CONTEXT, for comparing two implementations of the language."""

import random

NAMES = ["s", "u", "empty", "spaced", "lines", "i", "neg", "f", "t", "no", "nil", "l", "words", "mixed", "e", "d", "ed", "users", "q", "html", "x", "y", "z", "ns"]
STRINGS = ["'a'", "'Hello'", "' b '", '"it\'s"', "'é🌍'", "'<&>'", "','", "''", "'1.5'", "'42'", "'a\\nb'", "'%s-%s'", "'{}|{}'", "'name'", "'age'"]
FILTERS = [
    "upper", "lower", "title", "capitalize", "trim", "length", "count", "first", "last", "list", "string", "int", "float", "abs", "round", "join", "join(',')",
    "sort", "sort(reverse=true)", "unique|list", "reverse|list", "min", "max", "sum", "tojson", "tojson(indent=2)", "escape", "safe", "default('d')", "default('d', true)",
    "replace('a', 'b')", "replace('l', '')", "items|list", "dictsort", "batch(2)|list", "slice(2)|list", "select|list", "reject('string')|list", "select('number')|list",
    "selectattr('age', 'gt', 26)|list", "rejectattr('tags')|list", "map('upper')|list", "map(attribute='name')|list", "groupby('age')|list", "indent", "indent(2, true)",
    "truncate(6)", "truncate(4, true, '', 0)", "wordcount", "center(12)", "urlencode", "format(1, 2)", "format('x')", "attr('upper')", "round(1)", "round(-1)", "int(7)",
    "batch(3, 0)|list", "map('int')|list", "map('string')|join('+')", "length|string", "trim('ab')", "wordcount|float", "forceescape", "e",
]
METHODS = [
    ".upper()", ".lower()", ".title()", ".capitalize()", ".strip()", ".lstrip('ab ')", ".rstrip()", ".split()", ".split('l')", ".split(' ', 1)", ".rsplit('o', 1)", ".splitlines()",
    ".startswith('H')", ".endswith('d')", ".replace('l', 'L', 1)", ".find('o')", ".rfind('o')", ".count('l')", ".join(words)", ".format(1, 'b')", ".removeprefix('He')", ".isdigit()",
    ".isalpha()", ".islower()", ".items()", ".keys()|list", ".values()|list", ".get('a')", ".get('zz', 9)", ".index('a')", ".swapcase()", ".zfill(5)", ".center(9, '*')", ".partition('l')",
    ".a", ".b.c", ".name", ".c[0]", ".nosuch", "[0]", "[-1]", "[1:]", "[::-1]", "[:2]", "[::2]", "['a']", "[i]", "['name']", "[1:-1]", "[5]", "[-2:][0]", ".append(1)", "()",
]
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "true", "false", "odd", "even", "divisibleby(2)",
    "divisibleby 3", "lower", "upper", "callable", "eq 7", "ne('a')", "lt 3", "gt 3", "in l", "in 'Hello'", "sameas none", "equalto('a')", "escaped", "ge 2.5", "le(i)",
]
BINARY = ["+", "-", "*", "/", "//", "%", "~", "~", "+", "==", "!=", "<", ">", "<=", ">=", "in", "not in", "and", "or", "and", "or"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, p):
        return self.random.random() < p

    def atom(self):
        kind = self.random.randrange(12)
        if kind < 6:
            return self.pick(NAMES)
        if kind < 8:
            return self.pick(STRINGS)
        if kind < 10:
            return self.pick(["0", "1", "2", "3", "-1", "2.5", "0.1", "10", "1e3", "true", "false", "none"])
        if kind < 11:
            return self.pick(["[]", "[1, 2]", "['b', 'a']", "(1, 'x')", "{}", "{'a': 1}", "{'b': [1], 'a': {}}", "range(4)", "namespace(a=1)", "dict(k='v')", "[none, true]"])
        return self.pick(["loop.index", "loop.last", "loop.first", "loop.length", "loop.previtem", "loop.nextitem", "ns.v", "m(i)", "m('b', y=2)", "m()", "loop.cycle('p', 'q')", "undefined_name"])

    def expression(self, depth):
        if depth <= 0 or self.chance(0.15):
            return self.atom()
        kind = self.random.randrange(14)
        if kind < 4:
            return self.suffixed(depth - 1) + " | " + self.pick(FILTERS)
        if kind < 6:
            return self.suffixed(depth - 1)
        if kind < 9:
            left, right = self.operand(depth - 1), self.operand(depth - 1)
            return f"{left} {self.pick(BINARY)} {right}"
        if kind == 9:
            return f"{self.operand(depth - 1)} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind == 10:
            return f"{self.operand(depth - 1)} if {self.expression(depth - 1)}" + (f" else {self.operand(depth - 1)}" if self.chance(0.8) else "")
        if kind == 11:
            return self.pick(["not ", "-", "+"]) + self.operand(depth - 1)
        if kind == 12:
            items = [self.expression(depth - 2) for _ in range(self.random.randrange(4))]
            return "[" + ", ".join(items) + "]"
        return "{" + ", ".join(f"{self.pick(STRINGS)}: {self.expression(depth - 2)}" for _ in range(self.random.randrange(3))) + "}"

    def operand(self, depth):
        text = self.expression(depth)
        return text if self.chance(0.2) or " " not in text else f"({text})"

    def suffixed(self, depth):
        text = self.operand(depth)
        if " " in text and not text.startswith("("):
            text = f"({text})"
        for _ in range(self.random.randrange(3)):
            text += self.pick(METHODS)
        return text

    def tag(self, body):
        left, right = self.pick(["", "", "-", "", "+"]), self.pick(["", "", "-", ""])
        return "{%" + left + " " + body + " " + right + "%}"

    def text(self):
        return self.pick(["a", " ", "\n", "  \n", "\n  ", "x\n", ",", " b ", "", "é", "\n\n"])

    def target(self):
        return self.pick(["x", "y", "z", "s", "i"])

    def statement(self, depth):
        kind = self.random.randrange(15)
        if depth <= 0 or kind < 5:
            left, right = self.pick(["", "", "-"]), self.pick(["", "", "-"])
            return "{{" + left + " " + self.expression(3) + " " + right + "}}"
        if kind < 7:
            parts = self.tag(f"if {self.expression(2)}") + self.body(depth - 1)
            if self.chance(0.3):
                parts += self.tag(f"elif {self.expression(2)}") + self.body(depth - 1)
            if self.chance(0.5):
                parts += self.tag("else") + self.body(depth - 1)
            return parts + self.tag("endif")
        if kind < 10:
            target = self.pick(["x", "x", "y", "k, v", "i"])
            source = self.pick(["l", "words", "users", "d.items()", "d|items", "range(3)", "e", "s", "mixed", "d", self.operand(1)])
            test = f" if {self.operand(1)}" if self.chance(0.25) else ""
            parts = self.tag(f"for {target} in {source}{test}") + self.body(depth - 1)
            if self.chance(0.15):
                parts += self.tag(f"if {self.expression(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif") + self.body(depth - 1)
            if self.chance(0.2):
                parts += self.tag("else") + self.body(depth - 1)
            return parts + self.tag("endfor")
        if kind == 10:
            return self.tag(f"set {self.pick(['ns.v', 'x, y', self.target(), self.target(), self.target()])} = {self.expression(2)}")
        if kind == 11:
            return self.tag(f"set {self.target()}{self.pick(['', '', ' | upper'])}") + self.body(depth - 1) + self.tag("endset")
        if kind == 12:
            return self.tag("macro m(x, y='d', z=x)") + self.body(depth - 1) + self.tag("endmacro")
        if kind == 13:
            return self.pick(
                [
                    self.tag(f"filter {self.pick(['upper', 'trim', 'length', 'title|trim'])}") + self.body(depth - 1) + self.tag("endfilter"),
                    self.tag(f"with {self.target()} = {self.expression(1)}") + self.body(depth - 1) + self.tag("endwith"),
                    self.tag("generation") + self.body(depth - 1) + self.tag("endgeneration"),
                    self.tag("macro c(a=1)") + "[{{ caller(a) }}]" + self.tag("endmacro") + self.tag("call(x) c(5)") + self.body(depth - 1) + self.tag("endcall"),
                ]
            )
        return self.pick(["{# c #}", "{#- c -#}", "{% raw %}{{ r }}{% endraw %}", "{%- raw -%} r {%- endraw %}"])

    def body(self, depth):
        parts = []
        for _ in range(1 + self.random.randrange(2)):
            parts += [self.text(), self.statement(depth)]
        return "".join(parts) + self.text()

    def template(self):
        start = self.pick(["", "", "{%- set ns = namespace(v=1) -%}", "{% macro m(x, y='d', z=x) %}{{ x }}{{ y }}{{ z }}{% endmacro %}"])
        return start + self.body(3)


def templates(count, seed):
    return [Maker(f"{seed}/{i}").template() for i in range(count)]
