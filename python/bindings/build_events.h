// What a build tells, told on to a Python object.
#pragma once

#include <functional>
#include <optional>

#include "compiler/compile.h"
#include "open/fetch_model.h"
#include "open/open_model.h"
#include "python.h"

namespace lathe::python {

// `events` is None or has the methods of lathe._progress.Events, which are called with the interpreter's lock
// taken for that long. What one of them raises, and Ctrl-C, ends the build. Used by one thread, which holds
// the lock when it is made and destroyed.
class BuildTeller {
 public:
  explicit BuildTeller(nb::handle events) : events_(nb::borrow(events)) {}

  std::function<void(const BuildProgress&)> Progress();
  std::function<bool()> Cancelled();
  std::function<void(uint64_t, uint64_t)> Loading();
  OpenEvents Events();
  FetchEvents Fetching(const std::string& model);
  // With the lock held.
  void RethrowIfRaised();

 private:
  template <typename... Args>
  void Call(const char* method, Args... args);

  nb::object events_;
  std::optional<nb::python_error> raised_;
};

}  // namespace lathe::python
