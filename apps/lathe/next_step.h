// "What to type next", shown to people and not to pipes.
#pragma once

#include <string>

namespace lathe::cli {

// On stderr when it is a terminal.
void SuggestNext(const std::string& command);

}  // namespace lathe::cli
