// How a text becomes the windows that `lathe eval perplexity` scores. Pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "lathe/types.h"

namespace lathe::cli {

// `text` with the lines that are exactly `separator` emptied: documents are then parted by an empty line. ""
// changes nothing.
std::string EmptySeparatorLines(std::string_view text, std::string_view separator);

// Windows of `window` ids: number i is `bos` and the window - 1 ids from i * window on, so one id in `window`
// is passed over where the next window's bos stands. Without a bos (negative) a window is `window` ids. What
// does not fill a last window is dropped.
std::vector<std::vector<TokenId>> CutWindows(const std::vector<TokenId>& ids, int window, TokenId bos);

}  // namespace lathe::cli
