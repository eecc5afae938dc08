// Parts that several kinds of request share.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "serve/openai/prepare.h"

namespace lathe::serve {

// Sampling, priority, timeout, cache salt and stream options; not max_tokens and logprobs, which differ.
Fault ReadCommon(const Body& body, const Model& model, const HttpRequest& http, Job* job);

// response_format, structured_outputs and the guided_ fields: at most one of them.
Fault ReadFormat(const Body& body, const Model& model, Job* job);

// tools and tool_choice of a chat: the parser's options, and the grammar of a forced call.
Fault ReadTools(const Body& body, const Model& model, Job* job);

// 400 with both numbers when a prompt fills the context; else each prompt's max_tokens, cut to what is left
// of it. Call when the prompts are there.
Fault FitContext(const std::string& prompt_param, const Model& model, Job* job);

// Token ids of a text as the caller wrote it.
Expected<std::vector<TokenId>> TokenizeText(const std::string& text, bool add_special, const Model& model);

// The strings and lists of ids of a kPrompt parameter.
Fault ReadPrompts(const Body& body, const char* param, bool keep_text, const Model& model, Job* job);

}  // namespace lathe::serve
