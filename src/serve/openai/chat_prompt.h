// Conversations as the chat template takes them.
#pragma once

#include <string>
#include <vector>

#include "serve/openai/prepare.h"

namespace lathe::serve {

struct ChatPrompt {
  std::vector<TokenId> ids;
  std::string text;  // as rendered
};

// Renders `messages` (with `tools` and the template's variables) of a body; also continues the last message
// when asked. Faults: messages that make no sense, a template that fails on them (its own words), no
// template.
Fault RenderChatPrompt(const Body& body, const Model& model, ChatPrompt* prompt);

// Whether a template's source goes through the parts of a message's content itself. If it does not, the texts
// of the parts are joined by line ends before it sees them.
bool TemplateTakesParts(std::string_view source);

}  // namespace lathe::serve
