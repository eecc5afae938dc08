#include "serving/sse.h"

namespace lathe::cli {

bool SseParser::Append(std::string_view part) {
  if (part.empty()) return true;
  after_cr_ = false;
  if (line_.size() + data_.size() + part.size() > kMaxEvent) return false;
  line_ += part;
  return true;
}

bool SseParser::EndLine() {
  if (line_.empty()) return !data_.empty();
  std::string_view line = line_;
  if (line.starts_with("data")) {
    line.remove_prefix(4);
    const bool is_data = line.empty() || line.front() == ':';
    if (is_data) {
      if (!line.empty()) line.remove_prefix(line.starts_with(": ") ? 2 : 1);
      data_ += line;
      data_ += '\n';
    }
  }
  line_.clear();
  return false;
}

}  // namespace lathe::cli
