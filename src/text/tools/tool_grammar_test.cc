#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "text/tools/output_parser.h"

namespace lathe {
namespace {

TEST(Detect, Templates) {
  const char* env = std::getenv("LATHE_SHARED");
  const std::filesystem::path dir =
      std::filesystem::path(env != nullptr ? env : LATHE_SOURCE_DIR "/../shared") / "templates";
  if (!std::filesystem::exists(dir)) {
    printf("%s is absent: its templates are not looked at\n", dir.c_str());
    return;
  }
  const struct {
    const char* file;
    ToolFormat format;
    bool reasoning;
  } kCases[] = {
      {"NousResearch-Hermes-3-Llama-3.1-8B-tool_use.jinja", ToolFormat::kHermes, false},
      {"Qwen-Qwen2.5-7B-Instruct.jinja", ToolFormat::kHermes, false},
      {"Qwen3.jinja", ToolFormat::kHermes, true},
      {"deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja", ToolFormat::kNone, true},
      {"google-gemma-2-2b-it.jinja", ToolFormat::kNone, false},
      {"meta-llama-Llama-3.1-8B-Instruct.jinja", ToolFormat::kLlama3Json, false},
      {"mistralai-Mistral-Nemo-Instruct-2407.jinja", ToolFormat::kMistral, false},
  };
  for (const auto& c : kCases) {
    SCOPED_TRACE(c.file);
    std::ifstream in(dir / c.file);
    ASSERT_TRUE(in.good());
    std::stringstream source;
    source << in.rdbuf();
    EXPECT_EQ(ToString(DetectToolFormat(source.str())), ToString(c.format));
    EXPECT_EQ(DetectReasoning(source.str()), c.reasoning);
  }
}

TEST(Detect, Sources) {
  EXPECT_EQ(DetectToolFormat(""), ToolFormat::kNone);
  EXPECT_EQ(DetectToolFormat("<tool_call>\n<function=f>"), ToolFormat::kNone);
  EXPECT_EQ(DetectToolFormat("in the format {\"name\": function name, \"parameters\": dictionary}"),
            ToolFormat::kLlama3Json);
  EXPECT_TRUE(PromptOpensReasoning("<|assistant|><think>\n"));
  EXPECT_TRUE(PromptOpensReasoning("<think>"));
  EXPECT_FALSE(PromptOpensReasoning("<think>\n\n</think>\n\n"));
  EXPECT_FALSE(PromptOpensReasoning(" \n"));
}

constexpr char kTools[] = R"([
  {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}},
  {"type": "function", "function": {"name": "g\"h"}}])";

std::string Source(ToolFormat format, const std::string& forced, bool parallel) {
  const auto grammar = ToolGrammar(format, kTools, forced, parallel);
  EXPECT_TRUE(grammar.ok()) << grammar.status().message();
  if (!grammar.ok() || !grammar->has_value()) return "";
  EXPECT_EQ((*grammar)->kind, OutputFormat::Kind::kGrammar);
  return (*grammar)->source;
}

TEST(ToolGrammar, Texts) {
  EXPECT_EQ(Source(ToolFormat::kHermes, "", true),
            R"(root ::= call ("\n" call)*
call ::= %token "<tool_call>" "\n" object "\n" %token "</tool_call>"
object ::= "{\"name\": \"f\", \"arguments\": " arguments-0 "}" | "{\"name\": \"g\\\"h\", \"arguments\": " arguments-1 "}"
arguments-0 ::= %json {"type":"object","properties":{"a":{"type":"integer"}}}
arguments-1 ::= %json {"type":"object"}
)");
  EXPECT_EQ(Source(ToolFormat::kLlama3Json, "f", true),
            R"(root ::= object ("; " object)*
object ::= "{\"name\": \"f\", \"parameters\": " arguments-0 "}"
arguments-0 ::= %json {"type":"object","properties":{"a":{"type":"integer"}}}
)");
  EXPECT_EQ(Source(ToolFormat::kMistral, "g\"h", false),
            R"(root ::= %token "[TOOL_CALLS]" "[" object "]"
object ::= "{\"name\": \"g\\\"h\", \"arguments\": " arguments-0 "}"
arguments-0 ::= %json {"type":"object"}
)");
  EXPECT_EQ(Source(ToolFormat::kNone, "", true), "");
  const auto spelled = ToolGrammar(ToolFormat::kHermes, kTools, "f", false, false);
  EXPECT_TRUE((*spelled)->source.starts_with(R"(root ::= call
call ::= "<tool_call>" "\n" object "\n" "</tool_call>"
)")) << (*spelled)->source;
}

TEST(ToolGrammar, Refusals) {
  const struct {
    const char *tools, *forced, *message;
  } kCases[] = {
      {"[", "", "tools"},
      {"{}", "", "an array of at least one tool"},
      {"[]", "", "an array of at least one tool"},
      {"[1]", "", "tools[0]"},
      {R"([{"type": "function"}])", "", "tools[0]"},
      {R"([{"function": {}}])", "", "name"},
      {R"([{"function": {"name": ""}}])", "", "empty"},
      {R"([{"function": {"name": "f", "parameters": []}}])", "", "JSON schema of an object"},
      {R"([{"function": {"name": "f", "parameters": {"type": "string"}}}])", "", "JSON schema of an object"},
      {R"([{"function": {"name": "f"}}, {"function": {"name": "f"}}])", "", "earlier tool"},
      {R"([{"function": {"name": "f"}}])", "g", "\"g\" is not the name of one of the 1 tools"},
  };
  for (const auto& c : kCases) {
    const auto grammar = ToolGrammar(ToolFormat::kHermes, c.tools, c.forced, true);
    ASSERT_FALSE(grammar.ok()) << c.tools;
    EXPECT_NE(grammar.status().message().find(c.message), std::string::npos) << grammar.status().message();
  }
}

}  // namespace
}  // namespace lathe
