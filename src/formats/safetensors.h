// safetensors: 8 bytes of header length (little-endian), a JSON header, then the tensors' bytes without gaps.
//
// The header comes from strangers. It is read by a streaming parser that refuses anything outside the format
// at the place it stands, so that a hostile header costs no more memory than its own size, and every offset
// is checked against the file before a view is handed out. Format: https://huggingface.co/docs/safetensors
// (facts only).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/status.h"
#include "tensor/dtype.h"
#include "tensor/shape.h"

namespace lathe {

// Largest header accepted, as in the reference implementation.
inline constexpr uint64_t kMaxSafetensorsHeader = 100'000'000;

// "BF16", "F32", ...: the format's own names of element types.
std::string_view SafetensorsDTypeName(DType type);

// One entry of a header; begin and end count from the first byte of the file.
struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0;
  uint64_t end = 0;
};

// Reads and checks the header of a whole file's bytes. `where` names the file in messages. The entries come
// sorted by offset. Errors: kCorrupt for anything that contradicts the format or the file's size,
// kUnsupported for an element type or rank lathe does not know.
Expected<std::vector<SafetensorsEntry>> ParseSafetensors(std::span<const std::byte> file,
                                                         std::string_view where);

// A tensor in a mapped file. Valid while the SafetensorsFile (or Checkpoint) it came from lives.
struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  std::span<const std::byte> bytes;  // shape in row-major order, not necessarily aligned
  const MappedFile* file = nullptr;
  uint64_t offset = 0;  // of bytes in the file

  // "'NAME' (bf16 [8192, 384] at byte 1234 of FILE)", for messages.
  std::string Describe() const;
  // Lets the kernel forget the pages of this tensor, or of [begin, begin + size) of its bytes.
  void DropPages() const { DropPages(0, bytes.size()); }
  void DropPages(uint64_t begin, uint64_t size) const;
};

// One mapped safetensors file. Immutable after Open: may be read from any thread.
class SafetensorsFile {
 public:
  static Expected<SafetensorsFile> Open(const std::string& path);

  const std::string& path() const { return file_.path(); }
  const MappedFile& file() const { return file_; }
  const std::vector<SafetensorsEntry>& entries() const { return entries_; }
  // The view points at this object's mapping: the object must not move while views are used.
  TensorView View(const SafetensorsEntry& entry) const;

 private:
  MappedFile file_;
  std::vector<SafetensorsEntry> entries_;
};

}  // namespace lathe
