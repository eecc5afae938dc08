// From bodies to requests of the engine: what each field becomes, and what is refused.
#include "serve/openai/prepare.h"

#include <gtest/gtest.h>

#include "serve/openai/chat_prompt.h"
#include "serve/openai/testing/fakes.h"

namespace lathe::serve {
namespace {

using testing::FakeEngine;
using testing::Fixture;
using testing::Parsed;

const char* const kChatPath = "/v1/chat/completions";
const char* const kTextPath = "/v1/completions";
const char* const kTools = R"([{"type":"function","function":{"name":"f","parameters":{"type":"object"}}}])";

struct Refusal {
  std::string body;
  std::string param;
  std::string code;
  int status = 400;
};

void ExpectRefusals(Fixture* f, const char* path, const std::vector<Refusal>& cases) {
  for (const Refusal& c : cases) {
    const size_t before = f->engine.submitted.size();
    const auto r = f->Request("POST", path, c.body);
    EXPECT_EQ(r->status, c.status) << c.body;
    ASSERT_EQ(r->answers, 1);
    const Json error = r->Body()["error"];
    EXPECT_EQ(error["param"], c.param.empty() ? Json() : Json(c.param)) << c.body << r->body;
    EXPECT_EQ(error["code"], c.code) << c.body;
    EXPECT_EQ(error["type"], "invalid_request_error");
    EXPECT_EQ(f->engine.submitted.size(), before);
    EXPECT_EQ(f->admission.held, 0);
  }
}

// The request that a body becomes.
Request Submitted(Fixture* f, const char* path, const std::string& body) {
  const auto r = f->Request("POST", path, body);
  EXPECT_EQ(r->status, 200) << r->body;
  return f->engine.submitted.empty() ? Request() : f->engine.submitted.back().request;
}

std::string Chat(const std::string& more) {
  return R"({"messages":[{"role":"user","content":"Hi"}])" + more + "}";
}
std::string Text(const std::string& more) { return R"({"prompt":"Once")" + more + "}"; }

// The messages that the template is shown.
Json Shown(Fixture* f, const std::string& messages) {
  Submitted(f, kChatPath, "{\"messages\":" + messages + "}");
  return Parsed(f->engine.last_chat.messages_json);
}

TEST(Sampling, EveryFieldArrives) {
  Fixture f;
  f.principal.priority_cap = 3;
  f.principal.salt = "salt";
  for (const char* path : {kChatPath, kTextPath}) {
    const std::string more =
        R"(,"temperature":0.25,"top_p":0.5,"top_k":-1,"min_p":0.1,"repetition_penalty":1.5,"presence_penalty":-2,
            "frequency_penalty":2,"seed":-1,"stop":["a","b"],"stop_token_ids":[5],"ignore_eos":true,"min_tokens":2,
            "logit_bias":{"7":-100,"8":1.5},"bad_words":["bad"],"include_stop_str_in_output":true,
            "skip_special_tokens":false,"priority":9,"timeout":2.5,"n":3,"max_tokens":11)";
    const Request r = Submitted(&f, path, path == kChatPath ? Chat(more) : Text(more));
    const SamplingParams& s = r.sampling;
    EXPECT_EQ(s.temperature, 0.25);
    EXPECT_EQ(s.top_p, 0.5);
    EXPECT_EQ(s.top_k, 0);
    EXPECT_EQ(s.min_p, 0.1);
    EXPECT_EQ(s.repetition_penalty, 1.5);
    EXPECT_EQ(s.presence_penalty, -2);
    EXPECT_EQ(s.frequency_penalty, 2);
    EXPECT_EQ(s.seed, UINT64_MAX);
    EXPECT_EQ(s.stop, (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(s.stop_ids, std::vector<TokenId>{5});
    EXPECT_TRUE(s.ignore_eos);
    EXPECT_EQ(s.min_tokens, 2);
    EXPECT_EQ(s.logit_bias, (std::vector<std::pair<TokenId, double>>{{7, -100}, {8, 1.5}}));
    EXPECT_EQ(s.bad_words, std::vector<std::string>{"bad"});
    EXPECT_TRUE(s.include_stop);
    EXPECT_FALSE(s.skip_special_tokens);
    EXPECT_EQ(s.max_tokens, 11);
    EXPECT_EQ(s.logprobs, -1);
    EXPECT_EQ(r.n, 3);
    EXPECT_EQ(r.priority, 3);
    EXPECT_EQ(r.deadline_seconds, 2.5);
    EXPECT_EQ(r.cache_salt, "salt");
  }
}

TEST(Sampling, DefaultsAreTheModelsAndTheServers) {
  Fixture f;
  f.options.default_timeout_seconds = 60;
  const Request chat =
      Submitted(&f, kChatPath, Chat(R"(,"temperature":null,"stop":null,"n":null,"stream":null)"));
  EXPECT_EQ(chat.sampling.temperature, 0.7);
  EXPECT_EQ(chat.sampling.max_tokens, 0);  // the rest of the context
  EXPECT_EQ(f.admission.tokens, 100U);
  EXPECT_EQ(chat.deadline_seconds, 60);
  EXPECT_EQ(chat.priority, 0);
  EXPECT_FALSE(chat.sampling.seed.has_value());
  EXPECT_EQ(Submitted(&f, kTextPath, Text("")).sampling.max_tokens, 16);
  EXPECT_EQ(Submitted(&f, kTextPath, Text(R"(,"priority":-5)")).priority, -5);
  EXPECT_EQ(Submitted(&f, kTextPath, Text(R"(,"max_tokens":1000000)")).sampling.max_tokens, 95);
  EXPECT_EQ(
      Submitted(&f, kChatPath, Chat(R"(,"max_tokens":7,"max_completion_tokens":5)")).sampling.max_tokens, 5);
  EXPECT_EQ(Submitted(&f, kTextPath, Text(R"(,"stop":"x")")).sampling.stop, std::vector<std::string>{"x"});
}

TEST(Sampling, RefusalsNameTheParameter) {
  Fixture f;
  ExpectRefusals(
      &f, kTextPath,
      {{Text(R"(,"n":9)"), "n", "integer_above_max_value"},
       {Text(R"(,"n":0)"), "n", "integer_below_min_value"},
       {Text(R"(,"temperature":"hot")"), "temperature", "invalid_type"},
       {Text(R"(,"temperature":1e999)"), "", "invalid_json"},
       {Text(R"(,"temperature":101)"), "temperature", "decimal_above_max_value"},
       {Text(R"(,"logit_bias":{"259":1})"), "logit_bias", "invalid_value"},
       {Text(R"(,"stop_token_ids":[259])"), "stop_token_ids[0]", "integer_above_max_value"},
       {Text(R"(,"min_tokens":20)"), "min_tokens", "invalid_value"},
       {Text(R"(,"suffix":"x")"), "suffix", "unsupported_parameter"},
       {Text(R"(,"best_of":2)"), "best_of", "unsupported_parameter"},
       {Text(R"(,"stream_options":{})"), "stream_options", "invalid_value"},
       {Text(R"(,"stream":true,"stream_options":{"x":1})"), "stream_options.x", "unknown_parameter"},
       {Text(R"(,"frobnicate":1)"), "frobnicate", "unknown_parameter"},
       {Text(R"(,"model":"gpt-4")"), "model", "model_not_found", 404},
       {R"({})", "prompt", "missing_required_parameter"},
       {R"({"prompt":null})", "prompt", "invalid_type"},
       {R"({"prompt":[]})", "prompt", "empty_array"},
       {R"({"prompt":[[]]})", "prompt", "invalid_value"},
       {R"({"prompt":[259]})", "prompt[0]", "integer_above_max_value"},
       {R"({"prompt":["a",[1]]})", "prompt[1]", "invalid_type"},
       {R"({"prompt":"a","prompt":"b"})", "", "invalid_json"}});
  ExpectRefusals(&f, kChatPath,
                 {{Chat(R"(,"top_logprobs":2)"), "top_logprobs", "invalid_value"},
                  {Chat(R"(,"logprobs":1)"), "logprobs", "invalid_type"},
                  {Chat(R"(,"logprobs":true,"top_logprobs":21)"), "top_logprobs", "integer_above_max_value"},
                  {Chat(R"(,"max_tokens":0)"), "max_tokens", "integer_below_min_value"}});
}

TEST(Context, ALongPromptIsRefusedWithBothNumbers) {
  Fixture f;
  const std::string prompt(99, 'a');  // and BOS: 100 tokens
  ExpectRefusals(&f, kTextPath, {{"{\"prompt\":\"" + prompt + "\"}", "prompt", "context_length_exceeded"}});
  const auto r = f.Request("POST", kTextPath, "{\"prompt\":\"" + prompt + "\"}");
  const std::string message = r->Body()["error"]["message"].get<std::string>();
  EXPECT_NE(message.find("holds 100 tokens"), std::string::npos) << message;
  EXPECT_NE(message.find("prompt has 100"), std::string::npos) << message;
  EXPECT_EQ(Submitted(&f, kTextPath, "{\"prompt\":\"" + prompt.substr(1) + "\"}").sampling.max_tokens, 1);
  ExpectRefusals(&f, kChatPath,
                 {{R"({"messages":[{"role":"user","content":")" + prompt + "\"}]}", "messages",
                   "context_length_exceeded"}});
}

TEST(Prompts, ControlTokensOfUsersAreText) {
  for (const bool allow : {false, true}) {
    Fixture f;
    f.options.allow_special_tokens = allow;
    const auto ids = *Submitted(&f, kTextPath, R"({"prompt":"<s>a</s>"})").prompt.ids;
    if (allow)
      EXPECT_EQ(ids, (std::vector<TokenId>{FakeEngine::kBos, 'a', FakeEngine::kEos}));  // one BOS
    else
      EXPECT_EQ(ids.size(), 9U);
    EXPECT_EQ(Submitted(&f, kTextPath, R"({"prompt":"a","add_special_tokens":false})").prompt.ids->size(),
              1U);
  }
}

TEST(Messages, TheTemplateSeesThemAsTheyWereSent) {
  Fixture f;
  EXPECT_EQ(Shown(&f, R"([{"role":"system","content":"S"},{"role":"user","content":"U","name":"Ann"},
                          {"role":"assistant","content":"A","refusal":null,"annotations":[],"audio":null,
                           "function_call":null,"tool_calls":null},
                          {"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}])"),
            Parsed(R"([{"role":"system","content":"S"},{"role":"user","content":"U","name":"Ann"},
                       {"role":"assistant","content":"A"},{"role":"user","content":"a\nb"}])"));
  EXPECT_EQ(
      Shown(&f, R"([{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"1","type":"function",
                           "function":{"name":"f","arguments":"{\"x\": [1, {\"y\": null}]}"}},
                           {"id":"2","function":{"name":"g","arguments":""}},{"id":"3","function":{"name":"h"}}]},
                          {"role":"tool","tool_call_id":"1","content":"ok"}])"),
      Parsed(R"([{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function",
                       "function":{"name":"f","arguments":{"x":[1,{"y":null}]}}},
                       {"id":"2","function":{"name":"g","arguments":{}},"type":"function"},
                       {"id":"3","function":{"name":"h","arguments":{}},"type":"function"}]},
                       {"role":"tool","tool_call_id":"1","content":"ok"}])"));
  EXPECT_EQ(
      Shown(&f, R"([{"role":"assistant","content":"A","reasoning":"R"},{"role":"user","content":"x"}])"),
      Parsed(
          R"([{"role":"assistant","content":"A","reasoning_content":"R"},{"role":"user","content":"x"}])"));
}

TEST(Messages, PartsGoToTemplatesThatReadThem) {
  for (const char* source : {"{% for p in m.content %}", "{%- for part in message['content'] -%}",
                             "{%for c in m[\"content\"]%}x{%endfor%}"})
    EXPECT_TRUE(TemplateTakesParts(source)) << source;
  for (const char* source : {"{{ m.content }}", "{% for m in messages %}{{ m.content }}",
                             "{% if 'a' in content %}", "{% for x in xs %}{% if a in content %}", ""})
    EXPECT_FALSE(TemplateTakesParts(source)) << source;
  Fixture f;
  f.engine.chat_template = "{% for p in m.content %}";
  const char* const messages = R"([{"role":"user","content":[{"type":"text","text":"a"}]}])";
  EXPECT_EQ(Shown(&f, messages), Parsed(messages));
}

TEST(Messages, NonsenseIsRefused) {
  Fixture f;
  const auto body = [](const char* messages) { return std::string("{\"messages\":") + messages + "}"; };
  ExpectRefusals(
      &f, kChatPath,
      {{"{}", "messages", "missing_required_parameter"},
       {body("[]"), "messages", "empty_array"},
       {body("\"Hi\""), "messages", "invalid_type"},
       {body("[1]"), "messages[0]", "invalid_type"},
       {body(R"([{"content":"a"}])"), "messages[0].role", "missing_required_parameter"},
       {body(R"([{"role":"wizard","content":"a"}])"), "messages[0].role", "invalid_value"},
       {body(R"([{"role":"user"}])"), "messages[0].content", "missing_required_parameter"},
       {body(R"([{"role":"user","content":null}])"), "messages[0].content", "missing_required_parameter"},
       {body(R"([{"role":"user","content":7}])"), "messages[0].content", "invalid_type"},
       {body(R"([{"role":"user","content":"a","shoe":1}])"), "messages[0].shoe", "unknown_parameter"},
       {body(R"([{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}])"),
        "messages[0].content[0].type", "invalid_value"},
       {body(R"([{"role":"user","content":[{"type":"text"}]}])"), "messages[0].content[0].text",
        "missing_required_parameter"},
       {body(R"([{"role":"user","content":"a","tool_calls":[{"function":{"name":"f"}}]}])"),
        "messages[0].tool_calls", "invalid_value"},
       {body(R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"{"}}]}])"),
        "messages[0].tool_calls[0].function.arguments", "invalid_value"},
       {body(R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}])"),
        "messages[0].tool_calls[0].function.arguments", "invalid_value"},
       // The template's own refusal.
       {body(R"([{"role":"developer","content":"a"}])"), "messages", "chat_template_error"}});
  const auto r = f.Request("POST", kChatPath, body(R"([{"role":"developer","content":"a"}])"));
  EXPECT_NE(r->body.find("Unexpected role"), std::string::npos);
  Fixture bare;
  bare.engine.chat_template = "";
  ExpectRefusals(&bare, kChatPath, {{Chat(""), "messages", "no_chat_template"}});
}

TEST(Templates, ArgumentsAreAllowListed) {
  Fixture f;
  f.options.limits.template_args = {"persona"};
  const auto args = [&](const std::string& more) {
    Submitted(&f, kChatPath, Chat(more));
    return f.engine.last_chat.template_args_json;
  };
  EXPECT_EQ(args(""), "");
  EXPECT_EQ(args(R"(,"chat_template_kwargs":{"enable_thinking":false,"persona":"pirate"})"),
            R"({"enable_thinking":false,"persona":"pirate"})");
  EXPECT_EQ(args(R"(,"reasoning_effort":"none")"), R"({"reasoning_effort":"none","enable_thinking":false})");
  EXPECT_EQ(args(R"(,"reasoning_effort":"low","chat_template_kwargs":{"reasoning_effort":"high"})"),
            R"({"reasoning_effort":"high"})");
  for (const char* name :
       {"tokenize", "messages", "tools", "bos_token", "add_generation_prompt", "chat_template"}) {
    ExpectRefusals(&f, kChatPath,
                   {{Chat(std::string(R"(,"chat_template_kwargs":{")") + name + "\":true}"),
                     std::string("chat_template_kwargs.") + name, "unknown_parameter"}});
  }
  ExpectRefusals(
      &f, kChatPath,
      {{Chat(R"(,"chat_template_kwargs":{"enable_thinking":"yes"})"), "chat_template_kwargs.enable_thinking",
        "invalid_type"},
       {Chat(R"(,"chat_template_kwargs":{"persona":[1]})"), "chat_template_kwargs.persona", "invalid_type"},
       {Chat(R"(,"chat_template":"{{ 1 }}")"), "chat_template", "unsupported_parameter"}});
}

TEST(Templates, TheLastMessageIsContinued) {
  Fixture f;
  const std::string head =
      R"({"add_generation_prompt":false,"continue_final_message":true,"messages":[{"role":"user","content":"Hi"},)";
  const Request r = Submitted(&f, kChatPath, head + R"({"role":"assistant","content":"Well, "}]})");
  EXPECT_EQ(f.engine.Detokenize(*r.prompt.ids, false), "user: Hi</s>assistant: Well, ");
  ExpectRefusals(
      &f, kChatPath,
      {{head + R"({"role":"user","content":"x"}]})", "continue_final_message", "invalid_value"},
       {head + R"({"role":"assistant","content":" "}]})", "continue_final_message", "invalid_value"},
       {head + R"({"role":"assistant","content":null}]})", "continue_final_message", "invalid_value"},
       {Chat(R"(,"continue_final_message":true)"), "continue_final_message", "invalid_value"}});
}

TEST(Formats, EachSpellingArrives) {
  using Kind = OutputFormat::Kind;
  struct Case {
    const char* more;
    Kind kind;
    const char* source;
  };
  const Case cases[] = {
      {R"("response_format":{"type":"json_object"})", Kind::kJsonObject, ""},
      {R"("response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"null"}}})",
       Kind::kJsonSchema, R"({"type":"null"})"},
      {R"("structured_outputs":{"json":{"type":"null"}})", Kind::kJsonSchema, R"({"type":"null"})"},
      {R"("structured_outputs":{"json":"{\"type\": 1}"})", Kind::kJsonSchema, R"({"type": 1})"},
      {R"("structured_outputs":{"json_object":true,"regex":null})", Kind::kJsonObject, ""},
      {R"("structured_outputs":{"regex":"a+"})", Kind::kRegex, "a+"},
      {R"("structured_outputs":{"grammar":"root ::= \"a\""})", Kind::kGrammar, "root ::= \"a\""},
      {R"("guided_regex":"a+")", Kind::kRegex, "a+"},
      {R"("guided_json":{"type":"null"})", Kind::kJsonSchema, R"({"type":"null"})"},
      {R"("guided_grammar":"g")", Kind::kGrammar, "g"},
      {R"("guided_choice":["a","b"])", Kind::kChoice, ""},
      {R"("structured_outputs":{"choice":["a","b"]})", Kind::kChoice, ""},
  };
  Fixture f;
  for (const Case& c : cases) {
    for (const char* path : {kChatPath, kTextPath}) {
      const std::string more = std::string(",") + c.more;
      const Request r = Submitted(&f, path, path == kChatPath ? Chat(more) : Text(more));
      ASSERT_TRUE(r.format.has_value()) << c.more;
      EXPECT_EQ(r.format->kind, c.kind);
      EXPECT_EQ(r.format->source, c.source);
      EXPECT_EQ(r.format->choices.size(), c.kind == Kind::kChoice ? 2U : 0U);
    }
  }
  EXPECT_FALSE(Submitted(&f, kChatPath, Chat(R"(,"response_format":{"type":"text"})")).format.has_value());
}

TEST(Formats, ContradictionsAreRefused) {
  Fixture f;
  ExpectRefusals(
      &f, kTextPath,
      {{Text(R"(,"response_format":{})"), "response_format.type", "missing_required_parameter"},
       {Text(R"(,"response_format":{"type":"xml"})"), "response_format.type", "invalid_value"},
       {Text(R"(,"response_format":{"type":"json_schema"})"), "response_format.json_schema.schema",
        "missing_required_parameter"},
       {Text(R"(,"response_format":{"type":"text","json_schema":{}})"), "response_format.json_schema",
        "invalid_value"},
       {Text(R"(,"response_format":{"type":"json_object"},"guided_regex":"a")"), "guided_regex",
        "invalid_value"},
       {Text(R"(,"structured_outputs":{"regex":"a","choice":["b"]})"), "structured_outputs.choice",
        "invalid_value"},
       {Text(R"(,"structured_outputs":{})"), "structured_outputs", "invalid_value"},
       {Text(R"(,"structured_outputs":{"choice":[]})"), "structured_outputs.choice", "empty_array"}});
}

TEST(Tools, ChoicesAreChecked) {
  Fixture f;
  f.engine.chat_template = "<tool_call> {{ tools }}";
  const std::string tools = std::string(",\"tools\":") + kTools;
  ExpectRefusals(
      &f, kChatPath,
      {{Chat(R"(,"tool_choice":"auto")"), "tool_choice", "invalid_value"},
       {Chat(tools + R"(,"tool_choice":"maybe")"), "tool_choice", "invalid_value"},
       {Chat(tools + R"(,"tool_choice":{"type":"function","function":{"name":"g"}})"),
        "tool_choice.function.name", "invalid_value"},
       {Chat(tools + R"(,"tool_choice":{"type":"function"})"), "tool_choice.function",
        "missing_required_parameter"},
       {Chat(tools + R"(,"response_format":{"type":"json_object"})"), "response_format", "invalid_value"},
       {Chat(tools + R"(,"tool_choice":"required","response_format":{"type":"json_object"})"), "tool_choice",
        "invalid_value"},
       {Chat(R"(,"tools":[{"type":"function","function":{"name":"a b"}}])"), "tools[0].function.name",
        "invalid_value"},
       {Chat(
            R"(,"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}])"),
        "tools[1].function.name", "invalid_value"},
       {Chat(R"(,"tools":[{"type":"search","function":{"name":"a"}}])"), "tools[0].type", "invalid_value"},
       {Chat(R"(,"functions":[])"), "functions", "unsupported_parameter"}});
  EXPECT_FALSE(
      Submitted(&f, kChatPath, Chat(tools + R"(,"tool_choice":"none","response_format":{"type":"text"})"))
          .format.has_value());
  EXPECT_FALSE(f.engine.last_chat.tools_json.empty());  // the template shows them all the same
  Submitted(&f, kChatPath, Chat(R"(,"tools":[])"));
  EXPECT_TRUE(f.engine.last_chat.tools_json.empty());
  Fixture plain;
  ExpectRefusals(&plain, kChatPath, {{Chat(tools), "tools", "unsupported_parameter"}});
  EXPECT_EQ(plain.Request("POST", kChatPath, Chat(tools + R"(,"tool_choice":"none")"))->status, 200);
}

TEST(Options, FormatsByName) {
  FakeEngine engine;
  for (const char* name : {"auto", "none", "hermes", "llama3_json", "mistral"}) {
    ApiOptions options;
    options.tool_format = name;
    EXPECT_TRUE(DescribeModel(&engine, options).ok()) << name;
  }
  ApiOptions wrong;
  wrong.tool_format = "xml";
  EXPECT_EQ(DescribeModel(&engine, wrong).status().code(), StatusCode::kInvalidArgument);
  ApiOptions wrong_reasoning;
  wrong_reasoning.reasoning_format = "xml";
  EXPECT_EQ(DescribeModel(&engine, wrong_reasoning).status().code(), StatusCode::kInvalidArgument);
}

TEST(Models, AreListedAndFoundByName) {
  Fixture f;
  f.options.model_name = "served";
  f.options.model_aliases = {"alias"};
  const Json list = f.Request("GET", "/v1/models", "")->Body();
  EXPECT_EQ(list["object"], "list");
  EXPECT_EQ(list["data"][0]["id"], "served");
  EXPECT_EQ(list["data"][0]["max_model_len"], 100);
  EXPECT_EQ(f.Request("GET", "/v1/models/served", "")->Body(), list["data"][0]);
  EXPECT_EQ(f.Request("GET", "/v1/models/alias", "")->status, 200);
  const auto missing = f.Request("GET", "/v1/models/other", "");
  EXPECT_EQ(missing->status, 404);
  EXPECT_EQ(missing->Body()["error"]["code"], "model_not_found");
  EXPECT_EQ(f.Request("POST", kTextPath, Text(R"(,"model":"alias")"))->Body()["model"], "alias");
  EXPECT_EQ(f.Request("POST", kTextPath, Text(""))->Body()["model"], "served");
  EXPECT_EQ(f.Request("GET", "/version", "")->Body()["version"], "0.1.0");
}

TEST(Tokens, ThereAndBack) {
  Fixture f;
  EXPECT_EQ(f.Request("POST", "/tokenize", R"({"prompt":"ab"})")->Body(),
            Parsed(R"({"count":3,"max_model_len":100,"tokens":[256,97,98],"token_strs":null})"));
  EXPECT_EQ(
      f.Request("POST", "/tokenize", R"({"prompt":"a","add_special_tokens":false,"return_token_strs":true})")
          ->Body(),
      Parsed(R"({"count":1,"max_model_len":100,"tokens":[97],"token_strs":["a"]})"));
  EXPECT_EQ(
      f.Request("POST", "/tokenize", R"({"prompt":"","add_special_tokens":false,"return_token_strs":true})")
          ->Body(),
      Parsed(R"({"count":0,"max_model_len":100,"tokens":[],"token_strs":[]})"));
  EXPECT_EQ(f.Request("POST", "/tokenize", Chat(""))->Body()["count"], 20);
  EXPECT_EQ(f.Request("POST", "/detokenize", R"({"tokens":[256,97,98]})")->Body(),
            Parsed(R"({"prompt":"<s>ab"})"));
  EXPECT_EQ(f.Request("POST", "/detokenize", R"({"tokens":[]})")->Body(), Parsed(R"({"prompt":""})"));
  ExpectRefusals(&f, "/tokenize",
                 {{"{}", "prompt", "missing_required_parameter"},
                  {R"({"prompt":"a","messages":[{"role":"user","content":"a"}]})", "prompt",
                   "missing_required_parameter"},
                  {R"({"prompt":7})", "prompt", "invalid_type"}});
  ExpectRefusals(&f, "/detokenize",
                 {{"{}", "tokens", "missing_required_parameter"},
                  {R"({"tokens":[259]})", "tokens[0]", "integer_above_max_value"},
                  {R"({"tokens":[-1]})", "tokens[0]", "integer_below_min_value"},
                  {R"({"tokens":"a"})", "tokens", "invalid_type"}});
}

TEST(Http, OnlyJsonIsTaken) {
  Fixture f;
  for (const char* type : {"application/json", "Application/JSON; charset=utf-8"})
    EXPECT_EQ(f.Request("POST", kTextPath, Text(""), type)->status, 200) << type;
  for (const char* type : {"", "text/plain", "application/x-www-form-urlencoded", "application/jsonx"}) {
    const auto r = f.Request("POST", kTextPath, Text(""), type);
    EXPECT_EQ(r->status, 415) << type;
    EXPECT_EQ(r->Body()["error"]["code"], "unsupported_media_type");
  }
}

TEST(Http, MessagesDoNotRepeatWhatWasSent) {
  Fixture f;
  const std::string secret = "my-secret-prompt";
  for (const std::string& body : {"{\"prompt\":\"" + secret + "\",\"n\":99}", "{\"prompt\":\"" + secret,
                                  "{\"prompt\":[1,\"" + secret + "\"]}",
                                  R"({"prompt":"a","structured_outputs":{"json":[")" + secret + "\"]}}"}) {
    const auto r = f.Request("POST", kTextPath, body);
    EXPECT_EQ(r->status, 400);
    EXPECT_EQ(r->body.find(secret), std::string::npos) << r->body;
  }
}

}  // namespace
}  // namespace lathe::serve
