// How a text becomes the windows that `lathe eval perplexity` scores. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lathe/types.h"

namespace lathe::cli {

// `text` without the lines that are exactly `separator` (their newline goes with them; "" removes nothing).
std::string WithoutSeparatorLines(std::string_view text, std::string_view separator);

// Consecutive windows of `window` ids each: `bos` (left out when negative) and then the next ids. What does
// not fill a last window is dropped.
std::vector<std::vector<TokenId>> CutWindows(const std::vector<TokenId>& ids, int window, TokenId bos);

}  // namespace lathe::cli
