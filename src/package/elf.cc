#include "package/elf.h"

#include <elf.h>

#include <cstring>

#include "base/file.h"

namespace lathe::package {
namespace {

constexpr size_t kMaxSegments = 1024;
constexpr size_t kMaxDynamic = 65536;
constexpr size_t kMaxString = 4096;

// Bounds-checked views of one file.
class Reader {
 public:
  Reader(std::span<const std::byte> bytes, std::string_view where) : bytes_(bytes), where_(where) {}

  Status Fault(const char* what) const {
    return Error(StatusCode::kCorrupt, "'%s' is no usable ELF file: %s", where_.c_str(), what);
  }
  Status Unsupported(const char* what) const {
    return Error(StatusCode::kUnsupported,
                 "'%s' %s; programs and libraries of 64-bit Linux on x86-64 or ARM64 can be packaged",
                 where_.c_str(), what);
  }

  template <typename T>
  Expected<T> At(uint64_t offset) const {
    if (offset > bytes_.size() || bytes_.size() - offset < sizeof(T)) return Fault("it is cut off");
    T value;
    std::memcpy(&value, bytes_.data() + offset, sizeof(T));
    return value;
  }

  // The text from `offset` up to a zero before `end`.
  Expected<std::string> Text(uint64_t offset, uint64_t end) const {
    if (end > bytes_.size() || offset >= end) return Fault("a name lies outside of it");
    const char* begin = reinterpret_cast<const char*>(bytes_.data()) + offset;
    const size_t limit = static_cast<size_t>(std::min<uint64_t>(end - offset, kMaxString));
    const size_t size = strnlen(begin, limit);
    if (size == limit) return Fault("a name has no end");
    return std::string(begin, size);
  }

 private:
  std::span<const std::byte> bytes_;
  std::string where_;
};

Expected<Elf64_Ehdr> ReadHeader(const Reader& file, ElfInfo* info) {
  LATHE_ASSIGN_OR_RETURN(const Elf64_Ehdr header, file.At<Elf64_Ehdr>(0));
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return file.Fault("it begins with other bytes");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    return file.Unsupported("is not 64-bit little-endian");
  if (header.e_type != ET_EXEC && header.e_type != ET_DYN)
    return file.Unsupported("is neither a program nor a shared library");
  if (header.e_machine == EM_X86_64) info->architecture = "amd64";
  if (header.e_machine == EM_AARCH64) info->architecture = "arm64";
  if (info->architecture.empty()) return file.Unsupported("is for another processor");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum > kMaxSegments)
    return file.Fault("its segment table has an odd size");
  return header;
}

// Where in the file a virtual address lies.
Expected<uint64_t> FileOffset(const Reader& file, const std::vector<Elf64_Phdr>& segments, uint64_t address) {
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const uint64_t into = address - segment.p_vaddr;
    if (into < segment.p_filesz && segment.p_offset <= UINT64_MAX - into) return segment.p_offset + into;
  }
  return file.Fault("its string table is in no segment");
}

Status ReadDynamic(const Reader& file, const std::vector<Elf64_Phdr>& segments, const Elf64_Phdr& dynamic,
                   ElfInfo* info) {
  const uint64_t count = dynamic.p_filesz / sizeof(Elf64_Dyn);
  if (count > kMaxDynamic || dynamic.p_offset > UINT64_MAX - dynamic.p_filesz)
    return file.Fault("its dynamic section has an odd size");
  std::vector<Elf64_Dyn> entries;
  uint64_t table = 0, table_size = 0;
  for (uint64_t i = 0; i < count; ++i) {
    LATHE_ASSIGN_OR_RETURN(const Elf64_Dyn entry,
                           file.At<Elf64_Dyn>(dynamic.p_offset + i * sizeof(Elf64_Dyn)));
    if (entry.d_tag == DT_NULL) break;
    if (entry.d_tag == DT_STRTAB) table = entry.d_un.d_ptr;
    if (entry.d_tag == DT_STRSZ) table_size = entry.d_un.d_val;
    entries.push_back(entry);
  }
  if (entries.empty()) return {};
  LATHE_ASSIGN_OR_RETURN(const uint64_t begin, FileOffset(file, segments, table));
  if (table_size > UINT64_MAX - begin) return file.Fault("its string table has an odd size");
  for (const Elf64_Dyn& entry : entries) {
    const bool text = entry.d_tag == DT_NEEDED || entry.d_tag == DT_SONAME || entry.d_tag == DT_RPATH ||
                      entry.d_tag == DT_RUNPATH;
    if (!text) continue;
    if (entry.d_un.d_val > UINT64_MAX - begin) return file.Fault("a name lies outside of it");
    LATHE_ASSIGN_OR_RETURN(const std::string value, file.Text(begin + entry.d_un.d_val, begin + table_size));
    if (entry.d_tag == DT_NEEDED) info->needed.push_back(value);
    if (entry.d_tag == DT_SONAME) info->soname = value;
    if (entry.d_tag == DT_RPATH) info->rpath = value;
    if (entry.d_tag == DT_RUNPATH) info->runpath = value;
  }
  return {};
}

}  // namespace

Expected<ElfInfo> ParseElf(std::span<const std::byte> bytes, std::string_view where) {
  const Reader file(bytes, where);
  ElfInfo info;
  LATHE_ASSIGN_OR_RETURN(const Elf64_Ehdr header, ReadHeader(file, &info));
  if (header.e_phoff > bytes.size()) return file.Fault("it is cut off");
  std::vector<Elf64_Phdr> segments;
  for (uint64_t i = 0; i < header.e_phnum; ++i) {
    LATHE_ASSIGN_OR_RETURN(const Elf64_Phdr segment,
                           file.At<Elf64_Phdr>(header.e_phoff + i * sizeof(Elf64_Phdr)));
    segments.push_back(segment);
  }
  for (const Elf64_Phdr& segment : segments) {
    if (segment.p_type == PT_INTERP) {
      if (segment.p_offset > UINT64_MAX - segment.p_filesz) return file.Fault("a name lies outside of it");
      LATHE_ASSIGN_OR_RETURN(info.interpreter,
                             file.Text(segment.p_offset, segment.p_offset + segment.p_filesz));
    }
    if (segment.p_type == PT_DYNAMIC) LATHE_RETURN_IF_ERROR(ReadDynamic(file, segments, segment, &info));
  }
  return info;
}

Expected<ElfInfo> ReadElf(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::Open(path));
  return ParseElf(file.bytes(), path);
}

}  // namespace lathe::package
