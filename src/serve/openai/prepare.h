// From checked bodies to jobs: prompts tokenized, sampling and format set, limits of the model held.
#pragma once

#include <string>

#include "serve/message.h"
#include "serve/openai/api.h"
#include "serve/openai/job.h"

namespace lathe::serve {

// What the model's template knows, found once; and the settings. Immutable.
struct Model {
  Engine* engine = nullptr;
  ApiOptions options;
  ToolFormat tool_format = ToolFormat::kNone;
  bool marker_is_token = false;    // what opens a call is one token
  bool marker_is_special = false;  // and a control token, which text leaves out unless asked for
  bool reasoning = false;
  bool template_takes_parts = false;  // it goes through lists of content parts itself
};

// Errors: kInvalidArgument for an unknown format name.
Expected<Model> DescribeModel(Engine* engine, ApiOptions options);

// Each fills all of *job but its id. `http` gives the principal.
Fault PrepareChat(const Body& body, const Model& model, const HttpRequest& http, Job* job);
Fault PrepareCompletion(const Body& body, const Model& model, const HttpRequest& http, Job* job);
Fault PrepareGenerate(const Body& body, const Model& model, const HttpRequest& http, Job* job);
Fault PrepareEmbedding(const Body& body, const Model& model, const HttpRequest& http, Job* job);

// 404 when `model` names another model than the served one.
Fault CheckModel(const Body& body, const Model& model);

// Tokens of prompts and their largest number of generated tokens: what admission charges.
uint64_t CostOf(const Job& job, const Model& model);

}  // namespace lathe::serve
