#include "platform/cuda/library.h"

#include <dlfcn.h>
#include <sys/stat.h>

#include <cstdlib>
#include <utility>

namespace lathe::cuda {
namespace {

bool IsDirectory(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode);
}

// Every path to try, in order.
std::vector<std::string> Candidates(const std::vector<std::string>& names, const char* env) {
  std::vector<std::string> paths;
  const char* set = env != nullptr ? std::getenv(env) : nullptr;
  if (set != nullptr && *set != '\0') {
    if (!IsDirectory(set)) return {set};
    for (const std::string& name : names) paths.push_back(std::string(set) + "/" + name);
    return paths;
  }
  for (const std::string& name : names) paths.push_back(name);
  for (const char* folder : {"/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/opt/cuda/lib64"}) {
    for (const std::string& name : names) paths.push_back(std::string(folder) + "/" + name);
  }
  return paths;
}

}  // namespace

Expected<Library> Library::Open(const std::vector<std::string>& names, const char* env) {
  std::string fault;
  for (const std::string& path : Candidates(names, env)) {
    void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) return Library(handle, path);
    const char* error = dlerror();
    // The first fault that is more than an absent file is the one that helps.
    const std::string text = error != nullptr ? error : "unknown fault";
    if (fault.empty() && text.find("No such file") == std::string::npos) fault = text;
  }
  const char* set = env != nullptr ? std::getenv(env) : nullptr;
  const std::string where =
      set != nullptr && *set != '\0' ? StrFormat("at %s=%s", env, set) : "on this machine";
  return Error(StatusCode::kNotFound, "found no %s %s%s%s%s", names.front().c_str(), where.c_str(),
               fault.empty() ? "" : " (", fault.c_str(), fault.empty() ? "" : ")");
}

void* Library::Find(const char* symbol) const { return dlsym(handle_, symbol); }

Status Library::Bind(const char* symbol, void** out) const {
  *out = Find(symbol);
  if (*out != nullptr) return Status::Ok();
  return Error(StatusCode::kUnsupported, "%s has no function %s: it is older than what lathe needs (CUDA 12)",
               path_.c_str(), symbol);
}

}  // namespace lathe::cuda
