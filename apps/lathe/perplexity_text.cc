#include "perplexity_text.h"

#include <algorithm>
#include <cstddef>

namespace lathe::cli {

std::string EmptySeparatorLines(std::string_view text, std::string_view separator) {
  std::string out;
  out.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    const std::string_view line = text.substr(at, end - at);
    const size_t next = std::min(end + 1, text.size());
    if (line != separator) out += line;
    out += text.substr(end, next - end);
    at = next;
  }
  return out;
}

std::vector<std::vector<TokenId>> CutWindows(const std::vector<TokenId>& ids, int window, TokenId bos) {
  std::vector<std::vector<TokenId>> out;
  const auto stride = static_cast<size_t>(window);
  const size_t body = stride - (bos >= 0 ? 1 : 0);
  for (size_t at = 0; at + body <= ids.size(); at += stride) {
    std::vector<TokenId>& one = out.emplace_back();
    if (bos >= 0) one.push_back(bos);
    one.insert(one.end(), ids.begin() + static_cast<ptrdiff_t>(at),
               ids.begin() + static_cast<ptrdiff_t>(at + body));
  }
  return out;
}

}  // namespace lathe::cli
