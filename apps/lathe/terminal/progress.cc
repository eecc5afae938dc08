#include "terminal/progress.h"

#include <algorithm>

#include "base/clock.h"
#include "base/status.h"
#include "terminal/format.h"

namespace lathe::cli {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr size_t kBarColumns = 24;

// In whole seconds: it is a guess.
std::string TimeLeft(double seconds) {
  return seconds < 99.5 ? StrFormat("%.0f s", seconds) : FormatSeconds(seconds);
}

std::string Amount(double n, Unit unit) {
  return unit == Unit::kBytes ? FormatBytes(n) : FormatCount(static_cast<uint64_t>(n));
}

}  // namespace

std::string RenderProgress(std::string_view label, uint64_t done, uint64_t total, Unit unit, double seconds,
                           int width) {
  const auto columns = static_cast<size_t>(std::max(width, 1));
  done = total > 0 ? std::min(done, total) : done;
  std::string line(label.substr(0, columns));
  const auto append = [&](const std::string& part) {
    if (DisplayWidth(line) + 2 + part.size() <= columns) line += "  " + part;
  };
  const double fraction = total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 0;
  const double rate = seconds > 0 ? static_cast<double>(done) / seconds : 0;
  if (total > 0) {
    append(StrFormat("%3d%%", static_cast<int>(fraction * 100)));
    const auto filled = static_cast<size_t>(fraction * kBarColumns);
    append("[" + std::string(filled, '#') + std::string(kBarColumns - filled, '-') + "]");
    append(Amount(static_cast<double>(done), unit) + " of " + Amount(static_cast<double>(total), unit));
  } else if (done > 0) {
    append(Amount(static_cast<double>(done), unit));
  }
  // The first instants say nothing about the rate.
  if (rate > 0 && seconds > 0.2) {
    append(unit == Unit::kBytes ? FormatBytes(rate) + "/s" : StrFormat("%.1f/s", rate));
    if (total > done) append("ETA " + TimeLeft(static_cast<double>(total - done) / rate));
  }
  return line;
}

Progress::Progress(int fd) : fd_(fd), terminal_(DescribeTerminal(fd)), last_draw_(NowSeconds()) {}

void Progress::Update(std::string_view label, uint64_t done, uint64_t total, Unit unit) {
  const double now = NowSeconds();
  const bool new_stage = label != label_;
  if (new_stage) {
    label_ = label;
    stage_start_ = now;
  }
  const double wait = terminal_.interactive ? kRedrawSeconds : log_wait_;
  const bool due = now - last_draw_ >= wait || (terminal_.interactive && (new_stage || !drawn_));
  if (!due) return;
  last_draw_ = now;
  if (!terminal_.interactive) {
    log_wait_ *= 2;
    WriteAll(fd_, RenderProgress(label, done, total, unit, now - stage_start_, 120) + "\n");
    return;
  }
  terminal_ = DescribeTerminal(fd_);  // the window may have been resized
  // One column is left free: a full last column makes some terminals wrap.
  WriteAll(fd_,
           "\r\x1b[K" + RenderProgress(label, done, total, unit, now - stage_start_, terminal_.width - 1));
  drawn_ = true;
}

void Progress::Clear() {
  if (!drawn_) return;
  WriteAll(fd_, "\r\x1b[K");
  drawn_ = false;
}

}  // namespace lathe::cli
