// The public face: loading a directory's template, rendering from several threads.
#include "text/template/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <thread>

#include "text/template/str.h"
#include "text/template/test_data.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

class LoadTemplate : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/lathe_template_" +
           ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(dir_);
    ASSERT_TRUE(MakeDirs(dir_).ok());
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir_ + "/" + name, text).ok());
  }
  std::string dir_;
};

TEST_F(LoadTemplate, PrefersTheFileThenTheConfigurations) {
  EXPECT_EQ(LoadChatTemplateSource(dir_).status().code(), StatusCode::kNotFound);
  EXPECT_THAT(LoadChatTemplateSource(dir_).status().message(), HasSubstr("no chat template"));
  Write("tokenizer_config.json", R"({"chat_template": "from tokenizer"})");
  EXPECT_EQ(*LoadChatTemplateSource(dir_), "from tokenizer");
  Write("chat_template.json", R"({"chat_template": "from json"})");
  EXPECT_EQ(*LoadChatTemplateSource(dir_), "from json");
  Write("chat_template.json", R"({"other": 1})");
  EXPECT_EQ(*LoadChatTemplateSource(dir_), "from tokenizer");
  Write("chat_template.jinja", "from file\n");
  EXPECT_EQ(*LoadChatTemplateSource(dir_), "from file\n");
}

TEST_F(LoadTemplate, PicksByName) {
  Write(
      "tokenizer_config.json",
      R"({"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]})");
  EXPECT_EQ(*LoadChatTemplateSource(dir_), "D");
  EXPECT_EQ(*LoadChatTemplateSource(dir_, "tool_use"), "T");
  EXPECT_EQ(*LoadChatTemplateSource(dir_, "rag"), "D");
}

TEST_F(LoadTemplate, RefusesOtherShapes) {
  for (const char* config :
       {R"({"chat_template": 5})", R"({"chat_template": []})", R"({"chat_template": [5]})",
        R"({"chat_template": [{"name": "x", "template": "T"}]})",
        R"({"chat_template": [{"name": 1, "template": "T"}]})", "{", "[]"}) {
    Write("tokenizer_config.json", config);
    EXPECT_FALSE(LoadChatTemplateSource(dir_).ok()) << config;
  }
}

TEST(ChatTemplate, RendersFromManyThreads) {
  const Expected<ChatTemplate> parsed = ChatTemplate::Parse(
      "{% set ns = namespace(n=0) %}{% macro m(x) %}<{{ x }}>{% endmacro %}"
      "{% for m2 in messages %}{% set ns.n = ns.n + 1 %}{{ m(m2.content) ~ ns.n }}{% endfor %}");
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  std::vector<std::thread> threads;
  std::vector<std::string> texts(8);
  for (size_t t = 0; t < texts.size(); ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 200; ++i) {
        Json context;
        context["messages"] = {{{"content", std::to_string(t)}}, {{"content", "b"}}};
        const Expected<Rendered> got = parsed->Render(context);
        texts[t] = got.ok() ? got->text : got.status().message();
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t t = 0; t < texts.size(); ++t) EXPECT_EQ(texts[t], "<" + std::to_string(t) + ">1<b>2");
}

TEST(ChatTemplate, KnowsItsVariables) {
  const Expected<ChatTemplate> parsed = ChatTemplate::Parse(
      "{% for m in messages %}{% set own = 1 %}{{ m.tools }}{{ own }}"
      "{% if thinking is defined %}{% endif %}{% endfor %}");
  ASSERT_TRUE(parsed.ok());
  EXPECT_TRUE(parsed->Reads("messages"));
  EXPECT_TRUE(parsed->Reads("thinking"));
  for (const char* other : {"tools", "m", "own", "loop"}) EXPECT_FALSE(parsed->Reads(other)) << other;
}

TEST(ChatTemplate, TellsTheLocalTimeByDefault) {
  const Expected<Rendered> got = RenderSource("{{ strftime_now('%Y') }}", Json::object(), {});
  ASSERT_TRUE(got.ok());
  EXPECT_GE(std::stoi(got->text), 2024);
}

TEST(StrBuilder, KeepsAndUnifiesOrigins) {
  tmpl::StrBuilder builder(100);
  builder.Append("ab", false);
  builder.Append("", true);
  builder.Append("cd", true);
  builder.Append("ef", true);
  builder.Append("gh", false);
  ASSERT_EQ(builder.spans().size(), 3u);
  EXPECT_EQ(builder.spans()[1].end, 6u);
  builder.Unify(7);  // template text only: nothing to do
  ASSERT_EQ(builder.spans().size(), 3u);
  builder.Unify(1);
  ASSERT_EQ(builder.spans().size(), 2u);
  EXPECT_EQ(builder.spans()[0].end, 1u);
  EXPECT_FALSE(builder.spans()[0].user);
  EXPECT_TRUE(builder.spans()[1].user);
  tmpl::Budget budget{1000, 0};
  {
    const tmpl::Str s = std::move(builder).Build(&budget);
    EXPECT_EQ(s.text(), "abcdefgh");
    EXPECT_FALSE(s.UserAt(0));
    EXPECT_TRUE(s.UserAt(1));
    EXPECT_GT(budget.used, s.size());
  }
  EXPECT_EQ(budget.used, 0u);
  tmpl::StrBuilder small(3);
  small.Append("ab", false);
  small.Append("cd", false);
  EXPECT_TRUE(small.overflow());
  EXPECT_EQ(small.text(), "ab");
}

}  // namespace
}  // namespace lathe
