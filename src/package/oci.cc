#include "package/oci.h"

#include <cstdio>
#include <cstring>
#include <filesystem>

#include "base/file.h"
#include "base/sha.h"
#include "package/gzip.h"

namespace lathe::package {
namespace {

constexpr char kManifestType[] = "application/vnd.oci.image.manifest.v1+json";
constexpr char kIndexType[] = "application/vnd.oci.image.index.v1+json";
constexpr char kConfigType[] = "application/vnd.oci.image.config.v1+json";
constexpr char kTarType[] = "application/vnd.oci.image.layer.v1.tar";
constexpr char kTarGzipType[] = "application/vnd.oci.image.layer.v1.tar+gzip";

struct Blob {
  std::string media_type;
  std::string digest;  // hex
  uint64_t size = 0;
};

Json Descriptor(const Blob& blob) {
  return {{"mediaType", blob.media_type}, {"digest", "sha256:" + blob.digest}, {"size", blob.size}};
}

enum class Compression { kNone, kGzip };

// The blobs of one layout. A blob has a passing name until all of it is there.
class Layout {
 public:
  explicit Layout(const std::string& folder) : folder_(folder), blobs_(folder + "/blobs/sha256") {}

  Status Begin() const { return MakeDirs(blobs_); }

  // A layer of `tree`; its note goes to `notes`.
  Expected<Blob> AddLayer(const Rootfs& tree, Compression compression, uint64_t mtime,
                          const std::string& comment, std::vector<LayerNote>* notes,
                          const std::function<void(uint64_t)>& wrote) const {
    const std::string passing = blobs_ + "/layer";
    LATHE_ASSIGN_OR_RETURN(AtomicFile file, AtomicFile::Create(passing));
    Sha stored, plain;
    const Sink store = [&](std::span<const std::byte> bytes) {
      stored.Update(bytes);
      return file.Append(bytes);
    };
    GzipWriter gzip(store);
    const bool compress = compression == Compression::kGzip;
    TarWriter tar(
        [&](std::span<const std::byte> bytes) {
          if (!compress) return store(bytes);
          plain.Update(bytes);
          return gzip.Append(bytes);
        },
        mtime);
    LATHE_RETURN_IF_ERROR(tree.WriteTar(&tar, wrote));
    if (compress) LATHE_RETURN_IF_ERROR(gzip.Finish());
    const Blob blob{compress ? kTarGzipType : kTarType, stored.Finish(), file.offset()};
    notes->push_back({compress ? plain.Finish() : blob.digest, comment});
    LATHE_RETURN_IF_ERROR(file.Commit());
    std::error_code ec;
    std::filesystem::rename(passing, blobs_ + "/" + blob.digest, ec);
    if (ec) return Error(StatusCode::kIo, "cannot rename '%s': %s", passing.c_str(), ec.message().c_str());
    return blob;
  }

  Expected<Blob> AddJson(const Json& json, const char* media_type) const {
    const std::string text = DumpJson(json);
    const Blob blob{media_type, Sha256Hex(text), text.size()};
    LATHE_RETURN_IF_ERROR(WriteFileAtomic(blobs_ + "/" + blob.digest, text));
    return blob;
  }

  Status AddFile(const std::string& name, const std::string& text) const {
    return WriteFileAtomic(folder_ + "/" + name, text);
  }

 private:
  std::string folder_, blobs_;
};

}  // namespace

Expected<OciResult> WriteOci(const std::string& folder, const Contents& contents,
                             const std::optional<EngineInside>& engine, const PackageOptions& options,
                             const std::function<void(uint64_t)>& wrote) {
  const Layout layout(folder);
  LATHE_RETURN_IF_ERROR(layout.Begin());
  std::vector<LayerNote> notes;
  std::vector<Blob> layers;
  OciResult result;
  LATHE_ASSIGN_OR_RETURN(const Blob runtime,
                         layout.AddLayer(contents.runtime, Compression::kGzip, options.epoch,
                                         "lathe and its libraries", &notes, wrote));
  layers.push_back(runtime);
  if (engine) {
    LATHE_ASSIGN_OR_RETURN(const Blob blob,
                           layout.AddLayer(contents.engine, Compression::kNone, options.epoch,
                                           "the engine " + engine->file_name, &notes, wrote));
    layers.push_back(blob);
    result.engine_bytes = blob.size;
  }
  const std::string sbom = SbomText(contents, engine);
  Rootfs documents;
  documents.AddText(kSbomPath, sbom);
  LATHE_ASSIGN_OR_RETURN(const Blob bill,
                         layout.AddLayer(documents, Compression::kGzip, options.epoch, "SBOM", &notes, {}));
  layers.push_back(bill);
  LATHE_ASSIGN_OR_RETURN(const Blob config, layout.AddJson(OciConfig(contents.config, notes), kConfigType));

  Json annotations = Json::object();
  for (const auto& [name, value] : contents.config.labels) annotations[name] = value;
  Json manifest = {{"schemaVersion", 2},
                   {"mediaType", kManifestType},
                   {"config", Descriptor(config)},
                   {"layers", Json::array()},
                   {"annotations", std::move(annotations)}};
  for (const Blob& layer : layers) manifest["layers"].push_back(Descriptor(layer));
  LATHE_ASSIGN_OR_RETURN(const Blob top, layout.AddJson(manifest, kManifestType));
  result.digest = "sha256:" + top.digest;
  result.runtime_bytes = runtime.size + bill.size + config.size + top.size;

  Json entry = Descriptor(top);
  entry["platform"] = {{"architecture", contents.config.architecture}, {"os", "linux"}};
  entry["annotations"] = {{"org.opencontainers.image.ref.name", options.tag}};
  const Json index = {
      {"schemaVersion", 2}, {"mediaType", kIndexType}, {"manifests", Json::array({std::move(entry)})}};
  LATHE_RETURN_IF_ERROR(layout.AddFile("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"));
  LATHE_RETURN_IF_ERROR(layout.AddFile("index.json", DumpJson(index)));
  LATHE_RETURN_IF_ERROR(layout.AddFile("sbom.spdx.json", sbom));
  return result;
}

}  // namespace lathe::package
