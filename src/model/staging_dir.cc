#include "model/staging_dir.h"

#include <unistd.h>

#include <filesystem>
#include <utility>

#include "base/file.h"

namespace lathe {

namespace fs = std::filesystem;

Expected<StagingDir> StagingDir::Create(const std::string& wanted) {
  std::string path = wanted;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  std::error_code ec;
  if (fs::exists(path, ec) && !(fs::is_directory(path, ec) && fs::is_empty(path, ec)))
    return Error(StatusCode::kInvalidArgument,
                 "'%s' exists and is not an empty directory; remove it or choose another "
                 "output with -o",
                 path.c_str());
  std::string temp = StrFormat("%s.tmp-%d", path.c_str(), static_cast<int>(::getpid()));
  fs::remove_all(temp, ec);
  LATHE_RETURN_IF_ERROR(MakeDirs(temp));
  return StagingDir(std::move(path), std::move(temp));
}

StagingDir::StagingDir(StagingDir&& other) noexcept
    : path_(std::move(other.path_)), temp_(std::exchange(other.temp_, "")) {}

StagingDir::~StagingDir() {
  std::error_code ec;
  if (!temp_.empty()) fs::remove_all(temp_, ec);
}

Status StagingDir::Commit() {
  std::error_code ec;
  fs::rename(temp_, path_, ec);
  if (ec)
    return Error(StatusCode::kIo, "cannot move '%s' to '%s': %s", temp_.c_str(), path_.c_str(),
                 ec.message().c_str());
  temp_.clear();
  return Status::Ok();
}

}  // namespace lathe
