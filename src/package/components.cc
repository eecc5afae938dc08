#include "package/components.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string_view>

#include "base/file.h"
#include "base/json.h"
#include "package/embedded.h"

namespace lathe::package {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxDatabase = size_t{256} << 20;

// A package URL (purl) of a source package of Debian's and its derivatives'.
std::string DebianPurl(const std::string& distribution, const std::string& name, const std::string& version) {
  if (distribution.empty() || name.empty() || version.empty()) return "";
  std::string escaped;
  for (const char c : version) {
    if (c == ':') {
      escaped += "%3A";
    } else if (c == '+') {
      escaped += "%2B";
    } else {
      escaped += c;
    }
  }
  std::string plain;
  for (const char c : name) plain += c == '+' ? std::string("%2B") : std::string(1, c);
  return "pkg:deb/" + distribution + "/" + plain + "@" + escaped + "?arch=source";
}

// Of the machine at hand: "debian", "ubuntu"; empty: unknown.
std::string Distribution() {
  const auto text = ReadFile("/etc/os-release", 1 << 16);
  if (!text.ok()) return "";
  for (size_t begin = 0; begin < text->size();) {
    const size_t end = std::min(text->find('\n', begin), text->size());
    std::string line = text->substr(begin, end - begin);
    begin = end + 1;
    if (!line.starts_with("ID=")) continue;
    line.erase(std::remove(line.begin(), line.end(), '"'), line.end());
    return line.substr(3);
  }
  return "";
}

Expected<ComponentKind> ParseKind(const std::string& text) {
  if (text == "static") return ComponentKind::kStatic;
  if (text == "headers") return ComponentKind::kHeaders;
  if (text == "shared") return ComponentKind::kShared;
  return Error(StatusCode::kInternal, "this program's list of components has the kind '%s'", text.c_str());
}

// A path and what dpkg may know it by: before /usr was merged, libraries lay in /lib.
std::set<std::string> Names(const std::string& path) {
  std::set<std::string> names{path};
  std::error_code ec;
  const std::string real = fs::canonical(path, ec).string();
  if (!ec) names.insert(real);
  for (const std::string& name : std::set<std::string>(names)) {
    names.insert(name.starts_with("/usr/lib") ? name.substr(4) : "/usr" + name);
  }
  return names;
}

// Calls `line` for every line of `text` without its end.
template <typename Fn>
void ForLines(std::string_view text, const Fn& line) {
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    line(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

// package -> its stanza's version and source, for the packages wanted.
void ReadStatus(const std::string& database, std::map<std::string, DebianPackage>* packages) {
  const auto text = ReadFile(database + "/status", kMaxDatabase);
  if (!text.ok()) return;
  DebianPackage* current = nullptr;
  ForLines(*text, [&](std::string_view line) {
    if (line.starts_with("Package: ")) {
      const auto found = packages->find(std::string(line.substr(9)));
      current = found == packages->end() ? nullptr : &found->second;
    } else if (current != nullptr && line.starts_with("Version: ")) {
      current->version = line.substr(9);
    } else if (current != nullptr && line.starts_with("Source: ")) {
      current->source = line.substr(8, line.find(' ', 8) - 8);  // a version of its own may follow
    }
  });
}

bool NameBegins(const std::string& name, const std::string& beginnings) {
  for (size_t begin = 0; begin < beginnings.size();) {
    const size_t end = std::min(beginnings.find(' ', begin), beginnings.size());
    if (name.starts_with(std::string_view(beginnings).substr(begin, end - begin))) return true;
    begin = end + 1;
  }
  return false;
}

// "12.4.127" of libnvrtc.so.12.4.127, "1.0" of libx.so.1.0; of the real file, for the name that is loaded is
// short.
std::string VersionOfName(const std::string& path) {
  std::error_code ec;
  const fs::path real = fs::canonical(path, ec);
  const std::string name = ec ? fs::path(path).filename().string() : real.filename().string();
  const size_t at = name.find(".so.");
  return at == std::string::npos ? "" : name.substr(at + 4);
}

}  // namespace

Expected<std::vector<Component>> BuiltInComponents() {
  for (const EmbeddedFile& file : ComponentFiles()) {
    if (file.name != "components.json") continue;
    constexpr std::string_view kWhere = "this program's list of components";
    LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(file.bytes, kWhere));
    LATHE_ASSIGN_OR_RETURN(const std::string distribution, JsonString(json, "distribution", kWhere));
    std::vector<Component> components;
    for (const Json& entry : json["components"]) {
      Component component;
      LATHE_ASSIGN_OR_RETURN(component.name, JsonString(entry, "name", kWhere));
      LATHE_ASSIGN_OR_RETURN(component.version, JsonString(entry, "version", kWhere));
      LATHE_ASSIGN_OR_RETURN(component.license, JsonString(entry, "license", kWhere));
      LATHE_ASSIGN_OR_RETURN(component.file, JsonString(entry, "file", kWhere));
      LATHE_ASSIGN_OR_RETURN(component.sha256, JsonString(entry, "sha256", kWhere));
      LATHE_ASSIGN_OR_RETURN(const std::string kind, JsonString(entry, "kind", kWhere));
      LATHE_ASSIGN_OR_RETURN(component.kind, ParseKind(kind));
      LATHE_ASSIGN_OR_RETURN(const std::string source, JsonString(entry, "source", kWhere));
      component.purl = DebianPurl(distribution, source, component.version);
      components.push_back(std::move(component));
    }
    return components;
  }
  return Status(StatusCode::kInternal, "this program lacks its list of components");
}

std::map<std::string, DebianPackage> OwnersOf(const std::vector<std::string>& paths,
                                              const std::string& database) {
  std::map<std::string, std::string> wanted;  // a name dpkg may have -> the path asked for
  for (const std::string& path : paths) {
    for (const std::string& name : Names(path)) wanted.emplace(name, path);
  }
  std::map<std::string, std::string> owner;  // path -> package
  std::map<std::string, DebianPackage> packages;
  std::error_code ec;
  for (fs::directory_iterator it(database + "/info", ec), end; !ec && it != end; it.increment(ec)) {
    if (it->path().extension() != ".list") continue;
    const auto text = ReadFile(it->path().string(), kMaxDatabase);
    if (!text.ok()) continue;
    std::string package = it->path().stem().string();  // "libc6:amd64"
    package = package.substr(0, package.find(':'));
    ForLines(*text, [&](std::string_view line) {
      const auto found = wanted.find(std::string(line));
      if (found == wanted.end()) return;
      owner.emplace(found->second, package);
      packages[package].name = package;
    });
  }
  ReadStatus(database, &packages);
  std::map<std::string, DebianPackage> out;
  for (const auto& [path, package] : owner) {
    DebianPackage& found = packages[package];
    if (found.source.empty()) found.source = found.name;
    out.emplace(path, found);
  }
  return out;
}

std::string PurlOf(const DebianPackage& package) {
  return DebianPurl(Distribution(), package.source, package.version);
}

Component DescribeLibrary(const std::string& host_path, const std::string& image_path,
                          const std::vector<Component>& built_in,
                          const std::map<std::string, DebianPackage>& owners) {
  Component out;
  out.kind = ComponentKind::kShared;
  out.file = image_path;
  const std::string name = fs::path(image_path).filename().string();
  out.name = name.substr(0, name.find(".so"));
  for (const Component& component : built_in) {
    if (component.kind != ComponentKind::kShared || !NameBegins(name, component.file)) continue;
    out.license = component.license;
    out.version = component.version;
    out.purl = component.purl;
  }
  if (name.starts_with("libnvrtc")) {
    out.license = "LicenseRef-NVIDIA-CUDA-Toolkit";
    out.version = VersionOfName(host_path);
  }
  if (const auto owner = owners.find(host_path); owner != owners.end()) {
    out.version = owner->second.version;
    out.purl = PurlOf(owner->second);
  }
  if (out.version.empty()) out.version = VersionOfName(host_path);
  return out;
}

}  // namespace lathe::package
