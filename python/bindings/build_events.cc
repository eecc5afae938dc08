#include "build_events.h"

#include <nanobind/stl/string.h>
#include <nanobind/stl/string_view.h>

namespace lathe::python {

template <typename... Args>
void BuildTeller::Call(const char* method, Args... args) {
  const nb::gil_scoped_acquire locked;
  if (!locked.is_valid() || raised_) return;
  try {
    if (!events_.is_none()) events_.attr(method)(args...);
  } catch (nb::python_error& error) {
    raised_.emplace(std::move(error));
  }
}

std::function<void(const BuildProgress&)> BuildTeller::Progress() {
  return [this](const BuildProgress& now) { Call("building", now.stage, now.done, now.total, now.counted); };
}

std::function<bool()> BuildTeller::Cancelled() {
  return [this] {
    const nb::gil_scoped_acquire locked;
    if (!raised_ && locked.is_valid() && PyErr_CheckSignals() != 0) raised_.emplace();
    return raised_.has_value();
  };
}

std::function<void(uint64_t, uint64_t)> BuildTeller::Loading() {
  return [this](uint64_t done, uint64_t total) { Call("progress", "loading", done, total, false); };
}

OpenEvents BuildTeller::Events() {
  return {.build = Progress(),
          .cancelled = Cancelled(),
          .resolved = [this] { Call("resolved"); },
          .warning = [this](const std::string& text) { Call("warning", text); },
          .built =
              [this](const BuildReport& report) {
                Call("built", report.path, report.file_bytes, report.seconds);
              },
          .rebuilding = [this](const std::string& why) { Call("rebuilding", why); }};
}

FetchEvents BuildTeller::Fetching(const std::string& model) {
  return {.progress =
              [this, model](const hub::DownloadProgress& now) {
                const std::string stage = now.waiting_for.empty()
                                              ? "fetching " + model
                                              : "waiting for another process to fetch " + now.waiting_for;
                Call("progress", stage, now.done_bytes, now.total_bytes, false);
                return true;
              },
          .warning = [this](const std::string& text) { Call("warning", text); },
          .cancelled = Cancelled()};
}

void BuildTeller::RethrowIfRaised() {
  if (!raised_) return;
  nb::python_error error = *std::move(raised_);
  raised_.reset();
  throw error;
}

}  // namespace lathe::python
