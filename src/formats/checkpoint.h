// A checkpoint directory: model.safetensors, or model.safetensors.index.json and its shards.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "formats/safetensors.h"

namespace lathe {

// Every tensor of a directory, by name. Immutable after Open: may be read from any thread. Views stay valid
// while the Checkpoint lives, also when it is moved.
class Checkpoint {
 public:
  // Errors: kNotFound for a missing directory or shard (named); kUnsupported for a directory that has only
  // pickled (.bin, .pt, .pth) or GGUF weights, with the command that converts; kCorrupt for an index and
  // shards that contradict each other or a shard name that leaves the directory.
  static Expected<Checkpoint> Open(const std::string& dir);
  // The given files alone, without an index (shards of a converted checkpoint).
  static Expected<Checkpoint> OpenFiles(const std::vector<std::string>& paths);

  const std::vector<TensorView>& tensors() const { return tensors_; }
  // nullptr when there is none of that name.
  const TensorView* Find(std::string_view name) const;
  const std::vector<std::unique_ptr<SafetensorsFile>>& files() const { return files_; }

 private:
  Status AddFile(const std::string& path);

  std::vector<std::unique_ptr<SafetensorsFile>> files_;
  std::vector<TensorView> tensors_;
  std::unordered_map<std::string, size_t> by_name_;
};

// Paths of the safetensors files of a directory that would be opened, in reading order, without opening them.
// Same errors as Checkpoint::Open for what the directory and index alone show.
Expected<std::vector<std::string>> CheckpointFiles(const std::string& dir);

}  // namespace lathe
