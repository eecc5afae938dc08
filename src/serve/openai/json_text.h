// JSON written by hand, for the path of every streamed token: the same bytes as DumpJson, without a tree.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "lathe/types.h"

namespace lathe::serve {

// Appends `text` in quotes and escaped. Bytes that are not UTF-8 become U+FFFD.
void AppendJsonString(std::string_view text, std::string* out);
// "" becomes null.
void AppendJsonStringOrNull(std::string_view text, std::string* out);

void AppendInt(int64_t value, std::string* out);
// The shortest text that reads back as the same float, always with a point or an exponent. JSON has no
// infinities: -inf (a token of no probability) becomes -9999.0 as OpenAI writes it, NaN null.
void AppendFloat(float value, std::string* out);

// [1,2,3]
void AppendIds(std::span<const TokenId> ids, std::string* out);
// [72,101]: the bytes of a string.
void AppendBytes(std::string_view bytes, std::string* out);

// Base64 with padding (RFC 4648).
std::string EncodeBase64(std::string_view bytes);

}  // namespace lathe::serve
