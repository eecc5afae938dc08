// Text inside JSON, for the two places that write JSON without a tree: errors of the transport and log lines.
#pragma once

#include <string>
#include <string_view>

namespace lathe::serve {

// `text` as a JSON string with its quotes. Control bytes and everything beyond ASCII become \u escapes or
// '?', so that a log line stays one line of printable text whatever a client sent.
std::string QuoteJson(std::string_view text);

// {"error":{"message":...,"type":...,"param":null,"code":...}}, OpenAI's shape.
std::string ErrorJson(std::string_view message, std::string_view type, std::string_view code);

// OpenAI's `type` of an error with this HTTP status: "invalid_request_error", "authentication_error", ...
std::string_view ErrorType(int status);

}  // namespace lathe::serve
