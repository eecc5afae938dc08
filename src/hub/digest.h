// How a hub names content: large files by SHA-256, as git-lfs does, small ones by git's name of a blob.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/sha.h"
#include "base/status.h"

namespace lathe::hub {

enum class DigestKind { kSha256, kGitBlob };

// Ready for the bytes. `size`: of all that will come, which git puts in front of them.
Sha BeginDigest(DigestKind kind, uint64_t size);

std::string DigestOf(DigestKind kind, std::string_view bytes);
// Reads the whole file. Errors: kIo, kNotFound.
Expected<std::string> DigestOfFile(DigestKind kind, const std::string& path);

// RFC 4648, padded, on one line.
std::string Base64(std::string_view bytes);

}  // namespace lathe::hub
