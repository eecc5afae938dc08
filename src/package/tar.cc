#include "package/tar.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace lathe::package {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameBytes = 100;
constexpr uint64_t kOctalLimit = uint64_t{1} << 33;  // eleven octal digits

// Offsets and lengths of a ustar header's fields.
struct Field {
  size_t offset, size;
};
constexpr Field kName{0, 100}, kMode{100, 8}, kUid{108, 8}, kGid{116, 8}, kSize{124, 12}, kMtime{136, 12},
    kChecksum{148, 8}, kType{156, 1}, kMagic{257, 8};

using Header = std::array<char, kBlock>;

void PutText(Header& header, Field field, std::string_view text) {
  LATHE_CHECK(text.size() <= field.size);
  std::memcpy(header.data() + field.offset, text.data(), text.size());
}

// Octal digits up to the field's last byte, which stays zero.
void PutOctal(Header& header, Field field, uint64_t value) {
  for (size_t i = field.size - 1; i-- > 0; value /= 8) {
    header[field.offset + i] = static_cast<char>('0' + value % 8);
  }
  LATHE_CHECK(value == 0);
}

// "LENGTH key=value\n", where LENGTH counts its own digits too.
std::string PaxRecord(std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;
  size_t length = rest;
  while (length != rest + std::to_string(length).size()) length = rest + std::to_string(length).size();
  std::string record = std::to_string(length) + " ";
  record.append(key).append("=").append(value).append("\n");
  return record;
}

std::span<const std::byte> Zeros(size_t n) {
  static constexpr std::array<std::byte, 2 * kBlock> kZeros{};
  return std::span(kZeros).first(n);
}

}  // namespace

bool IsSafePath(std::string_view path) {
  if (path.empty()) return false;
  for (const char c : path) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..") return false;
    begin = end + 1;
  }
  return true;
}

Status TarWriter::WriteHeader(const TarEntry& entry, char type, const std::string& name, uint64_t size) {
  Header header{};
  PutText(header, kName, std::string_view(name).substr(0, kNameBytes));
  PutOctal(header, kMode, entry.mode & 07777);
  PutOctal(header, kUid, 0);
  PutOctal(header, kGid, 0);
  PutOctal(header, kSize, size < kOctalLimit ? size : 0);
  PutOctal(header, kMtime, std::min(mtime_, kOctalLimit - 1));
  header[kType.offset] = type;
  PutText(header, kMagic, std::string_view("ustar\00000", 8));
  // The sum is taken with blanks in its own place, and ends in a zero and a blank.
  std::memset(header.data() + kChecksum.offset, ' ', kChecksum.size);
  uint64_t sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  PutOctal(header, {kChecksum.offset, kChecksum.size - 1}, sum);
  return sink_(std::as_bytes(std::span(header)));
}

Status TarWriter::Begin(const TarEntry& entry) {
  LATHE_RETURN_IF_ERROR(EndEntry());
  if (!IsSafePath(entry.path)) {
    return Error(StatusCode::kInvalidArgument, "'%.200s' cannot be the path of a file in an image",
                 entry.path.c_str());
  }
  const std::string name = entry.path + (entry.folder ? "/" : "");
  const uint64_t size = entry.folder ? 0 : entry.size;
  std::string records;
  if (name.size() > kNameBytes) records += PaxRecord("path", name);
  if (size >= kOctalLimit) records += PaxRecord("size", std::to_string(size));
  if (!records.empty()) {
    LATHE_RETURN_IF_ERROR(WriteHeader({.path = entry.path}, 'x', "PaxHeader", records.size()));
    size_ = records.size();
    LATHE_RETURN_IF_ERROR(Append(records));
    LATHE_RETURN_IF_ERROR(EndEntry());
  }
  LATHE_RETURN_IF_ERROR(WriteHeader(entry, entry.folder ? '5' : '0', name, size));
  size_ = size;
  return {};
}

Status TarWriter::Append(std::span<const std::byte> bytes) {
  LATHE_CHECK(bytes.size() <= size_ - written_);
  written_ += bytes.size();
  return sink_(bytes);
}

Status TarWriter::EndEntry() {
  LATHE_CHECK(written_ == size_);
  const size_t tail = static_cast<size_t>(size_ % kBlock);
  size_ = written_ = 0;
  return tail == 0 ? Status::Ok() : sink_(Zeros(kBlock - tail));
}

Status TarWriter::Finish() {
  LATHE_RETURN_IF_ERROR(EndEntry());
  return sink_(Zeros(2 * kBlock));
}

}  // namespace lathe::package
