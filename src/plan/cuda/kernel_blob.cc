#include "plan/cuda/kernel_blob.h"

#include <algorithm>

#include "base/json.h"

namespace lathe::cuda {
namespace {

constexpr uint64_t kAlignment = 64;

uint64_t AlignUp(uint64_t value) { return (value + kAlignment - 1) / kAlignment * kAlignment; }

// Offsets count from the end of the header line, so that the header's length does not depend on itself.
Json HeaderOf(const std::vector<CompiledKernel>& kernels, const std::string& target, int driver) {
  Json header = {{"target", target}, {"driver", driver}, {"kernels", Json::array()}};
  uint64_t offset = 0;
  for (const CompiledKernel& kernel : kernels) {
    header["kernels"].push_back({{"entry", kernel.source.entry},
                                 {"offset", offset},
                                 {"size", kernel.cubin.size()},
                                 {"registers", kernel.resources.registers},
                                 {"stack_bytes", kernel.resources.stack_bytes},
                                 {"spill_bytes", kernel.resources.spill_bytes},
                                 {"static_shared", kernel.resources.static_shared}});
    offset = AlignUp(offset + kernel.cubin.size());
  }
  return header;
}

Expected<KernelBlob::Entry> EntryOf(const Json& json, std::span<const std::byte> cubins,
                                    const std::string& where) {
  KernelBlob::Entry entry;
  LATHE_ASSIGN_OR_RETURN(entry.entry, JsonString(json, "entry", where));
  LATHE_ASSIGN_OR_RETURN(const int64_t offset, JsonInt(json, "offset", where));
  LATHE_ASSIGN_OR_RETURN(const int64_t size, JsonInt(json, "size", where));
  if (offset < 0 || size < 1 || static_cast<uint64_t>(offset) > cubins.size() ||
      static_cast<uint64_t>(size) > cubins.size() - static_cast<uint64_t>(offset))
    return Error(StatusCode::kCorrupt, "%s: the kernel '%s' lies outside of the blob", where.c_str(),
                 entry.entry.c_str());
  entry.cubin = cubins.subspan(static_cast<size_t>(offset), static_cast<size_t>(size));
  entry.resources.entry = entry.entry;
  for (const auto& [key, out] : {std::pair{"registers", &entry.resources.registers},
                                 {"stack_bytes", &entry.resources.stack_bytes},
                                 {"spill_bytes", &entry.resources.spill_bytes},
                                 {"static_shared", &entry.resources.static_shared}}) {
    LATHE_ASSIGN_OR_RETURN(const int64_t value, JsonInt(json, key, where));
    if (value < 0 || value > (1 << 24))
      return Error(StatusCode::kCorrupt, "%s: '%s' of the kernel '%s' is out of range", where.c_str(), key,
                   entry.entry.c_str());
    *out = static_cast<int>(value);
  }
  return entry;
}

}  // namespace

std::string PackKernels(const std::vector<CompiledKernel>& kernels, const std::string& target, int driver) {
  std::string out = DumpJson(HeaderOf(kernels, target, driver));
  // The cubins start at a multiple of the alignment: blanks at the end of the header's line.
  out.append(AlignUp(out.size() + 1) - out.size() - 1, ' ');
  out += '\n';
  for (const CompiledKernel& kernel : kernels) {
    out += kernel.cubin;
    out.resize(AlignUp(out.size()), '\0');
  }
  return out;
}

Expected<KernelBlob> KernelBlob::Parse(std::span<const std::byte> bytes, std::string_view where) {
  auto blob = Read(bytes, std::string(where) + ": kernels");
  // JSON of a file of ours that is not as we write it, too.
  if (!blob.ok()) return Status(StatusCode::kCorrupt, blob.status().message());
  return blob;
}

Expected<KernelBlob> KernelBlob::Read(std::span<const std::byte> bytes, const std::string& place) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const size_t end = text.find('\n');
  if (end == std::string_view::npos)
    return Error(StatusCode::kCorrupt, "%s: the list of kernels has no end", place.c_str());
  LATHE_ASSIGN_OR_RETURN(const Json header, ParseJson(text.substr(0, end), place));
  if (!header.is_object() || !header.contains("kernels") || !header["kernels"].is_array())
    return Error(StatusCode::kCorrupt, "%s: 'kernels' must be an array", place.c_str());
  KernelBlob blob;
  LATHE_ASSIGN_OR_RETURN(blob.target_, JsonString(header, "target", place));
  LATHE_ASSIGN_OR_RETURN(const int64_t driver, JsonInt(header, "driver", place));
  if (driver < 0 || driver > 1'000'000)
    return Error(StatusCode::kCorrupt, "%s: 'driver' is out of range", place.c_str());
  blob.driver_ = static_cast<int>(driver);
  for (const Json& json : header["kernels"]) {
    LATHE_ASSIGN_OR_RETURN(Entry entry, EntryOf(json, bytes.subspan(end + 1), place));
    blob.entries_.push_back(std::move(entry));
  }
  return blob;
}

const KernelBlob::Entry* KernelBlob::Find(std::string_view entry) const {
  const auto it = std::ranges::find_if(entries_, [&](const Entry& e) { return e.entry == entry; });
  return it == entries_.end() ? nullptr : &*it;
}

}  // namespace lathe::cuda
