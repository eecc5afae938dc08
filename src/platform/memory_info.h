// How much memory this process may still take.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace lathe {

// Bytes: the smaller of the machine's available memory and what is left of the cgroup's limit. Read anew on
// every call; 0 when nothing can be read.
uint64_t AvailableMemory();

// "MemAvailable:  123 kB" of /proc/meminfo, in bytes; nullopt when the line is missing or malformed.
std::optional<uint64_t> ParseMemAvailable(std::string_view meminfo);

}  // namespace lathe
