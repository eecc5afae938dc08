// A directory that appears whole or not at all.
#pragma once

#include <string>

#include "base/status.h"

namespace lathe {

// Files are written below path(), a new directory beside the wanted one; Commit() puts it in its place. When
// that is not reached, the destructor removes it with all its files. Not thread-safe.
class StagingDir {
 public:
  // kInvalidArgument when `path` exists and is not an empty directory; with `replace` it may be a directory
  // with files in it, which stays as it is until Commit().
  static Expected<StagingDir> Create(const std::string& path, bool replace = false);
  StagingDir(StagingDir&& other) noexcept;
  StagingDir& operator=(StagingDir&&) = delete;
  ~StagingDir();

  const std::string& path() const { return temp_; }
  // Flushes the directories (files are the business of who wrote them) and renames. What is replaced is
  // exchanged with it in one step and then removed.
  Status Commit();

 private:
  StagingDir(std::string path, std::string temp) : path_(std::move(path)), temp_(std::move(temp)) {}
  std::string path_, temp_;  // temp_ is empty once there is nothing to remove
};

}  // namespace lathe
