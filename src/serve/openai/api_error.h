// Faults as a client sees them: an HTTP status and OpenAI's error object.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "serve/message.h"

namespace lathe::serve {

struct ApiError {
  int status = 400;
  std::string message;          // one sentence; never prompt text, paths or addresses
  std::string param;            // the parameter at fault, "messages[1].content"; "" when there is none
  std::string code;             // machine-readable, "context_length_exceeded"
  int retry_after_seconds = 0;  // > 0: sent as Retry-After
};

// None: all is well.
using Fault = std::optional<ApiError>;

// A 400 about one parameter.
ApiError BadParam(std::string param, std::string code, std::string message);

// What a Status of the engine means to the client whose request caused it. Internal faults lose their message
// and show `request_id` instead, under which the log has it.
ApiError FromStatus(const Status& status, std::string_view request_id);

// {"error":{"message":..,"type":..,"param":..|null,"code":..|null}}
std::string ErrorBody(const ApiError& error);

// Answers with `error`; adds Retry-After when it has one.
void SendError(const ApiError& error, Responder* responder);

}  // namespace lathe::serve
