// Identity of a checkpoint directory, cheap enough to compute at every start.
#pragma once

#include <span>
#include <string>

#include "base/status.h"

namespace lathe {

// 32 hex digits (XXH3-128) over
//   * the content of every small file that decides what the model says: config.json, generation_config.json,
//     lathe_checkpoint.json, the tokenizer's files and chat templates (TextFiles below);
//   * for each *.safetensors in the directory, by name: the name, size, modification time in nanoseconds, and
//     the header's bytes (names, types, shapes, offsets of all tensors).
// The weights' bytes are not read: a file changed in place with size and mtime kept is not noticed, and a
// copy with fresh mtimes is another identity. A few milliseconds for 20 GB. Not cryptographic. Errors:
// kNotFound when the directory or its config is missing, kIo.
Expected<std::string> ModelHash(const std::string& dir);

// Names of the files beside the weights that a model needs in order to speak: tokenizer, templates,
// generation_config.json. Any of them may be absent.
std::span<const char* const> TextFiles();

}  // namespace lathe
