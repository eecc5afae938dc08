"""Random templates over template_snippets.CONTEXT, for comparing two implementations of the language.

Expressions are mostly of fitting types, so that most templates render; a few are not.
"""

import random

STRINGS = ["s", "u", "empty", "spaced", "lines", "q", "html", "'a'", "'Hello'", "' b '", '"it\'s"', "'é🌍'", "'<&>'", "','", "''", "d.b", "users[0].name", "words[1]", "bos_token"]
NUMBERS = ["i", "neg", "f", "0", "1", "2", "3", "10", "2.5", "0.1", "1e3", "d.a", "l[0]", "users[0].age", "t"]
LISTS = ["l", "words", "mixed", "e", "users", "[1, 2]", "['b', 'a']", "(1, 'x')", "range(4)", "d.c", "users[0].tags", "[none, true]", "(3,)"]
TEXTS = ["words", "['b', 'a']", "users[0].tags", "s.split()", "['x', s]", "d.keys()|list"]
ANYTHING = ["nil", "no", "d", "ed", "undefined_name", "namespace(a=1)", "{'a': 1}", "{'b': [1], 'a': {}}", "d.zzz", "users[2].admin", "dict(k='v')"]
STRING_FILTERS = [
    "upper", "lower", "title", "capitalize", "trim", "string", "escape", "safe", "e", "forceescape", "replace('a', 'b')", "replace('l', '')", "replace('', '.', 2)", "indent",
    "indent(2, true)", "indent('> ', blank=true)", "truncate(6)", "truncate(4, true, '', 0)", "center(12)", "urlencode", "trim('ab')", "reverse", "default('d')", "default('d', true)", "tojson",
]
STRING_METHODS = [
    "upper()", "lower()", "title()", "capitalize()", "strip()", "lstrip('ab ')", "rstrip()", "replace('l', 'L', 1)", "join(words)", "removeprefix('He')", "removesuffix('d')", "swapcase()",
    "zfill(5)", "center(9, '*')", "ljust(7)", "rjust(7, '.')", "expandtabs(4)", "strip('\\n')",
]
LIST_FILTERS = ["reverse|list", "list", "select|list", "reject('string')|list", "select('number')|list", "batch(2)|list", "batch(3, 0)|list", "slice(2)|list", "slice(3, 'f')|list", "map('string')|list"]
TEXT_FILTERS = ["sort", "sort(reverse=true)", "unique|list", "map('upper')|list", "map('length')|list|map('string')|list", "select('in', ['a', 'Apple'])|list", "reject('eq', 'a')|list", "sort(case_sensitive=true)"]
USER_LISTS = ["selectattr('age', 'gt', 26)|map(attribute='name')|list", "rejectattr('tags')|map(attribute='name')|list", "map(attribute='name')|list", "groupby('age')|map('first')|list", "sort(attribute='age')|map(attribute='name')|list"]
TESTS = [
    "defined", "undefined", "none", "string", "number", "integer", "float", "boolean", "mapping", "sequence", "iterable", "true", "false", "lower", "upper", "callable", "eq 7", "ne('a')",
    "in l", "in ['a', 1]", "sameas none", "equalto('a')", "escaped",
]
WILD_SUFFIXES = [".a", ".name", ".nosuch", "[0]", "[-1]", "['a']", "[i]", ".append(1)", "()", ".items()", ".get('a')", ".upper()", " | length", " | first", " | last", " | int", " | float", " | sum", " | min", " | max", " | dictsort", " | items | list", " | round", " | join"]


class Maker:
    def __init__(self, seed):
        self.random = random.Random(seed)
        self.loops = 0

    def pick(self, items):
        return self.random.choice(items)

    def chance(self, p):
        return self.random.random() < p

    def text(self, depth):
        """An expression that is (usually) a string, bracketed where needed."""
        if depth <= 0 or self.chance(0.2):
            return self.pick(STRINGS)
        kind = self.random.randrange(12)
        if kind < 3:
            return f"({self.text(depth - 1)} | {self.pick(STRING_FILTERS)})"
        if kind < 5:
            return f"{self.text(depth - 1)}.{self.pick(STRING_METHODS)}"
        if kind == 5:
            return f"({self.text(depth - 1)} + {self.text(depth - 1)})"
        if kind == 6:
            return f"({self.anything(depth - 1)} ~ {self.anything(depth - 1)})"
        if kind == 7:
            return f"{self.text(depth - 1)}{self.pick(['[1:]', '[:-1]', '[::-1]', '[2:5]', '[::2]', '[-3:]', '[i:]', '[:f|int]'])}"
        if kind == 8:
            return f"({self.anything(depth - 1)} | {self.pick(['string', 'tojson', 'string | upper', 'tojson(indent=2)'])})"
        if kind == 9:
            return f"({self.texts(depth - 1)} | join({self.pick(STRINGS)}))"
        if kind == 10:
            return f"""('{self.pick(["%s", "%s|%r", "%5s.", "%-4s<%s>"])}' | format({self.anything(depth - 1)}, {self.anything(depth - 1)}))"""
        return f"""'{self.pick(["{}", "{}{}", "{1}{0}", "{!r:>8}|{}", "{:*^7}"])}'.format({self.text(depth - 1)}, {self.number(depth - 1)})"""

    def number(self, depth):
        if depth <= 0 or self.chance(0.25):
            return self.pick(NUMBERS + (["loop.index", "loop.index0", "loop.revindex", "loop.length"] if self.loops else []))
        kind = self.random.randrange(8)
        if kind < 3:
            return f"({self.number(depth - 1)} {self.pick(['+', '-', '*', '//', '%', '/', '+', '-'])} {self.number(depth - 1)})"
        if kind == 3:
            return f"({self.number(depth - 1)} | {self.pick(['abs', 'round', 'int', 'float', 'round(1)', 'round(0, ' + chr(39) + 'ceil' + chr(39) + ')', 'string | length'])})"
        if kind == 4:
            return f"({self.items(depth - 1)} | {self.pick(['length', 'count', 'list | length'])})"
        if kind == 5:
            return f"{self.text(depth - 1)}.{self.pick(['find', 'count', 'rfind'])}({self.pick(STRINGS)})"
        if kind == 6:
            return f"({self.pick(['l', '[1, 2]', 'range(4)'])} | {self.pick(['sum', 'min', 'max', 'first', 'last', 'sum(start=2.5)'])})"
        return f"({self.text(depth - 1)} | {self.pick(['length', 'wordcount', 'int', 'float', 'int(7)'])})"

    def texts(self, depth):
        """A list of strings."""
        if depth <= 0 or self.chance(0.3):
            return self.pick(TEXTS)
        kind = self.random.randrange(5)
        if kind < 2:
            return f"({self.texts(depth - 1)} | {self.pick(TEXT_FILTERS)})"
        if kind == 2:
            return f"{self.text(depth - 1)}.{self.pick(['split()', 'split(' + chr(39) + 'l' + chr(39) + ')', 'rsplit(none, 1)', 'splitlines()', 'partition(' + chr(39) + 'o' + chr(39) + ')'])}"
        if kind == 3:
            return f"(users | {self.pick(USER_LISTS)})"
        return f"[{self.text(depth - 1)}, {self.text(depth - 1)}]"

    def items(self, depth):
        if depth <= 0 or self.chance(0.25):
            return self.pick(LISTS)
        kind = self.random.randrange(6)
        if kind == 0:
            return f"({self.items(depth - 1)} | {self.pick(LIST_FILTERS)})"
        if kind == 1:
            return self.texts(depth)
        if kind == 2:
            return "[" + ", ".join(self.anything(depth - 1) for _ in range(self.random.randrange(4))) + "]"
        if kind == 3:
            return f"({self.pick(['l', 'words', 'mixed', 'e', '[1]'])} + {self.pick(['l', 'words', '[none]', 'e'])}){self.pick(['', '[1:]', '[::-1]'])}"
        if kind == 4:
            return self.pick(["d.items()", "d.values()|list", "(d | dictsort)", "(d | items | list)", "range(i, 0, -2)", "range(3)[1:]"])
        return f"{self.pick(['l', 'words', 'mixed', 'users'])}{self.pick(['[1:]', '[:-1]', '[::-1]', '[-2:]', '[:i]'])}"

    def truth(self, depth):
        if depth <= 0:
            return self.pick(["t", "no", "true", "false", "s", "empty", "i", "nil"] + (["loop.first", "loop.last", "loop.nextitem", "loop.previtem"] if self.loops else []))
        kind = self.random.randrange(8)
        if kind == 0:
            return f"{self.number(depth - 1)} {self.pick(['<', '>', '<=', '>=', '==', '!='])} {self.number(depth - 1)}"
        if kind == 1:
            return f"{self.text(depth - 1)} {self.pick(['<', '>=', '==', '!=', 'in', 'not in'])} {self.text(depth - 1)}"
        if kind == 2:
            return f"{self.anything(depth - 1)} is {self.pick(['', 'not '])}{self.pick(TESTS)}"
        if kind == 3:
            return f"{self.anything(depth - 1)} {self.pick(['in', 'not in'])} {self.items(depth - 1)}"
        if kind == 4:
            return f"not {self.truth(depth - 1)}"
        if kind == 5:
            return f"({self.truth(depth - 1)} {self.pick(['and', 'or'])} {self.truth(depth - 1)})"
        if kind == 6:
            return f"{self.anything(depth - 1)} {self.pick(['==', '!='])} {self.anything(depth - 1)}"
        return f"{self.number(depth - 1)} is {self.pick(['odd', 'even', 'divisibleby 2', 'lt 3', 'ge 2.5'])}"

    def anything(self, depth):
        kind = self.random.randrange(14)
        if kind < 4:
            return self.text(depth)
        if kind < 6:
            return self.number(depth)
        if kind < 8:
            return self.items(depth)
        if kind < 10 or depth <= 0:
            return self.pick(ANYTHING + ["x", "y", "z"])
        if kind == 10:
            return f"({self.anything(depth - 1)} if {self.truth(depth - 1)}" + (f" else {self.anything(depth - 1)})" if self.chance(0.8) else ")")
        if kind == 11:
            return f"({self.truth(depth - 1)})"
        if kind == 12:
            return "{" + ", ".join(f"{self.pick(STRINGS)}: {self.anything(depth - 1)}" for _ in range(self.random.randrange(3))) + "}"
        if self.chance(0.3):
            return f"({self.pick(['s', 'd', 'l', 'users', 'nil', 'x', 'mixed', 'i'])}{self.pick(WILD_SUFFIXES)})"
        return f"({self.truth(depth - 1)} {self.pick(['and', 'or'])} {self.anything(depth - 1)})"

    def tag(self, body):
        left, right = self.pick(["", "", "-", "", "+"]), self.pick(["", "", "-", ""])
        return "{%" + left + " " + body + " " + right + "%}"

    def data(self):
        return self.pick(["a", " ", "\n", "  \n", "\n  ", "x\n", ",", " b ", "", "é", "\n\n"])

    def target(self):
        return self.pick(["x", "y", "z", "s", "i"])

    def output(self):
        left, right = self.pick(["", "", "-"]), self.pick(["", "", "-"])
        inner = self.pick([self.text, self.text, self.number, self.items, self.anything, self.anything])(3)
        if self.chance(0.1):
            inner = self.pick(["m(i)", "m('b', y=2)", "m(s, z=1)", "ns.v"])
        return "{{" + left + " " + inner + " " + right + "}}"

    def statement(self, depth):
        kind = self.random.randrange(15)
        if depth <= 0 or kind < 5:
            return self.output()
        if kind < 7:
            parts = self.tag(f"if {self.truth(2)}") + self.body(depth - 1)
            if self.chance(0.3):
                parts += self.tag(f"elif {self.truth(2)}") + self.body(depth - 1)
            if self.chance(0.5):
                parts += self.tag("else") + self.body(depth - 1)
            return parts + self.tag("endif")
        if kind < 10:
            return self.loop(depth)
        if kind == 10:
            return self.tag(f"set {self.pick(['ns.v', self.target(), self.target(), self.target(), self.target()])} = {self.anything(2)}")
        if kind == 11:
            return self.tag(f"set {self.target()}{self.pick(['', '', ' | upper'])}") + self.body(depth - 1) + self.tag("endset")
        if kind == 12:
            return self.function("macro m(x, y='d', z=x)", depth, "endmacro")
        if kind == 13:
            return self.pick([self.filter_block, self.with_block, self.generation, self.call])(depth)
        return self.pick(["{# c #}", "{#- c -#}", "{% raw %}{{ r }}{% endraw %}", "{%- raw -%} r {%- endraw %}"])

    def loop(self, depth):
        target, source = self.pick([("x", self.items(1)), ("x", self.texts(1)), ("y", self.pick(LISTS)), ("k, v", self.pick(["d.items()", "d|items", "d|dictsort"])), ("i", "range(3)"), ("x", "s")])
        test = f" if {self.truth(1)}" if self.chance(0.25) and not self.loops else ""
        self.loops += 1
        parts = self.tag(f"for {target} in {source}{test}") + self.body(depth - 1)
        if self.chance(0.15):
            parts += self.tag(f"if {self.truth(1)}") + self.tag(self.pick(["break", "continue"])) + self.tag("endif") + self.body(depth - 1)
        self.loops -= 1
        if self.chance(0.2):
            parts += self.tag("else") + self.body(depth - 1)
        return parts + self.tag("endfor")

    def function(self, begin, depth, end):
        return self.tag(begin) + self.body(depth - 1) + self.tag(end)

    def filter_block(self, depth):
        return self.function(f"filter {self.pick(['upper', 'trim', 'replace(s, i)', 'title|trim', 'length'])}", depth, "endfilter")

    def with_block(self, depth):
        return self.function(f"with {self.target()} = {self.anything(1)}", depth, "endwith")

    def generation(self, depth):
        return self.function("generation", depth, "endgeneration")

    def call(self, depth):
        return self.tag("macro c(a=1)") + "[{{ caller(a) }}]" + self.tag("endmacro") + self.function("call(x) c(5)", depth, "endcall")

    def body(self, depth):
        parts = []
        for _ in range(1 + self.random.randrange(2)):
            parts += [self.data(), self.statement(depth)]
        return "".join(parts) + self.data()

    def template(self):
        start = "{%- set ns = namespace(v=1) -%}" + self.pick(["", "", "{% macro m(x, y='d', z=x) %}{{ x }}{{ y }}{{ z }}{% endmacro %}"])
        return start + self.body(3)


def templates(count, seed):
    return [Maker(f"{seed}/{i}").template() for i in range(count)]
