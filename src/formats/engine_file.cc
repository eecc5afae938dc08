#include "formats/engine_file.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <type_traits>

#include "lathe/version.h"

namespace lathe {
namespace {

constexpr char kMagic[8] = {'L', 'A', 'T', 'H', 'E', 'E', 'N', 'G'};
constexpr uint64_t kMaxManifest = uint64_t{64} << 20;

// The first bytes of the file; the rest of the 4 KiB is zero. Little endian.
struct Header {
  char magic[8];
  uint32_t format_version;
  uint32_t header_bytes;
  char builder[32];
  uint64_t manifest_offset;
  uint64_t manifest_size;
  uint64_t manifest_checksum;
  uint64_t file_size;
  uint64_t header_checksum;  // of all bytes before this field
};
static_assert(std::is_trivially_copyable_v<Header> && sizeof(Header) == 88);
static_assert(std::endian::native == std::endian::little, "the engine file is little endian");

uint64_t HeaderChecksum(const Header& header) {
  return Hash64(std::as_bytes(std::span(&header, 1)).first(offsetof(Header, header_checksum)));
}

bool IsWeights(std::string_view blob_name) { return blob_name.starts_with("weights"); }

}  // namespace

Json ToJson(const EngineIdentity& id) {
  return {{"builder", id.builder},
          {"target", id.target},
          {"machine", id.machine},
          {"model", id.model_name},
          {"model_hash", id.model_hash},
          {"dtype", id.dtype},
          {"numeric", id.numeric},
          {"tp", id.tp},
          {"pp", id.pp}};
}

Expected<EngineIdentity> EngineIdentityFromJson(const Json& json, std::string_view where) {
  EngineIdentity id;
  for (const auto& [key, field] : {std::pair{"builder", &id.builder},
                                   {"target", &id.target},
                                   {"machine", &id.machine},
                                   {"model", &id.model_name},
                                   {"model_hash", &id.model_hash},
                                   {"dtype", &id.dtype},
                                   {"numeric", &id.numeric}}) {
    LATHE_ASSIGN_OR_RETURN(*field, JsonString(json, key, where));
  }
  for (const auto& [key, field] : {std::pair{"tp", &id.tp}, {"pp", &id.pp}}) {
    LATHE_ASSIGN_OR_RETURN(const int64_t value, JsonInt(json, key, where));
    if (value < 1 || value > 1024)
      return Error(StatusCode::kCorrupt, "%.*s: '%s' must be 1..1024, found %lld",
                   static_cast<int>(where.size()), where.data(), key, static_cast<long long>(value));
    *field = static_cast<int>(value);
  }
  return id;
}

std::string RankBlobName(std::string_view kind, int tp_rank, int pp_rank) {
  return StrFormat("%.*s.tp%d.pp%d", static_cast<int>(kind.size()), kind.data(), tp_rank, pp_rank);
}

Expected<EngineWriter> EngineWriter::Create(const std::string& path) {
  LATHE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(path));
  LATHE_RETURN_IF_ERROR(file.Append(std::string(kBlobAlignment, '\0')));
  return EngineWriter(std::move(file), path);
}

EngineWriter::EngineWriter(AtomicFile file, std::string path)
    : file_(std::move(file)), path_(std::move(path)) {}

Status EngineWriter::BeginBlob(std::string name) {
  if (open_) return {StatusCode::kInternal, "a blob is still open"};
  for (const BlobInfo& blob : blobs_)
    if (blob.name == name) return Error(StatusCode::kInternal, "blob '%s' is written twice", name.c_str());
  LATHE_RETURN_IF_ERROR(file_.AlignTo(kBlobAlignment));
  blobs_.push_back({std::move(name), file_.offset(), 0, 0});
  hasher_ = std::make_unique<Hasher>();
  open_ = true;
  return Status::Ok();
}

Status EngineWriter::Append(std::span<const std::byte> bytes) {
  if (!open_) return {StatusCode::kInternal, "no blob is open"};
  LATHE_RETURN_IF_ERROR(file_.Append(bytes));
  hasher_->Update(bytes);
  blobs_.back().size += bytes.size();
  return Status::Ok();
}

Status EngineWriter::AlignBlob(uint64_t alignment) {
  const std::string zeros((alignment - blob_offset() % alignment) % alignment, '\0');
  return Append(std::as_bytes(std::span(zeros)));
}

uint64_t EngineWriter::blob_offset() const { return blobs_.back().size; }

Status EngineWriter::EndBlob() {
  if (!open_) return {StatusCode::kInternal, "no blob is open"};
  blobs_.back().checksum = hasher_->Digest64();
  open_ = false;
  return Status::Ok();
}

Status EngineWriter::AddBlob(std::string name, std::string_view content) {
  LATHE_RETURN_IF_ERROR(BeginBlob(std::move(name)));
  LATHE_RETURN_IF_ERROR(Append(std::as_bytes(std::span(content))));
  return EndBlob();
}

Status EngineWriter::Finish(const EngineIdentity& identity, const Json& model, const Json& build_info) {
  if (open_) return {StatusCode::kInternal, "a blob is still open"};
  Json table = Json::array();
  for (const BlobInfo& blob : blobs_)
    table.push_back({{"name", blob.name},
                     {"offset", blob.offset},
                     {"size", blob.size},
                     {"xxh3", StrFormat("%016llx", static_cast<unsigned long long>(blob.checksum))}});
  const std::string manifest = DumpJson(
      {{"identity", ToJson(identity)}, {"model", model}, {"build", build_info}, {"blobs", table}}, 1);
  LATHE_RETURN_IF_ERROR(file_.AlignTo(kBlobAlignment));
  Header header{};
  std::memcpy(header.magic, kMagic, sizeof kMagic);
  header.format_version = kEngineFormatVersion;
  header.header_bytes = sizeof(Header);
  std::strncpy(header.builder, kVersionString, sizeof header.builder - 1);
  header.manifest_offset = file_.offset();
  header.manifest_size = manifest.size();
  header.manifest_checksum = Hash64(std::as_bytes(std::span(manifest)));
  header.file_size = header.manifest_offset + manifest.size();
  header.header_checksum = HeaderChecksum(header);
  LATHE_RETURN_IF_ERROR(file_.Append(manifest));
  LATHE_RETURN_IF_ERROR(file_.WriteAt(0, std::as_bytes(std::span(&header, 1))));
  LATHE_RETURN_IF_ERROR(file_.Commit());
  LATHE_ASSIGN_OR_RETURN(const EngineReader reader, EngineReader::Open(path_));
  return reader.VerifyWeights();
}

Expected<EngineReader> EngineReader::Open(const std::string& path) {
  EngineReader reader;
  LATHE_ASSIGN_OR_RETURN(reader.file_, MappedFile::Open(path));
  const Status status = reader.ReadHeaderAndManifest();
  if (!status.ok()) return status.WithContext(StrFormat("engine '%s'", path.c_str()));
  return reader;
}

Status EngineReader::ReadHeaderAndManifest() {
  Header header;
  if (file_.size() < kBlobAlignment)
    return Error(StatusCode::kCorrupt,
                 "%zu bytes are too few for an engine file; build it again with 'lathe build'", file_.size());
  std::memcpy(&header, file_.data(), sizeof header);
  if (std::memcmp(header.magic, kMagic, sizeof kMagic) != 0)
    return {StatusCode::kCorrupt, "not an engine file (wrong magic); 'lathe build DIR -o FILE' makes one"};
  if (header.format_version != kEngineFormatVersion)
    return Error(
        StatusCode::kMismatch,
        "engine format %u, written by lathe %.31s; this is lathe %s, which reads format %u; build it again "
        "with 'lathe build'",
        header.format_version, header.builder, kVersionString, kEngineFormatVersion);
  if (header.header_bytes != sizeof(Header) || HeaderChecksum(header) != header.header_checksum)
    return {StatusCode::kCorrupt,
            "the header's checksum does not match; the file is damaged, build it again"};
  if (header.file_size != file_.size())
    return Error(StatusCode::kCorrupt, "truncated: %llu bytes expected, %zu found; copy or build it again",
                 static_cast<unsigned long long>(header.file_size), file_.size());
  if (header.manifest_size > kMaxManifest || header.manifest_offset > file_.size() ||
      header.manifest_size != file_.size() - header.manifest_offset)
    return {StatusCode::kCorrupt, "the manifest does not lie within the file"};
  const auto manifest = file_.bytes().subspan(header.manifest_offset, header.manifest_size);
  if (Hash64(manifest) != header.manifest_checksum)
    return {StatusCode::kCorrupt,
            "the manifest's checksum does not match; the file is damaged, build it again"};
  return ReadManifest({reinterpret_cast<const char*>(manifest.data()), manifest.size()});
}

Status EngineReader::ReadManifest(std::string_view text) {
  LATHE_ASSIGN_OR_RETURN(Json manifest, ParseJson(text, "manifest"));
  for (const char* key : {"identity", "model", "build", "blobs"})
    if (!manifest.is_object() || !manifest.contains(key))
      return Error(StatusCode::kCorrupt, "manifest: '%s' is missing", key);
  LATHE_ASSIGN_OR_RETURN(identity_, EngineIdentityFromJson(manifest["identity"], "manifest"));
  model_ = std::move(manifest["model"]);
  build_info_ = std::move(manifest["build"]);
  uint64_t end = kBlobAlignment;
  for (const Json& entry : manifest["blobs"]) {
    BlobInfo blob;
    LATHE_ASSIGN_OR_RETURN(blob.name, JsonString(entry, "name", "manifest"));
    LATHE_ASSIGN_OR_RETURN(const int64_t offset, JsonInt(entry, "offset", "manifest"));
    LATHE_ASSIGN_OR_RETURN(const int64_t size, JsonInt(entry, "size", "manifest"));
    LATHE_ASSIGN_OR_RETURN(const std::string checksum, JsonString(entry, "xxh3", "manifest"));
    blob.offset = static_cast<uint64_t>(offset);
    blob.size = static_cast<uint64_t>(size);
    blob.checksum = std::strtoull(checksum.c_str(), nullptr, 16);
    // Ascending and aligned, so blobs can neither overlap nor leave the file.
    if (offset < 0 || size < 0 || blob.offset % kBlobAlignment != 0 || blob.offset < end ||
        blob.offset > file_.size() || blob.size > file_.size() - blob.offset)
      return Error(StatusCode::kCorrupt, "manifest: blob '%s' does not lie within the file",
                   blob.name.c_str());
    end = blob.offset + blob.size;
    if (HasBlob(blob.name))
      return Error(StatusCode::kCorrupt, "manifest: two blobs named '%s'", blob.name.c_str());
    if (!IsWeights(blob.name)) LATHE_RETURN_IF_ERROR(CheckBlob(blob));
    blobs_.push_back(std::move(blob));
  }
  return Status::Ok();
}

Status EngineReader::CheckBlob(const BlobInfo& blob, const std::atomic<bool>* stop) const {
  constexpr uint64_t kSlice = uint64_t{16} << 20;
  Hasher hasher;
  for (uint64_t at = 0; at < blob.size; at += kSlice) {
    if (stop != nullptr && stop->load(std::memory_order_relaxed)) return Status::Ok();
    const uint64_t size = std::min(kSlice, blob.size - at);
    hasher.Update(file_.bytes().subspan(blob.offset + at, size));
    if (stop == nullptr && IsWeights(blob.name)) file_.DropPages(blob.offset + at, size);
  }
  if (hasher.Digest64() == blob.checksum) return Status::Ok();
  return Error(StatusCode::kCorrupt,
               "the checksum of blob '%s' does not match; the file is damaged, build it again",
               blob.name.c_str());
}

bool EngineReader::HasBlob(std::string_view name) const {
  return std::any_of(blobs_.begin(), blobs_.end(), [&](const BlobInfo& blob) { return blob.name == name; });
}

Expected<std::span<const std::byte>> EngineReader::Blob(std::string_view name) const {
  for (const BlobInfo& blob : blobs_)
    if (blob.name == name) return file_.bytes().subspan(blob.offset, blob.size);
  return Error(StatusCode::kCorrupt, "engine '%s' has no blob '%.*s'", path().c_str(),
               static_cast<int>(name.size()), name.data());
}

Expected<std::string_view> EngineReader::TextBlob(std::string_view name) const {
  LATHE_ASSIGN_OR_RETURN(const std::span<const std::byte> bytes, Blob(name));
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

Status EngineReader::VerifyWeights(const std::atomic<bool>* stop) const {
  for (const BlobInfo& blob : blobs_)
    if (IsWeights(blob.name)) {
      const Status status = CheckBlob(blob, stop);
      if (!status.ok()) return status.WithContext(StrFormat("engine '%s'", path().c_str()));
    }
  return Status::Ok();
}

}  // namespace lathe
