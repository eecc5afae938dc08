// Server-sent events out of bytes as they come.
#pragma once

#include <string>
#include <string_view>

namespace lathe::cli {

// Splits a stream into events (the WHATWG HTML standard, section 9.2.6, as far as a stream of completions
// needs it: the data of each event; other fields and comments are skipped). Bytes may be cut anywhere, lines
// may end in LF, CR or CRLF. Not thread-safe.
class SseParser {
 public:
  // Calls `on_data` with the data of every event that `bytes` completes, its lines joined by '\n'. False once
  // an event is larger than kMaxEvent (nothing more is parsed).
  template <typename OnData>
  bool Feed(std::string_view bytes, const OnData& on_data) {
    for (size_t at = 0; at < bytes.size();) {
      const size_t end = bytes.find_first_of("\r\n", at);
      if (!Append(bytes.substr(at, (end == std::string_view::npos ? bytes.size() : end) - at))) return false;
      if (end == std::string_view::npos) break;
      at = end + 1;
      const bool second_of_pair = bytes[end] == '\n' && after_cr_;
      after_cr_ = bytes[end] == '\r';
      if (!second_of_pair && EndLine()) {
        on_data(std::string_view(data_).substr(0, data_.size() - 1));
        data_.clear();
      }
    }
    return true;
  }

  // True when the stream stands between two events: nothing was cut off.
  bool AtBoundary() const { return line_.empty() && data_.empty(); }

  static constexpr size_t kMaxEvent = size_t{16} << 20;

 private:
  bool Append(std::string_view part);
  // Takes a whole line in; true when it was the blank one that ends an event which has data.
  bool EndLine();

  std::string line_;  // so far
  std::string data_;  // of the event so far, each line followed by '\n'
  bool after_cr_ = false;
};

}  // namespace lathe::cli
