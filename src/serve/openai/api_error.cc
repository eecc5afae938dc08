#include "serve/openai/api_error.h"

#include <utility>

#include "serve/log.h"
#include "serve/openai/json_text.h"

namespace lathe::serve {
namespace {

std::string_view TypeOf(int status) {
  switch (status) {
    case 401:
    case 403: return "authentication_error";
    case 429: return "rate_limit_error";
    case 503: return "service_unavailable_error";
    case 408: return "timeout_error";
    default: return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

}  // namespace

ApiError BadParam(std::string param, std::string code, std::string message) {
  return {.status = 400, .message = std::move(message), .param = std::move(param), .code = std::move(code)};
}

ApiError FromStatus(const Status& status, std::string_view request_id) {
  ApiError error;
  error.message = status.message();
  switch (status.code()) {
    case StatusCode::kInvalidArgument: error.code = "invalid_value"; return error;
    case StatusCode::kUnsupported: error.code = "unsupported_value"; return error;
    case StatusCode::kNotFound:
      error.status = 404;
      error.code = "not_found";
      return error;
    case StatusCode::kResourceExhausted:
      error.status = 429;
      error.code = "queue_full";
      error.retry_after_seconds = 1;
      return error;
    case StatusCode::kUnavailable:
    case StatusCode::kCancelled:
      error.status = 503;
      error.code = "unavailable";
      error.retry_after_seconds = 1;
      return error;
    case StatusCode::kDeadlineExceeded:
      error.status = 408;
      error.code = "deadline_exceeded";
      return error;
    default: break;
  }
  error.status = 500;
  error.code = "internal_error";
  Log(LogLevel::kError, "request_failed", {{"request_id", request_id}, {"reason", status.message()}});
  error.message =
      "the server failed on this request; its log has more under request id " + std::string(request_id);
  return error;
}

std::string ErrorBody(const ApiError& error) {
  std::string out = "{\"error\":{\"message\":";
  AppendJsonString(error.message, &out);
  out += ",\"type\":\"";
  out += TypeOf(error.status);
  out += "\",\"param\":";
  AppendJsonStringOrNull(error.param, &out);
  out += ",\"code\":";
  AppendJsonStringOrNull(error.code, &out);
  out += "}}";
  return out;
}

void SendError(const ApiError& error, Responder* responder) {
  HeaderList headers;
  if (error.retry_after_seconds > 0)
    headers.emplace_back("Retry-After", std::to_string(error.retry_after_seconds));
  responder->Send(error.status, "application/json", ErrorBody(error), std::move(headers));
}

}  // namespace lathe::serve
