// Outputs equal to those of Python's Jinja2 (tests/golden/template_golden.py).
#include <gtest/gtest.h>

#include "base/hash.h"
#include "text/template/test_data.h"

namespace lathe {
namespace {

std::string Digest(const std::string& text) {
  Hasher hasher;
  hasher.Update(text);
  return hasher.Hex();
}

TEST(TemplateGolden, RealTemplatesOnAllConversations) {
  const std::vector<Conversation> conversations = ReadConversations();
  ASSERT_GE(conversations.size(), 30u);
  const Json expected = ReadData("expected.json");
  int compared = 0;
  for (const auto& [name, source] : ReadTemplates()) {
    const Expected<ChatTemplate> parsed = ChatTemplate::Parse(source);
    ASSERT_TRUE(parsed.ok()) << name << ": " << parsed.status().message();
    for (size_t i = 0; i < conversations.size(); ++i) {
      SCOPED_TRACE(name + " / " + conversations[i].name);
      const Json& want = expected[name][i];
      const Expected<Rendered> got = parsed->Render(conversations[i].context, GoldenOptions());
      ++compared;
      if (want.contains("error") || want.contains("raises")) {
        ASSERT_FALSE(got.ok()) << got->text;
        if (want.contains("raises"))
          EXPECT_EQ(got.status().message(), want["raises"].get<std::string>());
        else
          EXPECT_NE(got.status().message().find("chat template line "), std::string::npos);
        continue;
      }
      ASSERT_TRUE(got.ok()) << got.status().message();
      if (want.contains("text"))
        EXPECT_EQ(got->text, want["text"].get<std::string>());
      else
        EXPECT_EQ(Digest(got->text), want["hash"].get<std::string>());
    }
  }
  std::printf("%d renders compared\n", compared);
  EXPECT_GE(compared, 6 * static_cast<int>(conversations.size()));
}

// `cases`: [source, what the reference gives: text, [hash], or null when it raises].
void Compare(const Json& cases, const Json& context) {
  for (const Json& one : cases) {
    const std::string source = one[0].get<std::string>();
    const Expected<Rendered> got = RenderSource(source, context);
    if (one[1].is_null()) {
      EXPECT_FALSE(got.ok()) << source << "\ngave " << got->text << "\nwhere the reference raises";
      continue;
    }
    ASSERT_TRUE(got.ok()) << source << "\n" << got.status().message();
    if (one[1].is_string())
      EXPECT_EQ(got->text, one[1].get<std::string>()) << source;
    else
      EXPECT_EQ(Digest(got->text), one[1][0].get<std::string>()) << source << "\ngave " << got->text;
  }
}

TEST(TemplateGolden, LanguageSnippets) {
  const Json data = ReadData("snippets.json");
  ASSERT_GE(data["cases"].size(), 300u);
  Compare(data["cases"], data["context"]);
}

TEST(TemplateGolden, RandomTemplates) {
  const Json cases = ReadData("random.json");
  ASSERT_GE(cases.size(), 2000u);
  Compare(cases, ReadData("snippets.json")["context"]);
}

}  // namespace
}  // namespace lathe
