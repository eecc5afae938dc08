// The file of API keys: names, hashes and limits.
//
//   keys:
//     - name: alice
//       sha256: 64 hex digits (lathe keys new NAME prints them)
//       max_concurrent: 16         # of these, all optional
//       tokens_per_minute: 100000
//       priority_cap: 0
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "serve/http/keys.h"

namespace lathe::serve {

// Errors name file and line: syntax, unknown or missing fields, ranges, names or hashes that occur twice.
Expected<std::vector<KeyEntry>> ParseKeys(std::string_view text, const std::string& path);

// Also refuses a file that its group or others may write.
Expected<std::vector<KeyEntry>> ReadKeyFile(const std::string& path);

}  // namespace lathe::serve
