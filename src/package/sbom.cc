#include "package/sbom.h"

#include <set>

#include "base/sha.h"
#include "lathe/version.h"

namespace lathe::package {
namespace {

constexpr char kUnknown[] = "NOASSERTION";
constexpr char kImageId[] = "SPDXRef-image";
constexpr char kLatheId[] = "SPDXRef-lathe";
constexpr char kNvidiaLicense[] = "LicenseRef-NVIDIA-CUDA-Toolkit";

// SPDX ids have letters, digits, dots and dashes only.
std::string Id(const std::string& name) {
  std::string id = "SPDXRef-";
  for (const char c : name) {
    const bool good =
        (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-';
    id += good ? c : '-';
  }
  return id;
}

std::string OrUnknown(const std::string& text) { return text.empty() ? kUnknown : text; }

Json Package(const std::string& id, const Component& component, const char* purpose) {
  Json package = {{"SPDXID", id},
                  {"name", component.name},
                  {"downloadLocation", kUnknown},
                  {"filesAnalyzed", false},
                  {"licenseConcluded", OrUnknown(component.license)},
                  {"licenseDeclared", OrUnknown(component.license)},
                  {"copyrightText", kUnknown},
                  {"primaryPackagePurpose", purpose}};
  if (!component.version.empty()) package["versionInfo"] = component.version;
  if (!component.file.empty()) package["packageFileName"] = component.file;
  if (!component.sha256.empty()) {
    package["checksums"] = Json::array({{{"algorithm", "SHA256"}, {"checksumValue", component.sha256}}});
  }
  if (!component.purl.empty()) {
    package["externalRefs"] = Json::array({{{"referenceCategory", "PACKAGE-MANAGER"},
                                            {"referenceType", "purl"},
                                            {"referenceLocator", component.purl}}});
  }
  return package;
}

Json Relationship(const std::string& from, const char* type, const std::string& to) {
  return {{"spdxElementId", from}, {"relationshipType", type}, {"relatedSpdxElement", to}};
}

// How a component hangs together with lathe, and what its checksum is of.
struct Kind {
  const char* relation;
  const char* purpose;
  const char* comment;
};

Kind KindOf(ComponentKind kind) {
  switch (kind) {
    case ComponentKind::kStatic:
      return {"STATIC_LINK", "LIBRARY", "linked into lathe; the checksum is the archive's"};
    case ComponentKind::kHeaders:
      return {"DEPENDS_ON", "LIBRARY",
              "compiled into lathe from headers; the checksum is that of one of them"};
    case ComponentKind::kShared: return {"DYNAMIC_LINK", "LIBRARY", nullptr};
    case ComponentKind::kData: return {"DEPENDS_ON", "FILE", nullptr};
  }
  return {"OTHER", "OTHER", nullptr};
}

}  // namespace

Json BuildSbom(const SbomInput& input) {
  Json packages = Json::array(), relationships = Json::array();
  Component image{.name = input.image_name, .version = kVersionString};
  packages.push_back(Package(kImageId, image, "CONTAINER"));
  relationships.push_back(Relationship("SPDXRef-DOCUMENT", "DESCRIBES", kImageId));
  Component lathe{.name = "lathe", .version = kVersionString, .license = "Apache-2.0"};
  lathe.file = "/usr/bin/lathe";
  lathe.sha256 = input.lathe_sha256;
  packages.push_back(Package(kLatheId, lathe, "APPLICATION"));
  relationships.push_back(Relationship(kImageId, "CONTAINS", kLatheId));
  std::set<std::string> ids;
  bool nvidia = false;
  for (const Component& component : input.components) {
    std::string id = Id(component.name);
    while (!ids.insert(id).second) id += "-x";
    const Kind kind = KindOf(component.kind);
    Json package = Package(id, component, kind.purpose);
    if (kind.comment != nullptr && !component.sha256.empty()) package["comment"] = kind.comment;
    packages.push_back(std::move(package));
    relationships.push_back(Relationship(kLatheId, kind.relation, id));
    if (component.kind == ComponentKind::kShared || component.kind == ComponentKind::kData)
      relationships.push_back(Relationship(kImageId, "CONTAINS", id));
    nvidia = nvidia || component.license == kNvidiaLicense;
  }
  Json document = {{"spdxVersion", "SPDX-2.3"},
                   {"dataLicense", "CC0-1.0"},
                   {"SPDXID", "SPDXRef-DOCUMENT"},
                   {"name", input.image_name},
                   {"documentNamespace", ""},
                   {"creationInfo",
                    {{"created", input.created},
                     {"creators", Json::array({std::string("Tool: lathe-") + kVersionString})}}},
                   {"packages", std::move(packages)},
                   {"relationships", std::move(relationships)}};
  if (nvidia) {
    document["hasExtractedLicensingInfos"] = Json::array(
        {{{"licenseId", kNvidiaLicense},
          {"name", "NVIDIA CUDA Toolkit End User License Agreement"},
          {"extractedText", "The terms are those of the CUDA Toolkit that the library came with."},
          {"seeAlsos", Json::array({"https://docs.nvidia.com/cuda/eula/index.html"})}}});
  }
  document["documentNamespace"] =
      "https://spdx.org/spdxdocs/lathe-image-" + Sha256Hex(DumpJson(document)).substr(0, 32);
  return document;
}

}  // namespace lathe::package
