#include "compiler/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "compiler/types.h"
#include "formats/engine_file.h"
#include "lathe/version.h"
#include "model/model_hash.h"
#include "model/weight_source.h"
#include "platform/cpu_info.h"
#include "platform/topology.h"

namespace lathe {
namespace {

// Creates the cache directory, closed to others, and refuses one that others could have put engines into.
Status PrepareDir(const std::string& dir) {
  LATHE_RETURN_IF_ERROR(MakeDirs(std::filesystem::path(dir).parent_path().string()));
  if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
    return Error(StatusCode::kIo, "cannot create the cache directory '%s': %s", dir.c_str(),
                 std::strerror(errno));
  struct stat st {};
  if (::stat(dir.c_str(), &st) != 0)
    return Error(StatusCode::kIo, "cannot use the cache directory '%s': %s", dir.c_str(),
                 std::strerror(errno));
  if (!S_ISDIR(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Error(StatusCode::kInvalidArgument,
                 "the cache '%s' must be a directory of yours that others cannot write (chmod 700 it, or set "
                 "XDG_CACHE_HOME); build an engine of your own with 'lathe build'",
                 dir.c_str());
  return Status::Ok();
}

// Holds a lock file for as long as it lives. The file stays: removing it would let two holders exist.
class FileLock {
 public:
  static Expected<FileLock> Acquire(const std::string& path, const BuildOptions& options) {
    FileLock lock(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (lock.fd_ < 0)
      return Error(StatusCode::kIo, "cannot create lock file '%s': %s", path.c_str(), std::strerror(errno));
    int result = ::flock(lock.fd_, LOCK_EX | LOCK_NB);
    if (result != 0 && errno == EWOULDBLOCK) {
      if (options.progress) options.progress({"waiting for another build", 0, 0});
      do result = ::flock(lock.fd_, LOCK_EX);
      while (result != 0 && errno == EINTR);
    }
    if (result != 0)
      return Error(StatusCode::kIo, "cannot lock '%s': %s", path.c_str(), std::strerror(errno));
    return lock;
  }
  FileLock(FileLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

// The name says what it should be; the file must agree, and be whole.
bool Fits(const std::string& path, const std::string& target) {
  if (!FileExists(path)) return false;
  const auto reader = EngineReader::Open(path);
  return reader.ok() && reader->identity().builder == kVersionString && reader->identity().target == target;
}

std::string SafeName(const std::string& name) {
  std::string out;
  for (char c : name.substr(0, 64))
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '_' || c == '.' ? c : '_';
  return out.starts_with('.') ? "_" + out : out;
}

// What tuned tactics belong to: the GPU, or the processor and the threads they were measured with.
std::string MachineOf(const BuildTarget& target, const BuildOptions& options) {
  if (target.on_cuda()) return target.device ? target.device->name : "";
  const int threads = options.threads > 0 ? options.threads : ReadTopology().usable_cpus();
  return GetCpuInfo().model + StrFormat(" %d", threads);
}

Expected<std::string> PathFor(const std::string& dir, const BuildOptions& options,
                              const BuildTarget& target) {
  LATHE_ASSIGN_OR_RETURN(const std::string cache, CacheDir());
  LATHE_ASSIGN_OR_RETURN(const std::string model_hash, ModelHash(dir));
  DType type = options.dtype.value_or(DType::kBf16);
  NumericClass numeric = NumericClass::kBf16Tensor;
  if (target.on_cuda()) {
    // What is not said is the checkpoint's; 'auto' and its own type are one engine.
    LATHE_ASSIGN_OR_RETURN(const WeightSource source, WeightSource::Open(dir));
    numeric = CudaClass(options.dtype, source.spec().checkpoint_dtype);
    if (type != DType::kF8E4M3) type = WeightType(numeric);
  }
  const std::string dtype(ToString(type));
  Hasher hasher;
  const auto add = [&](const std::string& text) { hasher.Update(text + '\n'); };
  add(model_hash);
  add(dtype + " " + target.Chip() + StrFormat(" tp%d pp%d", options.tp, options.pp));
  add(options.numeric ? std::string(ToString(*options.numeric)) : "");
  if (target.on_cuda())
    add(StrFormat("%s %d %s %s", std::string(ToString(numeric)).c_str(), static_cast<int>(options.fp8_scales),
                  options.kv_dtype ? std::string(ToString(*options.kv_dtype)).c_str() : "",
                  ToString(options.fp8_keep).c_str()));
  add(options.tune ? MachineOf(target, options) : "untuned");
  for (const std::string& pass : options.disabled_passes) add(pass);
  add(StrFormat("%s format %u", kVersionString, kEngineFormatVersion));
  return StrFormat("%s/%s-%s-%s-%s.lathe", cache.c_str(), SafeName(ModelNameOf(dir)).c_str(), dtype.c_str(),
                   target.Chip().c_str(), hasher.Hex().substr(0, 16).c_str());
}

// The cached engine of a directory for one target, built if it is not there.
Expected<std::string> ResolveFor(const std::string& dir, const BuildOptions& options,
                                 const BuildTarget& target, BuildReport* report) {
  LATHE_ASSIGN_OR_RETURN(const std::string engine, PathFor(dir, options, target));
  LATHE_RETURN_IF_ERROR(PrepareDir(std::filesystem::path(engine).parent_path().string()));
  if (Fits(engine, target.Name())) return engine;
  LATHE_ASSIGN_OR_RETURN(const FileLock lock, FileLock::Acquire(engine + ".lock", options));
  if (Fits(engine, target.Name())) return engine;  // the process that held the lock built it
  BuildOptions build = options;
  build.output = engine;
  build.target = target.Name();
  if (target.device) build.cuda.device = target.device->ordinal;
  // Engines of one GPU have shapes in common; measuring them is most of a build.
  if (target.on_cuda() && build.timing_cache.empty())
    build.timing_cache = std::filesystem::path(engine).parent_path().string() + "/timings.json";
  LATHE_ASSIGN_OR_RETURN(BuildReport built, BuildEngine(dir, build));
  if (report != nullptr) *report = std::move(built);
  return engine;
}

}  // namespace

Expected<std::string> CacheDir() {
  // A relative XDG_CACHE_HOME is to be ignored (XDG base directory specification).
  const char* xdg = std::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return std::string(xdg) + "/lathe";
  const char* home = std::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/lathe";
  return Status(
      StatusCode::kInvalidArgument,
      "there is no place for the engine cache: set XDG_CACHE_HOME or HOME, or build an engine with 'lathe "
      "build DIR -o FILE.lathe' and run that");
}

Expected<std::string> CachedEnginePath(const std::string& dir, const BuildOptions& options) {
  LATHE_ASSIGN_OR_RETURN(const BuildTarget target, ParseTarget(options.target, options.cuda));
  return PathFor(dir, options, target);
}

Expected<std::string> ResolveEngine(const std::string& path, const BuildOptions& options,
                                    BuildReport* report) {
  if (FileExists(path)) return path;
  if (!DirExists(path))
    return Error(StatusCode::kNotFound, "'%s' is neither an engine file nor a model directory", path.c_str());
  LATHE_ASSIGN_OR_RETURN(const BuildTarget target, ParseTarget(options.target, options.cuda));
  auto engine = ResolveFor(path, options, target, report);
  if (engine.ok() || options.target != "auto" || !target.on_cuda()) return engine;
  // A GPU without a compiler, or a model that no kernel is written for: slower is better than not at all.
  const StatusCode code = engine.status().code();
  const bool no_compiler = !options.cuda.LoadNvrtc().ok();
  if (code != StatusCode::kUnsupported && !no_compiler) return engine;
  LATHE_ASSIGN_OR_RETURN(const BuildTarget cpu, ParseTarget("cpu"));
  auto slower = ResolveFor(path, options, cpu, report);
  if (!slower.ok()) return engine;
  if (report != nullptr)
    report->warnings.push_back(StrFormat("running on the CPU, not on %s: %s", target.device->name.c_str(),
                                         engine.status().message().c_str()));
  return slower;
}

}  // namespace lathe
