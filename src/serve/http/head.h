// The head of an answer.
#pragma once

#include <string>
#include <string_view>

#include "serve/message.h"

namespace lathe::serve {

struct HeadOptions {
  int status = 200;
  std::string_view content_type{};  // "": no body
  std::string_view request_id{};
  std::string_view content_length{};  // digits; "": none
  bool chunked = false;
  bool close = false;
  bool keep_alive_1_0 = false;  // HTTP/1.0 wants to be told
  bool tls = false;
};

// Status line and fields, with the empty line. `extra` stands in for a security header of the same name.
// Bytes that would end a field early become spaces.
std::string FormatHead(const HeadOptions& options, const HeaderList& extra);

std::string_view ReasonPhrase(int status);

}  // namespace lathe::serve
