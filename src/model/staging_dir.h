// A directory that appears whole or not at all.
#pragma once

#include <string>

#include "base/status.h"

namespace lathe {

// Files are written below path(), a new directory beside the wanted one; Commit() renames it into place. When
// that is not reached, the destructor removes it with all its files. Not thread-safe.
class StagingDir {
 public:
  // kInvalidArgument when `path` exists and is not an empty directory.
  static Expected<StagingDir> Create(const std::string& path);
  StagingDir(StagingDir&& other) noexcept;
  StagingDir& operator=(StagingDir&&) = delete;
  ~StagingDir();

  const std::string& path() const { return temp_; }
  Status Commit();

 private:
  StagingDir(std::string path, std::string temp) : path_(std::move(path)), temp_(std::move(temp)) {}
  std::string path_, temp_;  // temp_ is empty once there is nothing to remove
};

}  // namespace lathe
