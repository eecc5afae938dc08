// What every part of the Python module needs: errors as exceptions, and the interpreter's lock given away.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>  // in every file: without it a std::string would be an unknown class

#include <optional>
#include <string>

#include "base/status.h"

namespace nb = nanobind;

namespace lathe::python {

// Raises the exception of lathe._errors that belongs to the status' code, with its message. The fields of
// requests are named as Python names them.
[[noreturn]] void Raise(const Status& status);
inline void RaiseIfError(const Status& status) {
  if (!status.ok()) Raise(status);
}
template <typename T>
T ValueOrRaise(Expected<T> expected) {
  RaiseIfError(expected.status());
  return *std::move(expected);
}

// kInvalidArgument: "NAME must be WHAT, but is VALUE", the value as repr() has it.
[[noreturn]] void RaiseWrong(const std::string& name, const char* what, nb::handle value);

// While it lives, other Python threads run. A thread that finds the interpreter shutting down at its end
// sleeps for good, as threads do from Python 3.14 on: before that they were unwound, which C++ in between
// does not survive. Where nobody holds the lock, or the interpreter is ending already, it does nothing.
class WithoutGil {
 public:
  WithoutGil();
  ~WithoutGil();
  WithoutGil(const WithoutGil&) = delete;
  WithoutGil& operator=(const WithoutGil&) = delete;

 private:
  PyThreadState* state_ = nullptr;
};

// This process is a fork of the one in which `generation` was taken: threads, and what they hold, did not
// come along.
int ForkGeneration();

// The parts of the module, each in its file.
void BindEngine(nb::module_& module);
void BindRequests(nb::module_& module);
void BindTokenizer(nb::module_& module);
void BindBuild(nb::module_& module);
void BindServer(nb::module_& module);

}  // namespace lathe::python
