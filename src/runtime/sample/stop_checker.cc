#include "runtime/sample/stop_checker.h"

#include <algorithm>

namespace lathe {

// Bytes at the end of `text` that are the start of a stop string: the longest such.
size_t StopChecker::HoldBack(std::string_view text) const {
  size_t hold = 0;
  for (const std::string& stop : params_->stop) {
    for (size_t n = std::min(stop.size() - 1, text.size()); n > hold; --n) {
      if (text.ends_with(std::string_view(stop).substr(0, n))) {
        hold = n;
        break;
      }
    }
  }
  return hold;
}

bool StopChecker::Feed(std::string_view text, bool take, std::string* out) {
  if (params_->stop.empty()) {
    out->append(text);
    return false;
  }
  const size_t n_before = held_.size();
  held_.append(text);

  if (take) {
    size_t match_end = std::string::npos, match_begin = 0;
    for (const std::string& stop : params_->stop) {
      // A match that ended in an earlier piece was not taken then and is not now.
      const size_t from = n_before >= stop.size() ? n_before - stop.size() + 1 : 0;
      const size_t begin = held_.find(stop, from);
      if (begin == std::string::npos) continue;
      const size_t end = begin + stop.size();
      if (end < match_end || (end == match_end && begin < match_begin)) {
        match_end = end;
        match_begin = begin;
      }
    }
    if (match_end != std::string::npos) {
      out->append(held_, 0, params_->include_stop ? match_end : match_begin);
      held_.clear();
      return true;
    }
  }
  const size_t n_free = held_.size() - HoldBack(held_);
  out->append(held_, 0, n_free);
  held_.erase(0, n_free);
  return false;
}

void StopChecker::Flush(std::string* out) {
  out->append(held_);
  held_.clear();
}

}  // namespace lathe
