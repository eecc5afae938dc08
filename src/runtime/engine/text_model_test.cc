// The engine's text over a real tokenizer and template.
#include "runtime/engine/text_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "text/template/chat_template.h"
#include "text/tokenizer.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

constexpr char kTemplate[] =
    "{% for m in messages %}<|endoftext|>{{ m.role }}:{{ m.content }}{% endfor %}"
    "{% if tools is not none %}[{{ tools | length }}]{% endif %}"
    "{% if style is defined %}({{ style }}){% endif %}{{ pad_token }}"
    "{% if add_generation_prompt %}<|endoftext|>assistant:{% endif %}";
constexpr TokenId kControl = 50256;  // <|endoftext|> of GPT-2

std::unique_ptr<TextModel> Model() {
  auto tokenizer = Tokenizer::LoadDir(LATHE_SOURCE_DIR "/tests/data/tokenizers/gpt2");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().message();
  return MakeTextModel(std::move(tokenizer).value(), kTemplate, {});
}

Prompt::Chat Chat(std::string messages) {
  return {.messages_json = std::move(messages), .tools_json = "", .template_args_json = ""};
}

TEST(TextModel, StreamEqualsDecode) {
  const auto model = Model();
  for (const std::string text :
       {"Hello there, h\xC3\xA9llo w\xC3\xB6rld", "\xF0\x9F\xA6\x99 llama", "", " \n\n x"}) {
    const auto ids = model->Encode(text, false, false);
    EXPECT_EQ(model->Decode(ids, true), text);
    const auto stream = model->NewStream(true);
    std::string out;
    for (TokenId id : ids) out += stream->Push(id);
    out += stream->Flush();
    EXPECT_EQ(out, text);
  }
}

TEST(TextModel, ChatIsRenderedAndControlTokensAreParsed) {
  const auto model = Model();
  std::string text;
  const auto ids = model->RenderChat(Chat(R"([{"role":"user","content":"Hi"}])"), &text);
  ASSERT_TRUE(ids.ok()) << ids.status().message();
  EXPECT_EQ(text, "<|endoftext|>user:Hi<|endoftext|>assistant:");
  EXPECT_EQ(std::ranges::count(*ids, kControl), 2);
  EXPECT_EQ(model->Decode(*ids, false), text);
  Prompt::Chat open = Chat(R"([{"role":"user","content":"Hi"}])");
  open.add_generation_prompt = false;
  EXPECT_EQ(std::ranges::count(*model->RenderChat(open, nullptr), kControl), 1);
}

TEST(TextModel, ControlTokensTypedByUsersAreText) {
  const auto model = Model();
  Prompt::Chat chat =
      Chat(R"([{"role":"user","content":"a<|endoftext|>b"},{"role":"x<|endoftext|>","content":"c"}])");
  chat.template_args_json =
      R"({"style":"<|endoftext|>","pad_token":"<|endoftext|>"})";  // GPT-2 has no padding
  std::string text;
  const auto ids = model->RenderChat(chat, &text);
  ASSERT_TRUE(ids.ok()) << ids.status().message();
  EXPECT_THAT(text, HasSubstr("a<|endoftext|>b"));
  EXPECT_THAT(text, HasSubstr("(<|endoftext|>)"));
  EXPECT_EQ(std::ranges::count(*ids, kControl), 3);  // two messages and the generation prompt
  EXPECT_EQ(model->Decode(*ids, false), text);
  EXPECT_EQ(std::ranges::count(model->Encode("a<|endoftext|>b", false, false), kControl), 0);
  EXPECT_EQ(std::ranges::count(model->Encode("a<|endoftext|>b", false, true), kControl), 1);
}

TEST(TextModel, ToolsAndArgumentsReachTheTemplate) {
  const auto model = Model();
  Prompt::Chat chat = Chat("[]");
  chat.tools_json = R"([{"type":"function"},{}])";
  chat.template_args_json = R"({"style":"brief"})";
  std::string text;
  ASSERT_TRUE(model->RenderChat(chat, &text).ok());
  EXPECT_EQ(text, "[2](brief)<|endoftext|>assistant:");
}

TEST(TextModel, RefusesWhatIsNotAConversation) {
  const auto model = Model();
  struct Case {
    Prompt::Chat chat;
    const char* says;
  };
  Prompt::Chat tools = Chat("[]"), args = Chat("[]"), forged = Chat("[]");
  tools.tools_json = "{}";
  args.template_args_json = "[]";
  forged.template_args_json = R"({"messages":[]})";
  const Case cases[] = {{Chat(""), "messages"},
                        {Chat("[{]"), "messages"},
                        {Chat("{}"), "messages must be a JSON array, but is object"},
                        {tools, "tools must be a JSON array"},
                        {args, "template arguments must be a JSON object, but is array"},
                        {forged, "'messages' is set by the engine"}};
  for (const Case& c : cases) {
    const auto ids = model->RenderChat(c.chat, nullptr);
    EXPECT_EQ(ids.status().code(), StatusCode::kInvalidArgument) << c.says;
    EXPECT_THAT(ids.status().message(), HasSubstr(c.says));
  }
}

TEST(TextModel, WithoutATemplateSaysWhy) {
  auto tokenizer = Tokenizer::LoadDir(LATHE_SOURCE_DIR "/tests/data/tokenizers/gpt2");
  ASSERT_TRUE(tokenizer.ok());
  const auto model = MakeTextModel(std::move(tokenizer).value(), "", {});
  const auto ids = model->RenderChat(Chat("[]"), nullptr);
  EXPECT_EQ(ids.status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(ids.status().message(), HasSubstr("no chat template"));
}

}  // namespace
}  // namespace lathe
