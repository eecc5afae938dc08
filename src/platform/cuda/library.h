// A shared library opened at run time, and the names to look for it under.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"

namespace lathe::cuda {

// Stays open for the life of the process: CUDA's libraries do not like to be closed. Thread-safe.
class Library {
 public:
  // Opens the first of `names` that loads. Where the variable `env` is set, it is the only thing tried: a
  // file, or a folder that holds one of the names. Otherwise the loader's own path and CUDA's usual folders
  // are searched. kNotFound says what was tried.
  static Expected<Library> Open(const std::vector<std::string>& names, const char* env);

  // Address of `symbol`, or null.
  void* Find(const char* symbol) const;
  // The same, kUnsupported when it is absent.
  Status Bind(const char* symbol, void** out) const;
  const std::string& path() const { return path_; }

 private:
  Library(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}
  void* handle_;
  std::string path_;
};

}  // namespace lathe::cuda
