// lathe._lathe.build: from a checkpoint to an engine file.
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include "build_events.h"
#include "compiler/option_words.h"
#include "convert.h"
#include "terminal/progress.h"

namespace lathe::python {
namespace {

std::optional<std::string> WordOf(nb::dict options, const char* name) {
  if (!options.contains(name)) return std::nullopt;
  const nb::object value = options[name];
  if (value.is_none()) return std::nullopt;
  return TextOf(value, name);
}

int WholeOf(nb::dict options, const char* name, int fallback) {
  if (!options.contains(name)) return fallback;
  const nb::object value = options[name];
  return value.is_none() ? fallback : static_cast<int>(IntOf(value, name, -1, 1 << 20));
}

BuildOptions OptionsOf(nb::dict options) {
  BuildOptions build;
  RaiseIfError(SetFromWords({.dtype = WordOf(options, "dtype"),
                             .kv_dtype = WordOf(options, "kv_dtype"),
                             .fp8_scales = WordOf(options, "fp8_scales"),
                             .fp8_keep = WordOf(options, "fp8_keep"),
                             .numeric = WordOf(options, "numeric")},
                            &build));
  build.target = WordOf(options, "target").value_or(build.target);
  build.timing_cache = WordOf(options, "timing_cache").value_or("");
  build.cuda.device = WholeOf(options, "device", -1);
  build.threads = WholeOf(options, "threads", 0);
  build.tp = WholeOf(options, "tp", 1);
  build.pp = WholeOf(options, "pp", 1);
  if (options.contains("tune")) build.tune = nb::cast<bool>(options["tune"]);
  return build;
}

// The report, as a dict.
nb::dict Build(const std::string& model, const std::optional<std::string>& output, nb::dict options,
               nb::handle events) {
  BuildOptions build = OptionsOf(options);
  BuildTeller teller(events);
  build.progress = teller.Progress();
  build.cancelled = teller.Cancelled();
  auto report = [&]() -> Expected<BuildReport> {
    const WithoutGil unlocked;
    LATHE_ASSIGN_OR_RETURN(const std::string path,
                           FetchModel({.model = model, .want = hub::Want::kWeights}, teller.Fetching(model)));
    build.output = output.value_or(ModelNameOf(path) + ".lathe");
    return BuildEngine(path, build);
  }();
  teller.RethrowIfRaised();
  const BuildReport built = ValueOrRaise(std::move(report));
  nb::list warnings;
  for (const std::string& warning : built.warnings) warnings.append(TextToPython(warning));
  nb::dict out;
  out["path"] = TextToPython(built.path);
  out["file_bytes"] = built.file_bytes;
  out["weight_bytes"] = built.weight_bytes;
  out["seconds"] = built.seconds;
  out["warnings"] = warnings;
  out["build_info"] = TextToPython(DumpJson(built.build_info));
  return out;
}

}  // namespace

void BindBuild(nb::module_& module) {
  module.def("build", &Build, nb::arg("model"), nb::arg("output").none(), nb::arg("options"),
             nb::arg("events").none());
  module.def(
      "render_progress",
      [](const std::string& label, uint64_t done, uint64_t total, bool counted, double seconds, int width) {
        return TextToPython(cli::RenderProgress(
            label, done, total, counted ? cli::Unit::kItems : cli::Unit::kBytes, seconds, width));
      },
      nb::arg("label"), nb::arg("done"), nb::arg("total"), nb::arg("counted"), nb::arg("seconds"),
      nb::arg("width"));
}

}  // namespace lathe::python
