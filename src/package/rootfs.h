// The file system of an image before it is written: paths, modes and where the bytes come from. The same tree
// becomes a layer (a tar archive) or a folder (the context of a Dockerfile).
#pragma once

#include <functional>
#include <map>
#include <string>

#include "package/tar.h"

namespace lathe::package {

// Bytes that are read when they are wanted.
struct Source {
  uint64_t size = 0;
  std::function<Status(const Sink&)> read;  // exactly `size` bytes
};

Source TextSource(std::string text);
// A file as long as it is now; kIo when it is another length when it is read.
Expected<Source> FileSource(const std::string& path);

class Rootfs {
 public:
  // Paths are absolute. Folders above are made with mode 0755; what was there before is replaced.
  void AddFolder(const std::string& path, uint32_t mode = 0755);
  void AddFile(const std::string& path, Source source, uint32_t mode = 0644);
  void AddText(const std::string& path, std::string text) { AddFile(path, TextSource(std::move(text))); }

  bool Has(const std::string& path) const { return nodes_.contains(path); }
  uint64_t file_bytes() const;

  // Entries ascending by path, so that folders come before what is in them. `wrote` (may be empty) is told of
  // every piece.
  Status WriteTar(TarWriter* tar, const std::function<void(uint64_t bytes)>& wrote) const;
  // Below `folder`, which must exist; every file is flushed to the disk, and has mode and `mtime`.
  Status WriteFolder(const std::string& folder, uint64_t mtime,
                     const std::function<void(uint64_t bytes)>& wrote) const;

 private:
  struct Node {
    bool folder = false;
    uint32_t mode = 0;
    Source source;
  };
  void AddParents(const std::string& path);
  std::map<std::string, Node> nodes_;
};

// Sets mode and time of a file or folder. kIo with the path.
Status SetModeAndTime(const std::string& path, uint32_t mode, uint64_t mtime);

}  // namespace lathe::package
