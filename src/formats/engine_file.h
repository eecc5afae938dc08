// The engine file (.lathe): header, blobs, manifest. docs/engine-format.md describes the bytes.
//
//   0      4096-byte header: magic, format version, builder version, offset, size and checksum of the
//   manifest,
//          checksum of the header itself
//   4096   blobs, each at a multiple of 4096, each with an XXH3-64 checksum kept in the manifest
//   end    manifest (JSON): identity, blob table
//
// The manifest is last so that weights stream out as they are packed; the header is written last of all, then
// the file is renamed into place: a reader never sees half an engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"

namespace lathe {

inline constexpr uint64_t kBlobAlignment = 4096;

struct BlobInfo {
  std::string name;
  uint64_t offset = 0, size = 0;
  uint64_t checksum = 0;
};

// Who this engine is for. Compared field by field before anything else is read (requirement R9).
struct EngineIdentity {
  std::string builder;     // lathe version
  std::string target;      // "cpu:avx512", ...
  std::string machine;     // CPU or GPU model the tactics were measured on; "" when not tuned
  std::string model_name;  // of the checkpoint's directory
  std::string model_hash;  // of the checkpoint it was built from
  std::string dtype;       // "bf16", "f32"
  std::string numeric;     // "bf16-fma", ...
  int tp = 1, pp = 1;
};
Json ToJson(const EngineIdentity& identity);
Expected<EngineIdentity> EngineIdentityFromJson(const Json& json, std::string_view where);

// Writes one engine. Not thread-safe.
class EngineWriter {
 public:
  static Expected<EngineWriter> Create(const std::string& path);
  // Blobs are written one after another; names are unique.
  Status BeginBlob(std::string name);
  Status Append(std::span<const std::byte> bytes);
  Status AlignBlob(uint64_t alignment);  // zeros up to a multiple of `alignment` from the blob's start
  uint64_t blob_offset() const;          // bytes of the open blob so far
  Status EndBlob();
  Status AddBlob(std::string name, std::string_view content);
  // Writes manifest and header, flushes, renames, opens the result again and checks every checksum.
  // `model`: the ModelSpec; `build_info`: times, sizes, roofs.
  Status Finish(const EngineIdentity& identity, const Json& model, const Json& build_info);

 private:
  EngineWriter(AtomicFile file, std::string path);
  AtomicFile file_;
  std::string path_;
  std::vector<BlobInfo> blobs_;
  std::unique_ptr<Hasher> hasher_;
  bool open_ = false;
};

// A mapped engine file. Const members are thread-safe. Movable; views stay valid as long as it lives.
class EngineReader {
 public:
  // Maps the file and checks header, manifest and blob table, and the checksums of all blobs but weights
  // (VerifyWeights reads those on demand: a 16 GB engine must open in milliseconds).
  static Expected<EngineReader> Open(const std::string& path);

  const EngineIdentity& identity() const { return identity_; }
  const Json& model() const { return model_; }
  const Json& build_info() const { return build_info_; }
  const std::vector<BlobInfo>& blobs() const { return blobs_; }
  bool HasBlob(std::string_view name) const;
  Expected<std::span<const std::byte>> Blob(std::string_view name) const;
  Expected<std::string_view> TextBlob(std::string_view name) const;
  // Reads every weight once. Without `stop`, pages are let go as they are read: checking 16 GB needs no
  // memory. With it, they stay (somebody runs on them), and the check ends early, with Ok, when it becomes
  // true.
  Status VerifyWeights(const std::atomic<bool>* stop = nullptr) const;
  uint64_t file_bytes() const { return file_.size(); }
  const std::string& path() const { return file_.path(); }

 private:
  Status ReadHeaderAndManifest();
  Status ReadManifest(std::string_view text);
  Status CheckBlob(const BlobInfo& blob, const std::atomic<bool>* stop = nullptr) const;
  MappedFile file_;
  EngineIdentity identity_;
  Json model_, build_info_;
  std::vector<BlobInfo> blobs_;
};

// "weights.tp0.pp0": the name of a rank's blob of a kind ("weights", "plan").
std::string RankBlobName(std::string_view kind, int tp_rank, int pp_rank);

}  // namespace lathe
