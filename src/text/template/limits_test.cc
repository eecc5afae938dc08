// Whatever a template does, it ends soon, small and with a sentence.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "text/template/test_data.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

Json SmallContext() {
  return *ParseJson(R"({"s": "x", "u": "user", "l": [1, 2, 3], "d": {"a": 1}, "messages": []})", "test");
}

std::string Repeat(const std::string& piece, int times) {
  std::string out;
  for (int i = 0; i < times; ++i) out += piece;
  return out;
}

TEST(TemplateLimits, EachNamesItselfAndTheLine) {
  struct Case {
    std::string source;
    StatusCode code;
    std::string message;
  };
  const auto exhausted = StatusCode::kResourceExhausted;
  const std::string loop = "{% for a in range(99999) %}{% for b in range(99999) %}";
  const std::vector<Case> cases = {
      {"\n\n" + loop + "{% endfor %}{% endfor %}", exhausted,
       "line 3: the template took more than its limit of 1000000 steps"},
      {loop + "{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' }}{% endfor %}{% endfor %}", exhausted,
       "the output is larger than its limit of 1048576 bytes"},
      {"\n{{ 'x' * 10**9 }}", exhausted,
       "line 2: the template needs more than its limit of 64 MiB of memory"},
      {"{{ [0] * 10**9 }}", exhausted, "64 MiB"},
      {"{{ [0] * 10**30 }}", exhausted, "64 MiB"},
      {"{{ 'x' * 10**18 }}", exhausted, "64 MiB"},
      {"{% generation %}{{ 'x' * 2000000 }}{% endgeneration %}", exhausted, "the output is larger"},
      {"{% filter trim %}{{ 'x' * 2000000 }}{% endfilter %}", exhausted, "the output is larger"},
      {"{% filter trim %}" + loop + "{{ 'xxxxxxxx' * 99 }}{% endfor %}{% endfor %}{% endfilter %}", exhausted,
       "limit"},
      {"{% set a = 'x' * 3000000 %}{{ a.rfind('x' * 2000000) }}", exhausted, "steps"},
      {"{{ ('x' * 300000).strip('y' * 300000 ~ 'x') }}", exhausted, "steps"},
      {"{{ 10 ** 100 }}", exhausted, "127 bits"},
      {"{{ 2 ** 10**30 }}", exhausted, "127 bits"},
      {"{{ 170141183460469231731687303715884105727 + 1 }}", exhausted, "127 bits"},
      {"{{ 999999999999999999999999999999999999999999 }}", StatusCode::kInvalidArgument, "127 bits"},
      {"{{ range(10**9) }}", StatusCode::kInvalidArgument, "larger than the limit of 100000"},
      {"{{ 'a' | indent(10**9) }}", exhausted, "64 MiB"},
      {"{{ 'a' | center(10**9) }}", exhausted, "64 MiB"},
      {"{{ 'a'.ljust(10**15) }}", exhausted, "64 MiB"},
      {"{{ 'a'.zfill(10**9) }}", exhausted, "64 MiB"},
      {"{{ '\\t'.expandtabs(10**9) }}", exhausted, "64 MiB"},
      {"{{ '{:1000000000}'.format(1) }}", exhausted, "64 MiB"},
      {"{{ '{:99999999999999999999}'.format(1) }}", StatusCode::kInvalidArgument, "too large"},
      {"{{ '%1000000000d' % 1 }}", exhausted, "64 MiB"},
      {"{{ '%.1000000000f' % 1 }}", exhausted, "precision"},
      {"{{ '%*d' % (10**9, 1) }}", exhausted, "64 MiB"},
      {"{{ [1] | batch(10**9, 0) | list }}", exhausted, "64 MiB"},
      {"{{ [1] | slice(10**9) | list }}", exhausted, "limit"},
      {"{{ [1] | tojson(indent=10**9) }}", exhausted, "indent"},
      {"{% set ns = namespace(x='x') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
       exhausted, "limit"},
      {"{% set ns = namespace(x=[0]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
       exhausted, "limit"},
      {"{% set ns = namespace(x=[]) %}{% for i in range(100) %}{% set ns.x = [ns.x] %}{% endfor %}",
       exhausted, "nested deeper than the limit of 64"},
      {"{% set ns = namespace(x={}) %}{% for i in range(100) %}{% set ns.x = {'a': ns.x} %}{% endfor %}",
       exhausted, "nested deeper"},
      {"{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
       "ns.x }}",
       exhausted, "limit"},
      {"{% set ns = namespace(x=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ "
       "ns.x | tojson }}",
       exhausted, "limit"},
      {"{% set ns = namespace(x=[], y=[]) %}{% for i in range(60) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y "
       "= [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
       exhausted, "steps"},
      {"{% set ns = namespace(x=()) %}{% for i in range(60) %}{% set ns.x = (ns.x, ns.x) %}{% endfor %}{{ "
       "{ns.x: 1} }}",
       exhausted, "limit"},
      {"{% set ns = namespace() %}{% set ns.x = ns %}{{ ns }}", exhausted, "nested deeper"},
      {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", exhausted, "deeper than the limit of 64"},
      {"{% macro m() %}{% call m() %}{% endcall %}{{ caller }}{% endmacro %}{{ m() }}", exhausted,
       "deeper than the limit"},
      {Repeat("{% if s %}", 100) + Repeat("{% endif %}", 100), exhausted, "nested deeper than 64"},
      {"{{ " + Repeat("(", 5000) + "1" + Repeat(")", 5000) + " }}", exhausted, "nested deeper than 64"},
      {"{{ " + Repeat("[", 5000) + Repeat("]", 5000) + " }}", exhausted, "nested deeper than 64"},
      {"{{ " + Repeat("not ", 5000) + "1 }}", exhausted, "nested deeper than 64"},
      {"{{ " + Repeat("-", 5000) + "1 }}", exhausted, "nested deeper than 64"},
      {"{{ " + Repeat("1 if 1 else ", 5000) + "1 }}", exhausted, "nested deeper than 64"},
      {"{% set " + Repeat("(", 5000) + "a" + Repeat(")", 5000) + " = 1 %}", exhausted,
       "nested deeper than 64"},
      {Repeat("a", 2 << 20), exhausted, "bytes, at most 1048576"},
  };
  for (const Case& c : cases) {
    const double begin = NowSeconds();
    const Expected<Rendered> got = RenderSource(c.source, SmallContext());
    ASSERT_FALSE(got.ok()) << c.source.substr(0, 200);
    EXPECT_EQ(got.status().code(), c.code) << c.source.substr(0, 200) << got.status().message();
    EXPECT_THAT(got.status().message(), HasSubstr(c.message)) << c.source.substr(0, 200);
    EXPECT_LT(NowSeconds() - begin, 5.0) << c.source.substr(0, 200);
  }
}

TEST(TemplateLimits, LongButFlatTemplatesPass) {
  const std::pair<std::string, size_t> kCases[] = {
      {"{{ 'a'" + Repeat(" ~ 'a'", 20000) + " }}", 20001},
      {"{{ 'a'" + Repeat(" + 'a'", 20000) + " }}", 20001},
      {"{{ s" + Repeat(" | trim", 20000) + " }}", 1},
      {"{{ s" + Repeat(".strip()", 20000) + " }}", 1},
      {"{{ 1" + Repeat(" and 1", 20000) + " }}", 1},
      {Repeat("{{ s }}", 20000), 20000},
      {"{% if 0 %}" + Repeat("{% elif 0 %}", 20000) + "{% else %}x{% endif %}", 1},
  };
  for (const auto& [source, size] : kCases) {
    const Expected<Rendered> got = RenderSource(source, SmallContext());
    ASSERT_TRUE(got.ok()) << got.status().message();
    EXPECT_EQ(got->text.size(), size);
  }
}

TEST(TemplateLimits, OutputMayGrowWithTheInput) {
  Json context;
  context["s"] = std::string(2 << 20, 'a');
  EXPECT_TRUE(RenderSource("{{ s }}{{ s }}{{ s }}", context).ok());
  EXPECT_FALSE(RenderSource("{{ s }}{{ s }}{{ s }}{{ s }}{{ s }}", context).ok());
  RenderOptions options;
  options.limits.output_factor = 8;
  EXPECT_TRUE(RenderSource("{{ s }}{{ s }}{{ s }}{{ s }}{{ s }}", context, options).ok());
}

TEST(TemplateLimits, MemoryIsWhatIsAliveNotWhatWasMade) {
  Json context;
  context["s"] = std::string(1 << 20, 'a');
  // 200 MiB pass through, one or two at a time.
  const Expected<Rendered> got =
      RenderSource("{% for i in range(50) %}{% set x = s ~ s ~ s ~ s %}{% endfor %}ok", context, [] {
        RenderOptions options;
        options.limits.max_steps = 100'000'000;
        return options;
      }());
  ASSERT_TRUE(got.ok()) << got.status().message();
  EXPECT_EQ(got->text, "ok");
}

TEST(TemplateLimits, Deadline) {
  RenderOptions options;
  options.limits.max_steps = UINT64_MAX;
  options.limits.max_seconds = 0.05;
  const double begin = NowSeconds();
  const Expected<Rendered> got =
      RenderSource("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                   SmallContext(), options);
  ASSERT_FALSE(got.ok());
  EXPECT_EQ(got.status().code(), StatusCode::kDeadlineExceeded);
  EXPECT_THAT(got.status().message(), HasSubstr("longer than its limit of 50 ms"));
  EXPECT_LT(NowSeconds() - begin, 5.0);
}

TEST(TemplateLimits, DeepOrOddContextsAreRefused) {
  Json deep = 1;
  for (int i = 0; i < 3000; ++i) deep = Json::array({deep});
  const Expected<Rendered> got = RenderSource("{{ x }}", Json{{"x", deep}});
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.status().message(), HasSubstr("nested deeper"));
  EXPECT_TRUE(RenderSource("{{ y }}", Json{{"x", 1}}).ok());
  EXPECT_FALSE(RenderSource("x", Json::array()).ok());
  EXPECT_FALSE(RenderSource("{{ x }}", Json{{"x", Json::binary({1})}}).ok());
  const Expected<Rendered> bad_utf8 = RenderSource("{{ x }}", Json{{"x", "a\xff\xc3(b"}});
  ASSERT_TRUE(bad_utf8.ok());
  EXPECT_EQ(bad_utf8->text, "a\ufffd\ufffd(b");
  EXPECT_EQ(RenderSource("{{ x }}", Json{{"x", UINT64_MAX}})->text, "18446744073709551615");
}

TEST(TemplateErrors, NameTheLineAndTheReason) {
  const std::pair<const char*, const char*> kCases[] = {
      {"a\nb\n{{ nosuch.x }}", "chat template line 3: 'nosuch' is undefined"},
      {"{{ d.b.c }}", "line 1: 'dict object' has no attribute 'b'"},
      {"\n{{ s + 1 }}", "line 2: '+' does not work on a str object and a int object"},
      {"{% if s %}\n{{ 'a'\n | nosuch }}{% endif %}", "line 3: no filter named 'nosuch'"},
      {"\n\n{{ s | nosuch }}", "line 3: no filter named 'nosuch'"},
      {"\n{% if s %}\n", "line 2: the template ends where 'endif' was expected"},
      {"{% include 'x' %}", "line 1: the statement 'include' is not supported"},
      {"\n{% block x %}{% endblock %}", "line 2: the statement 'block' is not supported"},
      {"{{ 'abc' | pprint }}", "line 1: this filter is not supported"},
      {"{{ 'abc'.encode() }}", "line 1: this method of strings is not supported"},
      {"{{ l.append(1) }}", "access to attribute 'append' of 'list' object is unsafe"},
      {"{{ raise_exception('no such role: ' ~ u) }}", "no such role: user"},
      {"{{ 'abc", "line 1: a string is not closed"},
      {"{{ a ? b }}", "line 1: unexpected character '?'"},
      {"{% for x in l %}{% break %}{% endfor %}{% break %}", "line 1: 'break' stands outside a loop"},
  };
  for (const auto& [source, message] : kCases) {
    const Expected<Rendered> got = RenderSource(source, SmallContext());
    ASSERT_FALSE(got.ok()) << source;
    EXPECT_THAT(got.status().message(), HasSubstr(message)) << source;
  }
  EXPECT_EQ(RenderSource("{{ raise_exception('stop') }}", SmallContext()).status().message(), "stop");
  EXPECT_EQ(RenderSource("{% import 'a' as b %}", SmallContext()).status().code(), StatusCode::kUnsupported);
}

// Values that refer to themselves or outlive their scope must be freed (checked by the sanitizer builds).
TEST(TemplateLimits, CircularValuesAreFreed) {
  for (const char* source : {
           "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{% set a.l = [a, b] %}ok",
           "{% set ns = namespace() %}{% for x in l %}{{ loop.changed(loop) }}{% set ns.l = loop %}{% endfor "
           "%}"
           "{{ ns.l.changed(ns.l) }}ok",
           "{% set ns = namespace() %}{% macro m() %}{% endmacro %}{% set ns.m = m %}{% set ns.f = ns %}ok",
           "{% set ns = namespace(p=none) %}{% for i in range(20000) %}{% set ns.p = namespace(p=ns.p) %}"
           "{% endfor %}ok",
           "{% set ns = namespace() %}{% for x in l %}{% macro m() %}{{ loop.index }}{% endmacro %}"
           "{% set ns.m = m %}{% endfor %}{{ ns.m() }}ok",
           "{% set ns = namespace() %}{% for x in l if x > 1 %}{% set ns.l = loop %}{% break %}{% endfor %}"
           "{{ ns.l.length }}{{ ns.l.last }}ok",
       }) {
    const Expected<Rendered> got = RenderSource(source, SmallContext());
    ASSERT_TRUE(got.ok()) << source << got.status().message();
    EXPECT_THAT(got->text, HasSubstr("ok"));
  }
}

}  // namespace
}  // namespace lathe
