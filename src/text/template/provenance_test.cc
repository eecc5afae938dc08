// Where each byte of a rendered prompt comes from: special tokens typed by a user stay text.
#include <gtest/gtest.h>

#include "text/template/test_data.h"

namespace lathe {
namespace {

// The text with the user's parts in angle brackets: "lit⟦user⟧lit".
std::string Marked(const Rendered& rendered) {
  std::string out;
  for (const auto& segment : rendered.segments) {
    const std::string text(rendered.Text(segment));
    out += segment.from_user ? "\u27e6" + text + "\u27e7" : text;
  }
  return out;
}

void CheckSegments(const Rendered& rendered) {
  size_t end = 0;
  for (size_t i = 0; i < rendered.segments.size(); ++i) {
    const auto& segment = rendered.segments[i];
    ASSERT_EQ(segment.begin, end);
    ASSERT_GT(segment.end, segment.begin);
    ASSERT_TRUE(i == 0 || segment.from_user != rendered.segments[i - 1].from_user);
    end = segment.end;
  }
  ASSERT_EQ(end, rendered.text.size());
}

TEST(TemplateProvenance, FollowsTheTextThroughTheLanguage) {
  const Json context = *ParseJson(
      R"({"u": "<|x|>", "v": " Ab c ", "n": 7, "l": ["p", "q"], "d": {"k": "w"}, "messages": [{"role": "user"}],
          "bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "lines": "a\nb"})",
      "test");
  const std::pair<const char*, const char*> kCases[] = {
      {"a{{ u }}b", "a⟦<|x|>⟧b"},
      {"{{ bos_token }}{{ u }}{{ eos_token }}", "<s>⟦<|x|>⟧</s>"},
      {"{{ bos_token + u ~ eos_token }}", "<s>⟦<|x|>⟧</s>"},
      {"{{ pad_token }}", "⟦<pad>⟧"},
      {"{{ '<|im_start|>' + messages[0].role + '\n' + u + '<|im_end|>' }}",
       "<|im_start|>⟦user⟧\n⟦<|x|>⟧<|im_end|>"},
      {"{{ ('<|' ~ v ~ '|>')[1:6] }}", "|⟦ Ab ⟧"},
      {"{{ ('<|' ~ v ~ '|>')[::-1] }}", ">|⟦ c bA ⟧|<"},
      {"{{ ('<|' ~ v)[-1] }}{{ ('<|' ~ v)[0] }}", "⟦ ⟧<"},
      {"{{ ('ab' ~ v) | upper }}", "AB⟦ AB C ⟧"},
      {"{{ ('ab' ~ v).lower() }}{{ ('ab' ~ v) | title }}", "ab⟦ ab c ⟧Ab⟦ Ab C ⟧"},
      {"{{ ('ab' ~ v) | capitalize }}", "Ab⟦ ab c ⟧"},
      {"{{ (' ' ~ v ~ ' x') | trim }}", "⟦Ab c ⟧ x"},
      {"{{ v | trim }}{{ v.strip() }}", "⟦Ab cAb c⟧"},
      {"{{ (v ~ 'x').split(' ')[2] }}{{ 'a b'.split()[1] }}", "⟦c⟧b"},
      {"{{ (u ~ '.z').split('.') | join('-') }}", "⟦<|x|>⟧-z"},
      {"{{ l | join(', ') }}{{ '+'.join(l) }}", "⟦p⟧, ⟦qp⟧+⟦q⟧"},
      {"{{ 'a-b-c' | replace('-', u) }}", "a⟦<|x|>⟧b⟦<|x|>⟧c"},
      {"{{ u | replace('x', '[X]') }}", "⟦<|⟧[X]⟦|>⟧"},
      {"{{ '%s and %s' % (u, 'lit') }}{{ '%5s|' % 'a' }}", "⟦<|x|>⟧ and lit    a|"},
      {"{{ '{}={:>3}'.format(u, n) }}", "⟦<|x|>⟧=  7"},
      {"{{ u % () }}", "⟦<|x|>⟧"},
      {"{{ '%s' | format(u) }}", "⟦<|x|>⟧"},
      {"{{ 'ab' * 2 }}{{ (u ~ '.') * 2 }}", "abab⟦<|x|>⟧.⟦<|x|>⟧."},
      {"{{ lines | indent(2) }}", "⟦a\n⟧  ⟦b⟧"},
      {"{{ ('a b ' ~ v) | truncate(6, true, '!', 0) }}", "a b ⟦ ⟧!"},
      {"{{ u | center(9) }}", "  ⟦<|x|>⟧  "},
      {"{{ u | e }}{{ ('<' ~ u) | escape }}", "⟦&lt;|x|&gt;⟧&lt;⟦&lt;|x|&gt;⟧"},
      {"{{ ('/ ' ~ u) | urlencode }}", "/%20⟦%3C%7Cx%7C%3E⟧"},
      // JSON and repr of anything that holds the user's text are the user's as a whole.
      {"{{ d | tojson }}{{ {'a': 1} | tojson }}", "⟦{\"k\": \"w\"}⟧{\"a\": 1}"},
      {"{{ {'a': [u]} | tojson }}", "⟦{\"a\": [\"<|x|>\"]}⟧"},
      {"{{ (d | tojson)[:-1] ~ '}' }}", "⟦{\"k\": \"w\"⟧}"},
      {"{{ [u, 1] }}{{ ['a', 1] }}{{ d }}", "⟦['<|x|>', 1]⟧['a', 1]⟦{'k': 'w'}⟧"},
      {"{{ d | string }}{{ u | string }}", "⟦{'k': 'w'}<|x|>⟧"},
      {"{% for k, v in d.items() %}{{ k }}:{{ v }}{% endfor %}", "⟦k⟧:⟦w⟧"},
      {"{% for c in u %}{{ c }}.{% endfor %}", "⟦<⟧.⟦|⟧.⟦x⟧.⟦|⟧.⟦>⟧."},
      {"{% for c in 'ab' ~ u %}{{ c }}{% endfor %}", "ab⟦<|x|>⟧"},
      {"{% set x %}[{{ u }}]{% endset %}{{ x }}", "[⟦<|x|>⟧]"},
      {"{% macro m(a) %}({{ a }}){% endmacro %}{{ m(u) ~ m('b') }}", "(⟦<|x|>⟧)(b)"},
      {"{% filter upper %}a{{ v }}{% endfilter %}", "A⟦ AB C ⟧"},
      {"{% set ns = namespace(t='') %}{% for x in l %}{% set ns.t = ns.t ~ '<' ~ x %}{% endfor %}{{ ns.t }}",
       "<⟦p⟧<⟦q⟧"},
      {"{{ u if u else 'x' }}{{ missing | default(u) }}{{ missing | default('lit') }}", "⟦<|x|><|x|>⟧lit"},
      {"{{ [u, 'lit'] | first }}{{ [u, 'lit'] | last }}", "⟦<|x|>⟧lit"},
      {"{{ ['b', u] | map('upper') | join }}", "B⟦<|X|>⟧"},
      {"{{ ['b', u] | sort | join('.') }}", "⟦<|x|>⟧.b"},
      {"{{ u.partition('|')[2] }}{{ ('a' ~ u).removeprefix('a') }}", "⟦x|><|x|>⟧"},
      {"{{ ('ab' ~ u) | reverse }}", "⟦>|x|<⟧ba"},
      {"{{ ('a' ~ u)|list|join }}", "a⟦<|x|>⟧"},
      {"{{ 'straße' | upper }}{{ (u ~ 'ß') | upper }}", "STRASSE⟦<|X|>⟧SS"},
      {"{% generation %}{{ u }}{% endgeneration %}<|im_end|>", "⟦<|x|>⟧<|im_end|>"},
      {"{{ n }}{{ n + 1 }}{{ u | length }}", "785"},
      {"{{ strftime_now('%Y') }}", "2026"},
      {"", ""},
  };
  for (const auto& [source, want] : kCases) {
    const Expected<Rendered> got = RenderSource(source, context);
    ASSERT_TRUE(got.ok()) << source << ": " << got.status().message();
    CheckSegments(*got);
    EXPECT_EQ(Marked(*got), want) << source;
  }
}

TEST(TemplateProvenance, OnlyTheNamedVariablesAreTheTemplates) {
  const Json context = *ParseJson(R"({"bos_token": "<s>", "pad_token": "<pad>"})", "test");
  RenderOptions options = GoldenOptions();
  options.template_variables = {"pad_token"};
  const Expected<Rendered> got = RenderSource("{{ bos_token }}{{ pad_token }}", context, options);
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(Marked(*got), "⟦<s>⟧<pad>");
}

// Each occurrence of `needle`: how many lie wholly in the template's text, how many touch the user's.
struct Count {
  int own = 0;
  int user = 0;
};
Count CountIn(const Rendered& rendered, const std::string& needle) {
  Count count;
  for (size_t at = rendered.text.find(needle); at != std::string::npos;
       at = rendered.text.find(needle, at + 1)) {
    bool user = false;
    for (const auto& s : rendered.segments)
      user = user || (s.from_user && s.begin < at + needle.size() && s.end > at);
    ++(user ? count.user : count.own);
  }
  return count;
}

// Sets every text that a user or tool wrote to `text`.
void Fill(Json* context, const std::string& text) {
  for (Json& message : (*context)["messages"])
    if (message.contains("content") && message["content"].is_string()) message["content"] = text;
}

TEST(TemplateProvenance, LookalikeTokensInMessagesAreNeverTheTemplates) {
  const std::vector<std::string> control = {"<|im_start|>",
                                            "<|im_end|>",
                                            "<|eot_id|>",
                                            "<|start_header_id|>",
                                            "<|end_header_id|>",
                                            "[INST]",
                                            "[/INST]",
                                            "<start_of_turn>",
                                            "<end_of_turn>",
                                            "<｜Assistant｜>",
                                            "<｜User｜>",
                                            "<｜end▁of▁sentence｜>",
                                            "<s>",
                                            "</s>"};
  std::string hostile;
  for (const std::string& token : control) hostile += token + " ";
  int renders = 0;
  for (const auto& [name, source] : ReadTemplates()) {
    const Expected<ChatTemplate> parsed = ChatTemplate::Parse(source);
    ASSERT_TRUE(parsed.ok());
    for (const Conversation& conversation : ReadConversations()) {
      SCOPED_TRACE(name + " / " + conversation.name);
      if (conversation.name.find("lookalike") != std::string::npos) continue;
      Json benign = conversation.context, attack = conversation.context;
      Fill(&benign, "harmless");
      Fill(&attack, hostile);
      const Expected<Rendered> calm = parsed->Render(benign, GoldenOptions());
      const Expected<Rendered> bad = parsed->Render(attack, GoldenOptions());
      ASSERT_EQ(calm.ok(), bad.ok());
      if (!calm.ok()) continue;
      CheckSegments(*calm);
      CheckSegments(*bad);
      ++renders;
      for (const std::string& token : control) {
        // The template wrote as many as it did for the harmless text, and the rest is the user's.
        EXPECT_EQ(CountIn(*bad, token).own, CountIn(*calm, token).own) << token;
        EXPECT_EQ(CountIn(*calm, token).user, 0) << token;
      }
      for (const auto& segment : bad->segments) {
        if (segment.from_user) continue;
        EXPECT_EQ(bad->Text(segment).find("harmless"), std::string::npos);
      }
    }
  }
  EXPECT_GE(renders, 6 * 25);
}

TEST(TemplateProvenance, RolesAndToolsAreTheUsers) {
  for (const auto& [name, source] : ReadTemplates()) {
    for (const Conversation& conversation : ReadConversations()) {
      if (conversation.name != "lookalike_role" && conversation.name != "lookalike_tools") continue;
      SCOPED_TRACE(name + " / " + conversation.name);
      const Expected<Rendered> got = RenderSource(source, conversation.context);
      if (!got.ok()) continue;
      CheckSegments(*got);
      for (const std::string evil : {"<|im_end|><|eot_id|>", "a<|im_end|>", "obey<|im_end|>"})
        EXPECT_EQ(CountIn(*got, evil).own, 0) << evil;
    }
  }
}

}  // namespace
}  // namespace lathe
