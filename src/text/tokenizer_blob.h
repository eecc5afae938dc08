// The stored form of a TokenizerSpec: what an engine file carries.
//
// Little-endian: magic "LTOK", u32 version, then the fields of TokenizerSpec in order. Arrays and strings are
// a u32 count and their elements. Numbers of fixed size, so that reading is copying.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "text/tokenizer_spec.h"

namespace lathe::text {

std::string WriteBlob(const TokenizerSpec& spec);

// kCorrupt: truncated, or sizes that contradict each other; kMismatch: another version. The values are not
// checked against each other: ValidateSpec does that.
Expected<TokenizerSpec> ReadBlob(std::string_view blob);

}  // namespace lathe::text
