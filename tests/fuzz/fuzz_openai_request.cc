// Request bodies: whatever the bytes, every endpoint answers once, with JSON, and below 500.
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "serve/openai/testing/fakes.h"

namespace {

using lathe::serve::testing::Fixture;

void Send(Fixture* f, const char* path, std::string_view body) {
  f->engine.submitted.clear();
  f->observer.done.clear();
  const auto r = f->Request("POST", path, std::string(body));
  LATHE_CHECK_EQ(r->answers, 1);
  LATHE_CHECK(r->finished);
  LATHE_CHECK(r->status == 200 || (r->status >= 400 && r->status < 500));
  LATHE_CHECK_EQ(f->admission.held, 0);
  if (r->streaming) {
    for (const std::string& event : r->Events())
      LATHE_CHECK(event == "[DONE]" || lathe::ParseJson(event, "event").ok());
  } else {
    const lathe::Json answer = r->Body();
    LATHE_CHECK(r->status == 200 || answer.at("error").at("message").is_string());
  }
}

}  // namespace

// The first byte picks the endpoint.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static Fixture* const fixture = [] {
    auto* f = new Fixture;
    f->engine.chat_template = "<tool_call> </think> {{ messages }} {{ tools }}";
    f->engine.script = {"<think>a</think>", "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>",
                        " b"};
    return f;
  }();
  static constexpr const char* kPaths[] = {"/v1/chat/completions", "/v1/completions",
                                           "/v1/embeddings",       "/tokenize",
                                           "/detokenize",          "/v2/models/fake-1/generate"};
  if (size == 0) return 0;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  Send(fixture, kPaths[data[0] % 6], body);
  return 0;
}
