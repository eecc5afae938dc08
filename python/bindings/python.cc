#include "python.h"

#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <utility>

namespace lathe::python {
namespace {

// Fields of requests that the engine calls by other names.
constexpr std::pair<const char*, const char*> kPythonNames[] = {
    {"stop_ids", "stop_token_ids"},
    {"deadline_seconds", "timeout"},
    {"an output format", "structured output"},
};

std::string InPythonNames(const std::string& message) {
  for (const auto& [ours, theirs] : kPythonNames) {
    if (message.starts_with(ours)) return theirs + message.substr(std::string(ours).size());
  }
  return message;
}

bool Finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
  return Py_IsFinalizing() != 0;
#else
  return _Py_IsFinalizing() != 0;
#endif
}

std::atomic<int> g_forks{0};

}  // namespace

void Raise(const Status& status) {
  std::string name(ToString(status.code()));  // "invalid argument"
  std::erase(name, '/');
  std::ranges::replace(name, ' ', '_');
  const nb::object exception =
      nb::module_::import_("lathe._errors").attr("of_code")(name, InPythonNames(status.message()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(exception.ptr())), exception.ptr());
  throw nb::python_error();
}

void RaiseWrong(const std::string& name, const char* what, nb::handle value) {
  const std::string shown = nb::cast<std::string>(nb::repr(value));
  Raise(
      Error(StatusCode::kInvalidArgument, "%s must be %s, but is %.200s", name.c_str(), what, shown.c_str()));
}

WithoutGil::WithoutGil() {
  if (PyGILState_Check() != 0 && !Finalizing()) state_ = PyEval_SaveThread();
}

WithoutGil::~WithoutGil() {
  if (state_ == nullptr) return;
  while (Finalizing()) pause();
  PyEval_RestoreThread(state_);
}

int ForkGeneration() {
  static const bool watches = [] {
    pthread_atfork(nullptr, nullptr, [] { g_forks.fetch_add(1); });
    return true;
  }();
  (void)watches;
  return g_forks.load();
}

}  // namespace lathe::python
