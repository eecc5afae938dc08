// The extension module lathe._lathe. What users see is src/lathe, which is made of it.
#include "lathe/version.h"
#include "python.h"

NB_MODULE(_lathe, module) {
  using namespace lathe::python;
  // Exceptions may keep objects alive until the interpreter ends: that is no fault of theirs.
  nb::set_leak_warnings(false);
  (void)ForkGeneration();  // from now on forks are noticed
  module.attr("__version__") = lathe::kVersionString;
  BindRequests(module);
  BindEngine(module);
  BindTokenizer(module);
  BindBuild(module);
  BindServer(module);
}
