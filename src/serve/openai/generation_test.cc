// Answers whole and streamed: their shapes, that they agree, how they end.
#include "serve/openai/generation.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "serve/openai/json_text.h"
#include "serve/openai/testing/fakes.h"
#include "text/base64.h"
#include "text/utf8.h"

namespace lathe::serve {
namespace {

using testing::ChatBody;
using testing::FakeEngine;
using testing::FakeResponder;
using testing::Fixture;
using testing::kChatPath;
using testing::kTextPath;
using testing::Parsed;
using testing::TextBody;

const char* const kHermesTemplate = "<tool_call> <think> </think> {{ messages }} {{ tools }}";

Json Tools(std::vector<std::string> names = {"get_time"}) {
  Json tools = Json::array();
  for (const std::string& name : names) {
    tools.push_back(
        {{"type", "function"}, {"function", {{"name", name}, {"parameters", {{"type", "object"}}}}}});
  }
  return tools;
}

// The whole message that a stream of chat events adds up to, in the shape of a whole answer's choice.
Json SumOfChat(const FakeResponder& r, int index = 0) {
  std::string content, reasoning;
  Json calls = Json::array(), logprobs = Json::array(), ids = Json::array();
  Json finish;
  int n_finish = 0;
  bool role = false;
  for (const std::string& event : r.Events()) {
    if (event == "[DONE]") continue;
    const Json parsed = Parsed(event);
    for (const Json& choice : parsed["choices"]) {
      if (choice["index"] != index) continue;
      EXPECT_EQ(n_finish, 0) << "an event behind the finish reason";
      const Json& delta = choice["delta"];
      if (delta.contains("role")) {
        EXPECT_FALSE(role);
        role = true;
      }
      EXPECT_TRUE(role);
      content += delta.value("content", "");
      reasoning += delta.value("reasoning_content", "");
      if (delta.contains("tool_calls")) {
        for (const Json& call : delta["tool_calls"]) {
          const size_t at = call["index"].get<size_t>();
          if (call.contains("id")) {
            EXPECT_EQ(calls.size(), at);
            Json first = call;
            first.erase("index");
            calls.push_back(first);
          } else {
            auto& arguments = calls.at(at)["function"]["arguments"].get_ref<std::string&>();
            arguments += call["function"]["arguments"].get<std::string>();
          }
        }
      }
      if (choice["logprobs"].is_object()) {
        for (const Json& entry : choice["logprobs"]["content"]) logprobs.push_back(entry);
      }
      if (choice.contains("token_ids")) {
        for (const Json& id : choice["token_ids"]) ids.push_back(id);
      }
      if (!choice["finish_reason"].is_null()) {
        finish = choice["finish_reason"];
        ++n_finish;
      }
    }
  }
  EXPECT_EQ(n_finish, 1);
  Json message = {{"role", "assistant"}, {"content", content}, {"refusal", nullptr}};
  if (content.empty() && !calls.empty()) message["content"] = nullptr;
  if (!reasoning.empty()) message["reasoning_content"] = reasoning;
  if (!calls.empty()) message["tool_calls"] = calls;
  Json choice = {{"index", index}, {"message", message}, {"logprobs", nullptr}, {"finish_reason", finish}};
  if (!logprobs.empty()) choice["logprobs"] = {{"content", logprobs}, {"refusal", nullptr}};
  if (!ids.empty()) choice["token_ids"] = ids;
  return choice;
}

// The same of completions.
Json SumOfText(const FakeResponder& r, int index) {
  std::string text;
  Json finish, ids = Json::array(), prompt_ids;
  Json logprobs;
  for (const std::string& event : r.Events()) {
    if (event == "[DONE]") continue;
    const Json parsed = Parsed(event);
    for (const Json& choice : parsed["choices"]) {
      if (choice["index"] != index) continue;
      EXPECT_TRUE(finish.is_null());
      text += choice["text"].get<std::string>();
      finish = choice["finish_reason"];
      if (choice.contains("token_ids")) {
        for (const Json& id : choice["token_ids"]) ids.push_back(id);
      }
      if (choice.contains("prompt_token_ids")) prompt_ids = choice["prompt_token_ids"];
      if (!choice["logprobs"].is_object()) continue;
      for (const auto& [name, list] : choice["logprobs"].items()) {
        for (const Json& entry : list) logprobs[name].push_back(entry);
      }
    }
  }
  Json choice = {{"index", index}, {"text", text}, {"logprobs", logprobs}, {"finish_reason", finish}};
  if (!ids.empty()) choice["token_ids"] = ids;
  if (!prompt_ids.is_null()) choice["prompt_token_ids"] = prompt_ids;
  return choice;
}

TEST(Chat, WholeAnswerHasOpenAisShape) {
  Fixture f;
  const auto r = f.Post(kChatPath, ChatBody());
  ASSERT_EQ(r->status, 200) << r->body;
  EXPECT_EQ(r->content_type, "application/json");
  EXPECT_EQ(r->answers, 1);
  Json body = r->Body();
  EXPECT_TRUE(body["id"].get<std::string>().starts_with("chatcmpl-"));
  EXPECT_GT(body["created"].get<int64_t>(), 1'600'000'000);
  body.erase("id");
  body.erase("created");
  EXPECT_EQ(body, Parsed(R"({"object":"chat.completion","model":"fake-1","choices":[{"index":0,
    "message":{"role":"assistant","content":"Hello world","refusal":null},"logprobs":null,"finish_reason":"stop"}],
    "usage":{"prompt_tokens":20,"completion_tokens":12,"total_tokens":32,"prompt_tokens_details":{"cached_tokens":2}}})"));
  EXPECT_EQ(f.engine.submitted.at(0).request.prompt.ids->size(), 20U);
}

TEST(Chat, StreamHasRoleFirstOneFinishAndDone) {
  Fixture f;
  const auto r = f.Post(kChatPath, ChatBody({{"stream", true}}));
  ASSERT_EQ(r->status, 200);
  EXPECT_EQ(r->content_type, "text/event-stream");
  EXPECT_TRUE(r->finished);
  const auto events = r->Events();
  ASSERT_EQ(events.size(), 5U);
  const auto choice = [&](size_t i) { return Parsed(events[i])["choices"][0]; };
  EXPECT_EQ(choice(0)["delta"], Parsed(R"({"role":"assistant","content":""})"));
  EXPECT_EQ(choice(1)["delta"], Parsed(R"({"content":"Hello"})"));
  EXPECT_TRUE(choice(1)["finish_reason"].is_null());
  EXPECT_EQ(choice(2)["delta"], Parsed(R"({"content":" world"})"));
  EXPECT_EQ(choice(3)["delta"], Json::object());
  EXPECT_EQ(choice(3)["finish_reason"], "stop");
  EXPECT_EQ(events[4], "[DONE]");
  EXPECT_FALSE(Parsed(events[1]).contains("usage"));
}

TEST(Chat, UsageOfStreams) {
  Fixture f;
  const auto r =
      f.Post(kChatPath, ChatBody({{"stream", true}, {"stream_options", {{"include_usage", true}}}}));
  const auto events = r->Events();
  ASSERT_EQ(events.size(), 6U);
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(Parsed(events[i]).at("usage").is_null());
  EXPECT_EQ(Parsed(events[4])["choices"], Json::array());
  EXPECT_EQ(Parsed(events[4])["usage"],
            Parsed(R"({"prompt_tokens":20,"completion_tokens":12,"total_tokens":32,
    "prompt_tokens_details":{"cached_tokens":2}})"));
  Json options = {{"include_usage", true}, {"continuous_usage_stats", true}};
  const auto more = f.Post(kChatPath, ChatBody({{"stream", true}, {"stream_options", options}}))->Events();
  EXPECT_EQ(Parsed(more[0])["usage"]["completion_tokens"], 0);
  EXPECT_EQ(Parsed(more[1])["usage"]["completion_tokens"], 5);
  EXPECT_EQ(Parsed(more[2])["usage"]["total_tokens"], 31);
}

// Every event written by hand is the text that the JSON library would have written.
TEST(Events, HandWrittenTextIsThatOfTheLibrary) {
  Fixture f;
  f.engine.script = {"plain", "quote\" back\\slash\n\r\t\b\f\x01\x1f\x7f", "é漢字🌍",
                     std::string("nul\0byte", 8)};
  for (const char* path : {kChatPath, kTextPath, "/v2/models/fake-1/generate"}) {
    const Json body = path == kChatPath ? ChatBody({{"stream", true}}) : TextBody({{"stream", true}});
    for (const std::string& event : f.Post(path, body)->Events()) {
      if (event == "[DONE]") continue;
      EXPECT_EQ(event, DumpJson(Parsed(event)));
    }
  }
  for (int c = 0; c < 128; ++c) {
    std::string text = "a", ours;
    text += static_cast<char>(c);
    AppendJsonString(text, &ours);
    EXPECT_EQ(ours, DumpJson(Json(text)));
  }
  std::string broken;
  AppendJsonString("a\xff\xe6\xbc", &broken);
  EXPECT_EQ(Parsed(broken), "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(Events, FloatsReadBackAndStayFloats) {
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    const uint32_t bits = i < 4 ? uint32_t{0x3f800000} << i : static_cast<uint32_t>(random());
    float x = 0;
    std::memcpy(&x, &bits, sizeof(x));
    if (x != x || x - x != 0) continue;
    std::string text;
    AppendFloat(x, &text);
    const Json parsed = Parsed(text);
    ASSERT_TRUE(parsed.is_number_float()) << text;
    EXPECT_EQ(static_cast<float>(parsed.get<double>()), x);
  }
  std::string infinity;
  AppendFloat(-std::numeric_limits<float>::infinity(), &infinity);
  EXPECT_EQ(infinity, "-9999.0");
}

// 500 random answers, cut at random places between characters, whole and streamed.
TEST(Events, StreamAddsUpToTheWholeAnswer) {
  const std::vector<std::string> words = {
      "the ",
      "漢字",
      "🌍",
      "\"q\"",
      "\n",
      "é",
      "<think>",
      "</think>",
      "<tool_call>\n",
      R"({"name": "get_time", "arguments": {"zone": "日本", "n": [1, 2]}})",
      "\n</tool_call>",
      "{",
      "}",
      "<tool",
      "\\",
      " tail "};
  std::mt19937 random(3);
  const auto pick = [&](size_t n) { return static_cast<size_t>(random()) % n; };
  Fixture f;
  f.engine.chat_template = kHermesTemplate;
  for (int round = 0; round < 500; ++round) {
    f.engine.submitted.clear();
    std::string text = round % 3 == 0 ? "<think>" : "";
    for (size_t i = pick(12); i > 0; --i) text += words[pick(words.size())];
    f.engine.script.clear();
    for (size_t at = 0; at < text.size();) {
      size_t end = at;
      for (size_t k = 1 + pick(9); k > 0 && end < text.size(); --k) end += text::Utf8Length(text[end]);
      f.engine.script.push_back(text.substr(at, end - at));
      at = end;
    }
    Json more = {{"n", 1 + round % 2}};
    if (round % 2 == 0) more["tools"] = Tools();
    if (round % 5 == 0) more.update({{"logprobs", true}, {"top_logprobs", 2}, {"return_token_ids", true}});
    f.engine.finish = round % 7 == 0 ? FinishReason::kLength : FinishReason::kStop;
    Json whole = f.Post(kChatPath, ChatBody(more))->Body();
    more["stream"] = true;
    const auto stream = f.Post(kChatPath, ChatBody(more));
    for (int i = 0; i <= round % 2; ++i) {
      Json want = whole["choices"][static_cast<size_t>(i)], sum = SumOfChat(*stream, i);
      // Ids of calls are made from the answer's own id.
      for (Json* choice : {&want, &sum}) {
        if (!(*choice)["message"].contains("tool_calls")) continue;
        for (Json& call : (*choice)["message"]["tool_calls"]) {
          EXPECT_FALSE(call["id"].get<std::string>().empty());
          call.erase("id");
        }
      }
      ASSERT_EQ(sum, want) << text;
    }
    if (!more.contains("tools")) {
      const Json text_more = {{"stream", true}, {"n", 1 + round % 2}, {"echo", round % 4 == 1}};
      const auto text_stream = f.Post(kTextPath, TextBody(text_more));
      Json text_whole_more = text_more;
      text_whole_more["stream"] = false;
      const Json text_whole = f.Post(kTextPath, TextBody(text_whole_more))->Body();
      for (int i = 0; i <= round % 2; ++i)
        ASSERT_EQ(SumOfText(*text_stream, i), text_whole["choices"][static_cast<size_t>(i)])
            << text_stream->body;
    }
  }
}

TEST(Chat, LogprobsHaveBytesAndAlternatives) {
  Fixture f;
  f.engine.script = {"é"};
  const Json choice =
      f.Post(kChatPath, ChatBody({{"logprobs", true}, {"top_logprobs", 1}}))->Body()["choices"][0];
  const Json& content = choice["logprobs"]["content"];
  ASSERT_EQ(content.size(), 3U);  // two bytes and the end of sequence
  EXPECT_EQ(content[0], Parsed(R"({"token":"�","logprob":-0.5,"bytes":[195],
    "top_logprobs":[{"token":"�","logprob":-0.5,"bytes":[195]}]})"));
  EXPECT_EQ(content[2]["token"], "</s>");
  const Json ids =
      f.Post(kChatPath, ChatBody({{"logprobs", true}, {"return_tokens_as_token_ids", true}}))->Body();
  EXPECT_EQ(ids["choices"][0]["logprobs"]["content"][0]["token"], "token_id:195");
  EXPECT_EQ(ids["choices"][0]["logprobs"]["content"][0]["top_logprobs"], Json::array());
  EXPECT_EQ(f.engine.submitted[0].request.sampling.logprobs, 1);
  EXPECT_EQ(f.engine.submitted[1].request.sampling.logprobs, 0);
}

TEST(Chat, TokenIdsHaveVllmsPlaces) {
  Fixture f;
  const Json whole = f.Post(kChatPath, ChatBody({{"return_token_ids", true}}))->Body();
  EXPECT_EQ(whole["prompt_token_ids"].size(), 20U);
  EXPECT_EQ(whole["choices"][0]["token_ids"].size(), 12U);
  EXPECT_EQ(whole["choices"][0]["token_ids"].back(), FakeEngine::kEos);
  const auto events = f.Post(kChatPath, ChatBody({{"return_token_ids", true}, {"stream", true}}))->Events();
  EXPECT_EQ(Parsed(events[0])["prompt_token_ids"].size(), 20U);
  EXPECT_FALSE(Parsed(events[1]).contains("prompt_token_ids"));
  EXPECT_EQ(Parsed(events[1])["choices"][0]["token_ids"], Parsed("[72,101,108,108,111]"));
}

TEST(Completions, WholeAnswerOfABatchOfChoices) {
  Fixture f;
  const Json body = f.Post(kTextPath, {{"prompt", {"ab", "cde"}}, {"n", 2}, {"echo", true}})->Body();
  EXPECT_EQ(body["object"], "text_completion");
  ASSERT_EQ(body["choices"].size(), 4U);
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(body["choices"][i]["index"], i);
    EXPECT_EQ(body["choices"][i]["text"], std::string(i < 2 ? "ab" : "cde") + "Hello world");
    EXPECT_TRUE(body["choices"][i]["logprobs"].is_null());
  }
  EXPECT_EQ(body["usage"], Parsed(R"({"prompt_tokens":7,"completion_tokens":48,"total_tokens":55,
    "prompt_tokens_details":{"cached_tokens":4}})"));
  EXPECT_EQ(f.admission.requests, 4);
  EXPECT_EQ(f.admission.tokens, 3U + 4U + 4U * 16U);
  EXPECT_EQ(f.admission.held, 0);
}

TEST(Completions, PromptsOfIds) {
  Fixture f;
  f.Post(kTextPath, {{"prompt", {1, 2, 3}}});
  EXPECT_EQ(*f.engine.submitted[0].request.prompt.ids, (std::vector<TokenId>{1, 2, 3}));
  const Json body =
      f.Post(kTextPath, {{"prompt", {{97, 98}, {256, 99}}}, {"echo", true}, {"return_token_ids", true}})
          ->Body();
  EXPECT_EQ(body["choices"][0]["text"], "abHello world");
  EXPECT_EQ(body["choices"][1]["text"], "cHello world");
  EXPECT_EQ(body["choices"][1]["prompt_token_ids"], Parsed("[256,99]"));
}

TEST(Completions, LegacyLogprobsWithEcho) {
  Fixture f;
  f.engine.script = {"é!"};
  const Json more = {{"prompt", "hé"}, {"logprobs", 2}, {"echo", true}, {"max_tokens", 5}};
  const Json choice = f.Post(kTextPath, more)->Body()["choices"][0];
  EXPECT_EQ(choice["text"], "héé!");
  const Json& l = choice["logprobs"];
  EXPECT_EQ(l["tokens"], Parsed(R"(["<s>","h","�","�","�","�","!","</s>"])"));
  EXPECT_EQ(l["text_offset"], Parsed("[0,0,1,2,2,3,3,4]"));
  EXPECT_TRUE(l["token_logprobs"][0].is_null());
  EXPECT_TRUE(l["top_logprobs"][0].is_null());
  EXPECT_EQ(l["token_logprobs"][1], -0.5);
  EXPECT_EQ(l["top_logprobs"][1], Parsed(R"({"h":-0.5,"i":-1.5})"));
  EXPECT_EQ(f.engine.submitted[0].request.prompt_logprobs, 2);
  // Streamed, the arrays add up to the same.
  Json streamed = more;
  streamed["stream"] = true;
  EXPECT_EQ(SumOfText(*f.Post(kTextPath, streamed), 0), choice);
}

TEST(Completions, EchoAloneGeneratesNothingThatShows) {
  Fixture f;
  for (const bool stream : {false, true}) {
    const auto r =
        f.Post(kTextPath, TextBody({{"max_tokens", 0}, {"echo", true}, {"logprobs", 0}, {"stream", stream}}));
    const Json choice = stream ? SumOfText(*r, 0) : r->Body()["choices"][0];
    EXPECT_EQ(choice["text"], "Once");
    EXPECT_EQ(choice["finish_reason"], "length");
    EXPECT_EQ(choice["logprobs"]["tokens"].size(), 5U);
    if (!stream) {
      EXPECT_EQ(r->Body()["usage"]["completion_tokens"], 0);
    }
    EXPECT_EQ(f.engine.submitted.back().request.sampling.max_tokens, 1);
  }
  const auto r = f.Post(kTextPath, TextBody({{"max_tokens", 0}}));
  EXPECT_EQ(r->status, 400);
  EXPECT_EQ(r->Body()["error"]["param"], "max_tokens");
}

TEST(Tools, CallsComeOutWholeAndStreamed) {
  const std::string call =
      "<tool_call>\n{\"name\": \"get_time\", \"arguments\": {\"zone\": \"UTC\"}}\n</tool_call>";
  for (const char* choice : {"auto", "required", "named"}) {
    Fixture f;
    f.engine.chat_template = kHermesTemplate;
    f.engine.script = {call.substr(0, 30), call.substr(30, 20), call.substr(50)};
    Json tool_choice = choice;
    if (tool_choice == "named") tool_choice = {{"type", "function"}, {"function", {{"name", "get_time"}}}};
    const Json more = {{"tools", Tools()}, {"tool_choice", tool_choice}};
    const Json whole = f.Post(kChatPath, ChatBody(more))->Body()["choices"][0];
    EXPECT_TRUE(whole["message"]["content"].is_null());
    ASSERT_EQ(whole["message"]["tool_calls"].size(), 1U);
    const Json& made = whole["message"]["tool_calls"][0];
    EXPECT_EQ(made["type"], "function");
    EXPECT_EQ(made["function"]["name"], "get_time");
    EXPECT_EQ(Parsed(made["function"]["arguments"].get<std::string>()), Parsed(R"({"zone":"UTC"})"));
    EXPECT_EQ(whole["finish_reason"], tool_choice.is_object() ? "stop" : "tool_calls");
    const Request& request = f.engine.submitted[0].request;
    EXPECT_EQ(request.format.has_value(), std::string(choice) != "auto");
    EXPECT_EQ(Parsed(f.engine.last_chat.tools_json), Tools());
  }
}

TEST(Tools, OneCallAtMostWhenNotParallel) {
  const std::string call = "<tool_call>\n{\"name\": \"get_time\", \"arguments\": {}}\n</tool_call>\n";
  for (const bool parallel : {false, true}) {
    Fixture f;
    f.engine.chat_template = kHermesTemplate;
    f.engine.script = {call, call};
    const Json more = {{"tools", Tools()}, {"parallel_tool_calls", parallel}};
    const Json whole = f.Post(kChatPath, ChatBody(more))->Body()["choices"][0];
    EXPECT_EQ(whole["message"]["tool_calls"].size(), parallel ? 2U : 1U);
  }
}

TEST(Reasoning, IsPartedFromContentAndMayBeLeftOut) {
  Fixture f;
  f.engine.chat_template = kHermesTemplate;
  f.engine.script = {"<think>\nwell", " then\n</think>\n\n", "Yes."};
  const Json message = f.Post(kChatPath, ChatBody())->Body()["choices"][0]["message"];
  EXPECT_EQ(message["content"], "Yes.");
  EXPECT_EQ(message["reasoning_content"], "well then");
  const Json bare =
      f.Post(kChatPath, ChatBody({{"include_reasoning", false}}))->Body()["choices"][0]["message"];
  EXPECT_EQ(bare["content"], "Yes.");
  EXPECT_FALSE(bare.contains("reasoning_content"));
  f.engine.chat_template = "plain";
  Fixture off;
  off.engine.script = f.engine.script;
  EXPECT_EQ(off.Post(kChatPath, ChatBody())->Body()["choices"][0]["message"]["content"],
            "<think>\nwell then\n</think>\n\nYes.");
}

TEST(Generate, TritonsFieldsAndAnswer) {
  Fixture f;
  const Json body = {{"text_input", "Once"}, {"max_tokens", 9}, {"stop_words", {"", "END"}},
                     {"bad_words", ""},      {"top_k", 3},      {"repetition_penalty", 1.2},
                     {"random_seed", 5},     {"beam_width", 1}, {"end_id", 258},
                     {"pad_id", 0},          {"id", "42"},      {"temperature", nullptr}};
  const auto r = f.Post("/v2/models/fake-1/generate", body);
  ASSERT_EQ(r->status, 200) << r->body;
  EXPECT_EQ(r->Body()["model_name"], "fake-1");
  EXPECT_EQ(r->Body()["model_version"], "1");
  EXPECT_EQ(r->Body()["text_output"], "Hello world");
  EXPECT_EQ(r->Body()["id"], "42");
  const SamplingParams& s = f.engine.submitted[0].request.sampling;
  EXPECT_EQ(s.max_tokens, 9);
  EXPECT_EQ(s.stop, std::vector<std::string>{"END"});
  EXPECT_TRUE(s.bad_words.empty());
  EXPECT_EQ(s.top_k, 3);
  EXPECT_EQ(s.repetition_penalty, 1.2);
  EXPECT_EQ(s.seed, 5U);
  EXPECT_EQ(s.stop_ids, std::vector<TokenId>{258});
  EXPECT_EQ(s.temperature, 0.7);  // the model's own
}

TEST(Generate, TrussFieldsStreamsAndRefusals) {
  Fixture f;
  const Json body = {
      {"prompt", "Once"}, {"max_new_tokens", 7}, {"streaming", true}, {"exclude_input_in_output", false}};
  const auto r = f.Post("/v2/models/fake-1/generate", body);
  EXPECT_EQ(r->content_type, "text/event-stream");
  std::string text;
  for (const std::string& event : r->Events()) text += Parsed(event)["text_output"].get<std::string>();
  EXPECT_EQ(text, "OnceHello world");
  EXPECT_EQ(f.engine.submitted[0].request.sampling.max_tokens, 7);
  EXPECT_TRUE(f.Post("/v2/models/fake-1/generate_stream", {{"prompt", "a"}})->streaming);
  const std::pair<Json, const char*> bad[] = {
      {{{"prompt", "a"}, {"beam_width", 2}}, "beam_width"},
      {{{"prompt", "a"}, {"text_input", "b"}}, "text_input"},
      {{{"prompt", "a"}, {"max_tokens", 1}, {"max_new_tokens", 1}}, "max_new_tokens"},
      {{{"max_tokens", 1}}, "text_input"},
      {{{"prompt", "a"}, {"no_such", 1}}, "no_such"},
  };
  for (const auto& [fields, param] : bad) {
    const auto refused = f.Post("/v2/models/fake-1/generate", fields);
    EXPECT_EQ(refused->status, 400);
    EXPECT_EQ(refused->Body()["error"]["param"], param);
  }
  EXPECT_EQ(f.Post("/v2/models/other/generate", {{"prompt", "a"}})->status, 404);
}

TEST(Embeddings, FloatsAndBase64) {
  Fixture f;
  const Json body = f.Post("/v1/embeddings", {{"input", {"ab", "c"}}})->Body();
  ASSERT_EQ(body["data"].size(), 2U);
  EXPECT_EQ(body["data"][1]["index"], 1);
  EXPECT_EQ(body["data"][1]["object"], "embedding");
  EXPECT_NEAR(body["data"][1]["embedding"][0].get<double>(), 0.6, 1e-6);
  EXPECT_EQ(body["usage"], Parsed(R"({"prompt_tokens":5,"total_tokens":5})"));
  EXPECT_TRUE(f.engine.submitted[0].request.embed);
  const Json raw =
      f.Post("/v1/embeddings", {{"input", "a"}, {"encoding_format", "base64"}, {"normalize", false}})->Body();
  std::string bytes;
  ASSERT_TRUE(text::DecodeBase64(raw["data"][0]["embedding"].get<std::string>(), &bytes));
  ASSERT_EQ(bytes.size(), 12U);
  float x[3];
  std::memcpy(x, bytes.data(), 12);
  EXPECT_EQ(x[0], 3.0F);
  EXPECT_EQ(x[2], 4.0F);
  for (const char* text : {"", "a", "ab", "abc", "abcd"}) {
    std::string back;
    EXPECT_TRUE(text::DecodeBase64(EncodeBase64(text), &back));
    EXPECT_EQ(back, text);
  }
}

}  // namespace
}  // namespace lathe::serve
