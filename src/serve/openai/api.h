// OpenAI's HTTP API (and the generate endpoints of Triton) over lathe::Engine: the protocol without sockets.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "lathe/engine.h"
#include "serve/openai/body.h"
#include "serve/openai/param_table.h"
#include "serve/router.h"
#include "serve/seams.h"

namespace lathe::serve {

// All must outlive the API and every request; admission and observer may be null (tests, embedding).
struct ApiContext {
  Engine* engine = nullptr;
  Admission* admission = nullptr;
  Observer* observer = nullptr;
};

struct ApiOptions {
  std::string model_name;                  // "": the engine's
  std::vector<std::string> model_aliases;  // also accepted as `model`
  std::string tool_format = "auto";        // of the template; or "none", "hermes", "llama3_json", "mistral"
  std::string reasoning_format = "auto";   // of the template; or "none", "think"
  bool allow_special_tokens = false;       // control tokens spelled out in text prompts count as such
  double default_timeout_seconds = 0;      // of a request without `timeout`; 0: none
  BodyLimits body;
  ApiLimits limits;
};

// Thread-safe after construction. Handlers run on worker threads and never wait for the engine's answer.
class OpenAiApi {
 public:
  // Errors: kInvalidArgument for an unknown tool_format or reasoning_format.
  static Expected<std::unique_ptr<OpenAiApi>> Create(ApiContext context, ApiOptions options);
  ~OpenAiApi();

  // Adds the routes of every endpoint; this object must outlive the router.
  void Register(Router* router);

  const ParamTable& table() const;

 private:
  struct Impl;
  explicit OpenAiApi(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace lathe::serve
