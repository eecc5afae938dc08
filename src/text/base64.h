// Base64 (RFC 4648, padded), in which tokenizer files carry bytes.
#pragma once

#include <string>
#include <string_view>

namespace lathe::text {

// Replaces `bytes` by what `text` encodes. False when it is not base64.
bool DecodeBase64(std::string_view text, std::string* bytes);

}  // namespace lathe::text
