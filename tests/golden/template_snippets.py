"""Small templates, one feature each, rendered with CONTEXT."""

CONTEXT = {
    "s": "Hello World",
    "u": "straße ǆ İΣΑΣ ﬁ 你好 🌍",
    "empty": "",
    "spaced": "  a b\t c \n",
    "lines": "one\ntwo\r\n\n three\x0bfour",
    "i": 7,
    "neg": -7,
    "f": 2.5,
    "big": 12345678901234567890,
    "t": True,
    "no": False,
    "nil": None,
    "l": [3, 1, 2],
    "words": ["banana", "Apple", "cherry", "apple"],
    "mixed": [1, "a", None, 2.5, True, [1], {"k": 1}],
    "e": [],
    "d": {"a": 1, "b": "two", "c": [1, 2], "items": "shadow", "é": None},
    "ed": {},
    "users": [
        {"name": "Bob", "age": 30, "tags": ["x", "y"], "address": {"city": "Rome"}},
        {"name": "alice", "age": 25, "tags": [], "address": {"city": "Oslo"}},
        {"name": "Carl", "age": 30, "address": {"city": "rome"}, "admin": True},
    ],
    "q": "it's \"quoted\" \\ \n \t \x01 é \u200b \U0001f600",
    "html": "<b>&'\"</b>",
    "bos_token": "<s>",
    "eos_token": "</s>",
}

# Each becomes {{ ... }}.
EXPRESSIONS = r"""
1 + 2
1 + 2 * 3
(1 + 2) * 3
7 // 2
-7 // 2
7 // -2
7 % 3
-7 % 3
7 % -3
7 / 2
6 / 2
2 ** 10
2 ** -1
2 ** 3 ** 2
-2 ** 2
7.5 // 2
-7.5 // 2
-7.5 % 2
7.5 % -2
1e3
1.5e-7
1e16
123456789.0 * 10
1e22
0.1 + 0.2
1 / 3
100000000000000000000 + 1
big
big * 2
1_000 + 0x_ff + 0b101 + 0o17
1 // 0
1 % 0
1.0 / 0
"a" + "b"
"a" * 3
3 * "ab"
"a" * -1
[1, 2] + [3]
[0] * 3
(1, 2) + (3,)
(1,)
()
"a" + 1
1 + "a"
[1] + (2,)
"x" ~ 1 ~ none ~ true ~ 1.5
"a" "b" 'c'
1 ~ 2 + 3
-i
+i
--i
not i
not not i
-t
+t
-s
i == 7.0
i != 7
1 < 2 < 3
1 < 3 < 2
3 > 2 >= 2
"a" < "b"
"a" < 1
[1, 2] < [1, 3]
[1, 2] == [1, 2]
(1, 2) == [1, 2]
{"a": 1, "b": 2} == {"b": 2, "a": 1}
none == none
none < 1
true == 1
true + true
nil is none
undefined_x == undefined_y
undefined_x == none
undefined_x < 1
i in l
3 in l
9 not in l
"a" in d
"zzz" in d
"ell" in s
5 in s
"x" in undefined_x
"x" in 5
[1] in mixed
{} in mixed
1 in d
[1] in d
i and s
empty or "default"
nil or no or 0 or "last"
0 and missing.attribute
1 or missing.attribute
t and nil
s if t else "no"
s if no
s if no else "no"
"a" if no else "b" if t else "c"
(s if no) is defined
s[0]
s[-1]
s[99]
s[1:4]
s[:-1]
s[::-1]
s[::2]
s[8:2:-2]
s[-3:]
s[5:2]
s[:100]
s[1:2:0]
u[7:]
u[::-1]
u[-2:]
l[0]
l[-1]
l[5]
l[1:]
l[::-1]
l[::2]
l[-2:]
l["a"]
l[1.0]
l[true]
(1, 2, 3)[1:]
d["a"]
d.a
d.b
d["zzz"]
d.zzz
d.zzz.y
d["zzz"]["y"]
d[1]
d[[1]]
d.c.0
d.c[1]
d.items
d["items"]
d[:1]
nil.x
nil["x"]
nil[0]
nil[:1]
i.x
5.5.x
missing
missing.x
missing["x"]
missing[0]
missing[:1]
missing()
missing + 1
"a" + missing
missing ~ "a"
missing | list
missing | length
missing | upper
missing | int
missing | default("d")
missing | d
nil | default("d")
nil | default("d", true)
empty | default("d", boolean=true)
d.get("a")
d.get("zzz")
d.get("zzz", 5)
d.get()
d.keys() | list
d.values() | list
ed.items() | list
d.keys()
d.values()
d.copy() == d
d.update({"x": 1})
d.pop("a")
d.clear is defined
l.append(1)
l.sort()
l.append is defined
l.index(1)
l.index(99)
l.count(1)
l.copy()
d.__class__
s.__len__()
s.__class__ is defined
s.upper()
s.lower()
s.title()
s.capitalize()
s.swapcase()
"they're bill's friends".title()
u.upper()
u.lower()
u.title()
u.capitalize()
u.swapcase()
u | upper
u | lower
u | title
u | capitalize
u | length
"hello-world foo(bar) [baz] {qux} <a> it's" | title
"ΑΣ ΣΑΣ. ΑΣ'Α" | lower
s.strip("Hd")
spaced.strip()
spaced.lstrip()
spaced.rstrip()
spaced | trim
"xxhixx" | trim("x")
"\u00a0\u3000x\u2028".strip() ~ "|"
s.split()
s.split("o")
s.split("o", 1)
s.rsplit("o", 1)
s.split("")
s.split(none)
spaced.split()
spaced.split(none, 1)
spaced.rsplit(none, 1)
" a  b ".split(" ")
"a,b,c".split(",", maxsplit=1)
"".split()
"".split(",")
lines.splitlines()
lines.splitlines(true)
"a\n".splitlines()
s.partition(" ")
s.partition("zz")
s.rpartition("o")
s.startswith("Hell")
s.startswith(("x", "H"))
s.startswith("World", 6)
s.endswith("ld")
s.endswith("Wor", 0, 9)
s.startswith(1)
s.find("o")
s.find("o", 5)
s.find("zz")
s.find("o", 5, 6)
s.rfind("o")
s.index("W")
s.index("zz")
s.rindex("o")
s.count("l")
s.count("")
s.count("l", 4)
u.find("你")
s.replace("o", "0")
s.replace("o", "0", 1)
s.replace("", "-")
s.replace("l", "")
s | replace("o", "0")
s | replace("o", "0", 1)
s | replace("o", "0", count=1)
5 | replace(5, 6)
", ".join(["a", "b"])
", ".join("abc")
", ".join([1])
"-".join(d)
"abc".removeprefix("a")
"abc".removeprefix("x")
"abc".removesuffix("bc")
"abc".isalpha()
"ab1".isalnum()
"12".isdigit()
"²".isdigit()
"²".isdecimal()
"½".isnumeric()
" \t".isspace()
"".isspace()
"ABC".isupper()
"abc1".islower()
"Abc Def".istitle()
"a_1".isidentifier()
"1a".isidentifier()
"é".isascii()
"a\n".isprintable()
"ab".center(7) ~ "|"
"ab".center(6, "*")
"abc".center(6, "*")
"ab".ljust(5, ".")
"ab".rjust(5)
"-5".zfill(4)
"5".zfill(3)
"a\tb".expandtabs()
"a\tbc\td".expandtabs(4)
"ab" | center(10) ~ "|"
"{} and {}".format(1, "two")
"{0} {1} {0}".format("a", "b")
"{a} {b}".format(a=1, b=[1, "x"])
"{} {0}".format(1)
"{".format()
"{}".format()
"{{}} {}".format(1)
"{:>5}|{:<5}|{:^5}|{:*^7}".format("a", "b", "c", "d")
"{:05d} {:+d} {: d} {:x} {:#x} {:b} {:o} {:,}".format(42, 42, 42, 255, 255, 5, 8, 1234567)
"{:.2f} {:8.3f} {:e} {:g} {:%} {:.1%} {:,.2f}".format(3.14159, 2.5, 12345.678, 0.0001, 0.5, 0.123, 1234567.891)
"{!r} {!s}".format("a", "b")
"{:.2}".format("abc")
"{:{}}|".format("a", 5)
"{0.name} {1[a]} {1[b]}".format(users[0], d)
"{u[name]}".format(u=users[0])
"{:d}".format("a")
"{:s}".format(1)
"{:5}|{:5}".format(1, "a")
"{:5}|{}".format(true, none)
"{:.3}".format(2.0)
"{}".format(missing)
"%s is %d" % ("a", 5)
"%s" % "x"
"%s %s" % ("a",)
"%s" % ("a", "b")
"%5s|%-5s|%05d|%+d|%x|%X|%o|%%" % ("a", "b", 42, 7, 255, 255, 8)
"%.2f %e %g %10.3f|" % (3.14159, 12345.678, 0.0001, 2.5)
"%(a)s %(b)s" % d
"%(zzz)s" % d
"%d" % "x"
"%d" % 3.9
"%s" % [1, "a"]
"%r" % "a'b"
"%c%c" % ("a", 98)
"%.2s" % "abc"
"%*d" % (5, 42)
"%s" % none
"%i" % true
"abc" % 1
"abc" % [1]
"%s, %s!" | format("Hello", "World")
"%(x)s" | format(x=5)
l | sort
l | sort(reverse=true)
words | sort
words | sort(case_sensitive=true)
words | sort(reverse=true)
mixed | sort
users | sort(attribute="age") | map(attribute="name") | list
users | sort(attribute="age,name") | map(attribute="name") | list
users | sort(attribute="address.city") | map(attribute="name") | list
users | map(attribute="name") | join(", ")
users | map(attribute="admin") | list
users | map(attribute="admin", default=false) | list
users | map(attribute="tags.0") | list
users | map(attribute="nope.nope") | list
words | map("upper") | list
words | map("replace", "a", "4") | join("|")
words | map("nosuch") | list
words | map | list
words | map(5)
e | map("nosuch") | list
users | selectattr("admin") | map(attribute="name") | list
users | rejectattr("admin") | map(attribute="name") | list
users | selectattr("age", "equalto", 30) | list | length
users | selectattr("age", "gt", 26) | map(attribute="name") | list
users | selectattr("age", "nosuch", 26) | list
users | selectattr("tags", "defined") | list | count
users | rejectattr("name", "in", ["Bob"]) | map(attribute="name") | first
l | select("odd") | list
l | reject("odd") | list
l | select("greaterthan", 1) | list
l | select("divisibleby", 3) | list
mixed | select | list
mixed | select("string") | list
mixed | reject("none") | list
words | select("in", ["Apple", "x"]) | list
l | first
l | last
e | first
e | last
e | first is defined
s | first
s | last
d | first
words | select("string") | first
words | select("string") | last
l | max
l | min
words | max
words | min
e | max
users | max(attribute="age") | attr("name")
(users | max(attribute="age")).name
l | sum
e | sum
users | sum(attribute="age")
l | sum(start=10)
words | sum
[[1], [2]] | sum(start=[])
l | join
l | join("-")
users | join(", ", attribute="name")
words | join(d=" ")
5 | join
s | join(".")
l | reverse | list
s | reverse
u | reverse
d | reverse | list
l | length
s | count
d | length
5 | length
nil | length
words | unique | list
words | unique(case_sensitive=true) | list
users | unique(attribute="age") | map(attribute="name") | list
[[1]] | unique | list
l | batch(2) | list
l | batch(2, "x") | list
l | batch(0) | list
l | slice(2) | list
l | slice(2, "x") | list
l | slice(0) | list
users | groupby("age") | list | length
users | groupby("address.city") | map(attribute="grouper") | list
users | groupby("address.city", case_sensitive=true) | map(attribute="grouper") | list
users | groupby("admin", default=false) | map("first") | list
users | groupby("admin") | list
(users | groupby("age"))[0].list | map(attribute="name") | list
d | items | list
missing | items | list
5 | items | list
l | items
d | dictsort
{"b": 1, "A": 2} | dictsort
{"b": 1, "A": 2} | dictsort(true)
{"b": 1, "A": 2} | dictsort(by="value", reverse=true)
l | dictsort
s | list
d | list
5 | list
range(3) | list
range(1, 4) | list
range(10, 0, -3) | list
range(0) | list
range(3)
range(1, 10, 2)
range(5)[2]
range(5)[1:3]
range(5) | last
3 in range(5)
range(100001)
range(1, 2, 0)
range("a")
"42" | int
"42.9" | int
"abc" | int
"abc" | int(5)
" 7 " | int
"0x1f" | int(base=16)
"0x1f" | int(0, 16)
"11" | int(base=2)
"1_000" | int
3.99 | int
-3.99 | int
none | int
true | int
"1e3" | int
"3.5" | float
"abc" | float
"abc" | float(1.5)
"inf" | float
"nan" | float
7 | float
none | float
2.5 | round
3.5 | round
-2.5 | round
2.675 | round(2)
42.55 | round(1)
42.55 | round(1, "floor")
42.51 | round(1, "ceil")
42 | round
1234.5 | round(-2)
1250 | round(-2)
"a" | round
2.5 | round(method="nosuch")
-5 | abs
-5.5 | abs
"a" | abs
true | abs
5 | string
[1, "a"] | string
s | string
html | escape
html | e
html | safe
html | e | e
html | e | forceescape
"<" ~ (html | safe)
"<" + (html | safe)
(html | safe) + "<" + html
("<" | e) + "<" ~ "<"
(html | safe) * 2
(html | safe)[1:3] + "<"
(html | safe).upper() + "<"
(html | safe) | trim + "<"
((html | safe) | replace("b", "<")) + "<"
(html | safe).replace("b", "<") + "<"
("-<" | safe).join(["<", "&" | safe])
["<", "&" | safe] | join("<")
("%s <" | safe) % "<"
("%r %d <" | safe) % ("<", 5)
("{} {!r} <" | safe).format("<", "&")
[html | safe]
(html | safe) is escaped
(html | e) is escaped
("a<" | safe) | indent(first=true) + "<"
("a b<" | safe) | truncate(4, leeway=0)
(html | safe) | tojson
(html | safe) == html
("a<" | safe | title) + "<"
("a<" | safe | capitalize) + "<"
("a<" | safe | center(6)) + "<"
(1 | safe) + "<"
("<" | safe) + 1
("<&" | safe).split("&")[0] + "<"
("a<" | safe | string) + "<"
("a<" | safe | default("x")) + "<"
("a<" | safe | reverse) + "<"
"a b/c?d=é&" | urlencode
{"a b": "c/d", "x": 1} | urlencode
[("a", 1)] | urlencode
"foo bar baz qux" | truncate(9)
"foo bar baz qux" | truncate(9, true)
"foo bar baz qux" | truncate(11)
"foo bar baz qux" | truncate(11, false, "...", 0)
"foo bar baz qux" | truncate(5, end="!")
"foo" | truncate(1)
"a b  c-d e_f" | wordcount
lines | indent
lines | indent(2, true)
lines | indent(2, blank=true)
lines | indent("> ")
empty | indent
5 | indent
s | attr("upper")
d | attr("a")
users[0] | attr("name")
s | nosuch
s is nosuch
t if no else (s | nosuch)
s if t else (s | nosuch)
i is odd
i is even
i is divisibleby 7
i is divisibleby(2)
2.0 is even
s is odd
i is number
f is number
t is number
s is number
i is integer
t is integer
f is integer
f is float
i is float
t is boolean
i is boolean
t is true
1 is true
no is false
nil is none
missing is none
missing is defined
missing is undefined
missing is not defined
d.a is defined
d.zzz is defined
s is string
i is string
d is mapping
l is mapping
l is sequence
s is sequence
d is sequence
i is sequence
missing is sequence
d.items() is sequence
d.keys() is iterable
l is iterable
s is iterable
i is iterable
nil is iterable
missing is iterable
range is callable
s.upper is callable
s is callable
missing is callable
"abc" is lower
"ABC" is upper
"Abc" is lower
5 is lower
i is eq 7
i is equalto(7)
i is == 7
i is ne 8
i is lt 8
i is le 7
i is gt 6
i is ge 8
i is lessthan 8
i is greaterthan 8
i is in [7]
i is not in [7]
i is in 7
nil is sameas none
t is sameas true
1 is sameas true
"upper" is filter
"nosuch" is filter
"odd" is test
html is escaped
not i is odd
i is odd and t
-1 | abs
-i | abs
1 + l | length
"a" ~ "b" | upper
("a" ~ "b") | upper
"a" + "b" | upper
[1, 2,]
{"a": 1,}
{"a": 1, "a": 2}
{1: 2, 1.0: 3, true: 4}
{(1, 2): 3}
{[1]: 2}
{none: 1}
[[], {}, (), ""]
[none, true, 1.0, "é", "it's", '"']
q
[q]
{"k": q}
{"a": {"b": [1, (2,)]}}
1.0
100.0
1e15
1e-5
0.0001
-0.0
[1e400]
d | tojson
mixed | tojson
q | tojson
q | tojson(ensure_ascii=true)
u | tojson(ensure_ascii=true)
d | tojson(indent=2)
mixed | tojson(indent=4)
mixed | tojson(indent="\t")
[[], {}] | tojson(indent=2)
l | tojson(indent=0)
l | tojson(indent=-1)
d | tojson(sort_keys=true)
d | tojson(separators=(",", ":"))
d | tojson(indent=1, separators=(", ", " = "))
{1: 2, none: 3, true: 4, 1.5: 5} | tojson
{(1,): 2} | tojson
{"b": {"d": 1, "c": 2}, "a": 0} | tojson(sort_keys=true)
{1: 1, "a": 2} | tojson(sort_keys=true)
(1, 2) | tojson
missing | tojson
range(3) | tojson
d.items() | tojson
[1.0, 1e20, 1e-7] | tojson
"</script>" | tojson
"\x7f\u2028\ud83d" | tojson
"\U0001F600" | tojson(ensure_ascii=true)
namespace(a=1).a
namespace({"a": 1}).a
namespace(a=1)
namespace(a=1).b
namespace(a=1)["a"]
dict(a=1, b=2)
dict({"a": 1}, b=2)
dict([("a", 1)])
dict()
dict(5)
joiner()()
cycler("a", "b").next()
cycler()
strftime_now("%Y-%m-%d %H:%M:%S %A %B %d %j %p %I %f %z|%%")
strftime_now("%d %b %Y")
raise_exception("stop it")
raise_exception()
"\n\t\\\'\"\x41\u00e9\U0001f600\101\q\é"
'a\
b'
"\x4"
"\u12"
"a" 'b' ~ "c"
s.upper
s.nosuch
s.nosuch()
s["upper"]()
l.0
l.0.1
users.0.name
users[0]["name"][0]
users[-1].address["city"] | lower
users[0].tags[1:]
(users | first).name
[u.name] | first
"abc"[1]
"abc"[1:][0]
{"a": 1}.a
{"a": 1}["a"]
[1, 2, 3][-1]
(1 if t else 2) + 1
s[i - 7]
s[l[1]:l[0]]
"%s" % (s,)
"a" in "abc" and "b" not in "xyz"
not "a" in "abc"
1 in [1] == true
"a" if "b" in "abc" else "c"
(none)
True and None is none
False or None
bos_token ~ s ~ eos_token
1 +
(1
[1
{1: }
a b
1 2
{{ 1 }}
a.b.
a[
a |
a | 5
a is
a is not
f(a=1, 2)
f(*l, *l)
f(**d, a=1)
dict(**{"a": 1})
dict(**d)
dict(**5)
"{} {}".format(*["a", "b"])
"{} {}".format(*5)
@
a ! b
a & b
$x
`x`
not
if
1 if
s.upper(1)
s.lower(x=1)
s.replace("a")
s | replace
s | trim | upper | replace("HELLO", "bye") | length
"abc" | list | reverse | join
[1, [2, [3]]] | string
loop
caller
varargs
""".strip("\n").split("\n")

STATEMENTS = [
    "{% if t %}a{% endif %}",
    "{% if no %}a{% elif t %}b{% else %}c{% endif %}",
    "{% if no %}a{% elif no %}b{% else %}c{% endif %}",
    "{% if t: %}a{% endif %}",
    "{% if %}a{% endif %}",
    "{% if t %}a",
    "{% endif %}",
    "{% if t %}{% else %}{% else %}{% endif %}",
    "{% for x in l %}{{ x }},{% endfor %}",
    "{% for x in e %}a{% else %}none{% endfor %}",
    "{% for x in l %}a{% else %}none{% endfor %}",
    "{% for x in missing %}a{% else %}none{% endfor %}",
    "{% for x in nil %}a{% endfor %}",
    "{% for x in 5 %}a{% endfor %}",
    "{% for c in 'a🌍é' %}[{{ c }}]{% endfor %}",
    "{% for k in d %}{{ k }} {% endfor %}",
    "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    "{% for k, v in l %}{{ k }}{% endfor %}",
    "{% for a, b in ['xy', 'zw'] %}{{ a }}-{{ b }} {% endfor %}",
    "{% for (a, (b, c)) in [(1, (2, 3))] %}{{ a }}{{ b }}{{ c }}{% endfor %}",
    "{% for a, in [(1,)] %}{{ a }}{% endfor %}",
    "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}",
    "{% for x in 1, 2, 3 %}{{ x }}{% endfor %}",
    "{% for x in l if x > 1 %}{{ loop.index }}/{{ loop.length }}:{{ x }} {% endfor %}",
    "{% for x in l if x > 9 %}x{% else %}empty{% endfor %}",
    "{% for x in l if loop %}x{% endfor %}",
    "{% for k, v in d.items() if v is string %}{{ k }}{% endfor %}",
    "{% for x in l %}{{ loop.index }}{{ loop.index0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.depth }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}",
    "{% for x in l %}{{ loop.previtem is defined }}{{ loop.nextitem is defined }} {% endfor %}",
    "{% for x in l %}{{ loop.cycle('a', 'b') }}{% endfor %}",
    "{% for x in l %}{{ loop.cycle() }}{% endfor %}",
    "{% for x in [1, 1, 2, 2] %}{{ loop.changed(x) }} {% endfor %}",
    "{% for x in l %}{{ loop.nosuch }}{% endfor %}|{{ loop }}",
    "{% for x in l %}{% for y in l %}{{ loop.index }}{% endfor %}{{ loop.index }} {% endfor %}",
    "{% for x in l %}{% set outer = loop %}{% for y in l %}{{ outer.index }}{{ loop.index }} {% endfor %}{% endfor %}",
    "{% for x in l %}{{ loop }} {% endfor %}",
    "{% for x in l %}{{ loop|length }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}",
    "{% for x in l %}{% break %}{% else %}E{% endfor %}",
    "{% for x in l %}{% continue %}{% else %}E{% endfor %}",
    "{% for x in l %}{% if loop.first %}{% continue %}{% endif %}{% break %}{% else %}E{% endfor %}",
    "{% for x in l %}{% if loop.last %}{% break %}{% endif %}{% else %}E{% endfor %}",
    "{% break %}",
    "{% for x in l %}{% endfor %}{% continue %}",
    "{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}",
    "{% for x in l %}{% set y %}a{% break %}{% endset %}{{ x }}{% endfor %}done",
    "{% for x in l %}{% for y in e %}{% else %}{% break %}{% endfor %}{{ x }}{% endfor %}",
    "{% for loop in l %}{% endfor %}",
    "{% for x in l %}{% set loop = 1 %}{% endfor %}",
    "{% for x in l %}{{ x }}{% endfor %}{{ x }}",
    "{% for i in l %}{{ i }}{% endfor %}{{ i }}",
    "{% for i in [i, i + 1] %}{{ i }} {% endfor %}",
    "{% for x in l recursive %}{{ x }}{% endfor %}x{% include 'a' %}",
    "{% set x = 5 %}{{ x }}",
    "{% set x, y = 1, 2 %}{{ x }}{{ y }}",
    "{% set x, y = [1, 2] %}{{ x }}{{ y }}",
    "{% set (x, y) = 'ab' %}{{ x }}{{ y }}",
    "{% set x, y = 1 %}",
    "{% set x, y = [1] %}",
    "{% set x = 1, %}{{ x }}",
    "{% set x = () %}{{ x }}",
    "{% set 5 = x %}",
    "{% set none = 1 %}",
    "{% set x.y = 1 %}",
    "{% set d.y = 1 %}",
    "{% set x['y'] = 1 %}",
    "{% set x %}block {{ s }}{% endset %}[{{ x }}]",
    "{% set x | upper | replace('O', '0') %}block {{ s }}{% endset %}[{{ x }}]",
    "{% set x %}{% set y = 1 %}{{ y }}{% endset %}{{ x }}{{ y }}",
    "{% set s = s ~ '!' %}{{ s }}",
    "{{ s }}{% set s = 'new' %}{{ s }}",
    "{% if t %}{% set x = 1 %}{% endif %}{{ x }}",
    "{% if no %}{% set x = 1 %}{% endif %}{{ x }}|{{ x is defined }}",
    "{% if no %}{% set s = 1 %}{% endif %}{{ s }}",
    "{% if no %}{% set a = 1 %}{% elif t %}{% set b = 2 %}{% else %}{% set c = 3 %}{% endif %}{{ a }}{{ b }}{{ c }}",
    "{% for x in l %}{% set s = x %}{% endfor %}{{ s }}",
    "{% set y = 0 %}{% for x in l %}{% set y = y + x %}{{ y }} {% endfor %}{{ y }}",
    "{% for x in l %}{% if t %}{% set s = 'in' %}{% endif %}{{ s }}{% endfor %}{{ s }}",
    "{% for x in l %}{{ s }}{% set s = x %}{% endfor %}",
    "{% for x in l %}{{ s }}{% endfor %}{% set s = 'late' %}",
    "{% macro m() %}{{ s }}{% endmacro %}{{ m() }}{% set s = 'late' %}{{ m() }}",
    "{% macro m() %}{{ z }}{% endmacro %}{{ m() }}{% set z = 'late' %}{{ m() }}",
    "{% set ns = namespace(x=1) %}{% for y in l %}{% set ns.x = ns.x + y %}{% endfor %}{{ ns.x }}",
    "{% set ns = namespace() %}{% set ns.a, ns.b = 1, 2 %}{{ ns.a }}{{ ns.b }}{{ ns.c }}",
    "{% set ns = namespace(_p=1) %}{{ ns._p }}|{{ ns._p is defined }}",
    "{% set ns = namespace(a=1) %}{% set ns.a %}block{% endset %}{{ ns.a }}",
    "{% set ns = namespace(a=[]) %}{% set ns.a = ns.a + [1] %}{% set ns.a = ns.a + [2] %}{{ ns.a }}",
    "{% set ns.x = 1 %}",
    "{% macro m(a, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=4, a=5) }} {{ m() }}",
    "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}",
    "{% macro m(a=b, b=2) %}{{ a }}{{ b }}{% endmacro %}{{ m() }}",
    "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}{{ m(1) }}",
    "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, x=3) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(x=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(*[1]) }}{{ m(**{'a': 2}) }}",
    "{% macro m(a=1, b) %}{% endmacro %}",
    "{% macro m(a, a) %}{% endmacro %}",
    "{% macro m(x) %}{% set y = x %}{{ y }}{% endmacro %}{{ m(3) }}{{ y }}",
    "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(5) }}",
    "{% macro a() %}A{{ b() }}{% endmacro %}{% macro b() %}B{% endmacro %}{{ a() }}",
    "{% macro m() %}x{% endmacro %}{{ m }}|{{ m.name }}|{{ m.arguments }}|{{ m is callable }}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{% call m() %}body {{ s }}{% endcall %}",
    "{% macro m() %}{{ caller(1, 2) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }}{% endcall %}",
    "{% macro m(x) %}{{ x }}{{ caller() if caller is defined }}{% endmacro %}{{ m(1) }}{% call m(2) %}c{% endcall %}",
    "{% macro m() %}x{% endmacro %}{% call m() %}body{% endcall %}",
    "{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}",
    "{% call 5 %}{% endcall %}",
    "{% call s.upper() %}{% endcall %}",
    "{% macro m(caller=none) %}{{ caller() if caller }}{% endmacro %}{% call m() %}b{% endcall %}{{ m() }}",
    "{% macro m(caller) %}{{ caller() }}{% endmacro %}",
    "{% macro outer() %}{% macro inner(x) %}[{{ x }}{{ s }}]{% endmacro %}{{ inner(1) }}{{ inner(2) }}{% endmacro %}{{ outer() }}",
    "{% macro outer(v) %}{% macro inner() %}{{ v }}{% endmacro %}{{ inner() }}{% endmacro %}{{ outer(1) }}{{ outer(2) }}",
    "{% for x in l %}{% macro m() %}{{ x }}{{ loop.index }}{% endmacro %}{{ m() }} {% endfor %}",
    "{% for x in l if x > 1 %}{% macro m() %}{{ loop.last }}{% endmacro %}{{ m() }} {% endfor %}",
    "{% macro m() %}a\n{% endmacro %}{{ m() | trim ~ '|' }}{{ m() | length }}",
    "{% if t %}{% macro m() %}in if{% endmacro %}{% endif %}{{ m() }}",
    "{% filter upper %}abc {{ s }}{% endfilter %}",
    "{% filter replace('a', 'b') | upper %}abc{% endfilter %}",
    "{% filter nosuch %}{% endfilter %}",
    "{% filter trim %}  {% set y = 1 %}{{ y }} {% endfilter %}{{ y }}",
    "{% with a = 1, b = 2 %}{{ a }}{{ b }}{% endwith %}{{ a }}",
    "{% with a = s %}{% set s = 1 %}{{ a }}{{ s }}{% endwith %}{{ s }}",
    "{% with %}{% set q1 = 1 %}{{ q1 }}{% endwith %}{{ q1 }}",
    "{% with a = 1, b = a %}{{ b }}{% endwith %}",
    "{% generation %}reply {{ s }}{% set g = 1 %}{{ g }}{% endgeneration %}{{ g }}",
    "{%- generation -%} a {%- endgeneration -%}",
    "{% print s, i %}",
    "{% do l.append(1) %}",
    "{% nosuch %}",
    "{% %}",
    "{% 5 %}",
    "{% raw %}{{ x }}{% if %}{% endraw %}",
    "{% raw %}\n a {%- endraw %} b",
    "{%- raw -%} a {%- endraw -%} b",
    "a {%- raw %} b {% endraw %} c",
    "{% raw %}abc",
    "{# comment #}a{#- c -#} b {# multi\nline #}\nc",
    "a {# unclosed",
    "a {#",
    "a {# x #}\n  {# y #}\nb",
    "{##}a{#-#}b{#+ c +#}\nd",
    "{{ s",
    "{{ s }",
    "{{",
    "{%",
    "{% if t",
    "a }} b %} c #}",
    "{ { s } }",
    "{{ '}}' }}{{ '%}' }}",
    "{{ {'a': {'b': 1}}}}",
    "{{ {'a': 1} }}",
    "a\n{% if t %}\nb\n{% endif %}\nc\n",
    "a\n  {% if t %}  \n  b\n  {% endif %}  \nc\n\n",
    "a\n  {%+ if t %}\n  b\n  {%+ endif +%}\nc",
    "a\n  {%- if t -%}\n  b\n  {%- endif -%}\n  c",
    "  {{ s }}  \n  {{- s -}}  \n  x",
    "  {% if t %}x{% endif %}",
    "\t{% if t %}x{% endif %}\ty",
    "x {% if t %}y{% endif %}\n",
    "{% if t %}\n\nx{% endif %}\n\n",
    "{{ s }}\n{{ s }}\n",
    "\n",
    "\n\n",
    "",
    "\r\n{% if t %}\r\na\r{% endif %}\r\nb\r\n",
    "a\u00a0\n \u3000{%- if t %}b{% endif %}",
    "a\n\u00a0{% if t %}b{% endif %}",
    "{{ 1 }}{{ -1 }}{{- 1 }}{{ - 1 }}{{+1}}",
    "{% set x = 'a\nb' %}{{ x }}\n{{ nosuch.x }}",
    "{% for x in l -%}\n  {{ x }}\n{%- endfor %}",
    "{% for x in l %}\n  {{ x }}\n{% endfor %}",
    "{% set x = cycler('a', 'b') %}{{ x.next() }}{{ x.next() }}{{ x.next() }}{{ x.current }}{{ x.reset() }}{{ x.next() }}",
    "{% set j = joiner('; ') %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}",
    "{% set g = l | map('string') %}{{ g | list }}{{ g | list }}",
    "{% set g = l | select('odd') %}{{ g | first }}{{ g | list }}{{ g is iterable }}{{ g is sequence }}{{ g is mapping }}",
    "{% set g = l | map('string') %}{{ '1' in g }}{{ g | list }}",
    "{% set g = l | map('string') %}{{ g | length }}",
    "{% set g = l | map('string') %}{{ g[0] }}|{{ g.x }}|{{ 'yes' if g }}",
    "{% for x in [1, 'a'] | map('abs') %}{{ x }}{% break %}{% endfor %}",
    "{% for x in [1, 'a'] | map('abs') %}{{ x }}{% endfor %}",
    "{{ [1, 'a'] | map('abs') | first }}",
    "{% set x = [1, 'a'] | map('abs') %}ok",
    "{% if no %}{{ s | nosuch }}{% endif %}ok",
    "{% if t %}{{ s | nosuch }}{% endif %}ok",
    "{% if no %}{% for x in l %}{{ s | nosuch }}{% endfor %}{% endif %}ok",
    "{% if no %}{{ s is nosuch }}{% endif %}ok",
    "{% if s is defined and s is string %}yes{% endif %}",
    "{% if not (s is string and i) %}a{% else %}b{% endif %}",
    "{{ raise_exception('role ' ~ s ~ ' not supported') }}",
    "{% extends 'x' %}",
    "{% import 'x' as y %}",
    "{% from 'x' import y %}",
    "{% include 'x' %}",
    "{{ super() }}",
    "{% set x = 1 %}{% macro m() %}{% set x = 2 %}{{ x }}{% endmacro %}{{ m() }}{{ x }}",
    "{% for x in l %}{% with y = x %}{{ y }}{{ loop.index }}{% endwith %}{% endfor %}",
    "{% set content = s %}{% if 'World' in content %}{% set content = content.split('World')[0].rstrip() %}{% endif %}[{{ content }}]",
    "{% set messages = users[1:] %}{% for m in messages %}{{ m.name }}{% if not loop.last %}, {% endif %}{% endfor %}",
    "{% for m in users[::-1] %}{% set index = (users|length - 1) - loop.index0 %}{{ index }}{{ m.name }} {% endfor %}",
    "{% for u in users %}{{ u.name }}{{ ':' ~ u.tags|join('/') if u.tags }}{{ ' admin' if u.admin is defined and u.admin }}\n{% endfor %}",
    "{% for u in users if u.age == 30 %}{{ loop.index }}{{ u.name }}{{ loop.nextitem.name if not loop.last }} {% endfor %}",
    "{% set a = b = 1 %}",
    "{% set x = 1 if t else 2 %}{{ x }}",
    "{% if l == [3, 1, 2] and l != (3, 1, 2) %}ok{% endif %}",
    "{% if 1 if t else 2 %}x{% endif %}",
    "{% for x in l if t else e %}{{ x }}{% endfor %}",
    "{% for x in (l if t else e) %}{{ x }}{% endfor %}",
    "{% for a in users %}{% for b in users if b.age == a.age and b.name != a.name %}{{ a.name }}{{ b.name }} {% endfor %}{% endfor %}",
    "{% macro m(x, y='d', *z) %}{% endmacro %}",
    "{{ 'a' if }}",
    "{{ a.5.b }}",
    "{{ d.1 }}|{{ l.1 }}|{{ 1.5.2 }}",
    "{{ s.split(' ')[0].lower()[1:3].upper() ~ l[0] }}",
]


def snippets():
    return ["{{ " + e + " }}" for e in EXPRESSIONS] + STATEMENTS
