#include "model/model_hash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <vector>

#include "base/file.h"
#include "base/hash.h"
#include "formats/safetensors.h"
#include "model/weight_source.h"

namespace lathe {
namespace {

constexpr const char* kTextFiles[] = {"generation_config.json",
                                      "tokenizer.json",
                                      "tokenizer_config.json",
                                      "tokenizer.model",
                                      "vocab.json",
                                      "merges.txt",
                                      "added_tokens.json",
                                      "special_tokens_map.json",
                                      "chat_template.jinja",
                                      "chat_template.json",
                                      "qwen.tiktoken",
                                      "tokenizer.tiktoken"};

// Framed, so that moving bytes between neighbours changes the hash.
void Add(Hasher& hasher, const std::string& name, const std::string& content) {
  hasher.Update(name + "\n" + std::to_string(content.size()) + "\n");
  hasher.Update(content);
}

Status AddWeights(Hasher& hasher, const std::string& path) {
  struct Fd {
    int fd;
    ~Fd() {
      if (fd >= 0) ::close(fd);
    }
  } const file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  struct stat st {};
  if (file.fd < 0 || ::fstat(file.fd, &st) != 0)
    return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(errno));
  unsigned char length[8] = {};
  uint64_t header_size = 0;
  if (::pread(file.fd, length, sizeof length, 0) == sizeof length)
    for (size_t i = 0; i < 8; ++i) header_size |= static_cast<uint64_t>(length[i]) << (8 * i);
  // A damaged length is found when the file is opened for reading; here it only must not cost memory.
  header_size = std::min({header_size, kMaxSafetensorsHeader, static_cast<uint64_t>(st.st_size)});
  std::string header(header_size, '\0');
  const ssize_t n = ::pread(file.fd, header.data(), header.size(), 8);
  if (n < 0) return Error(StatusCode::kIo, "cannot read '%s': %s", path.c_str(), std::strerror(errno));
  header.resize(static_cast<size_t>(n));
  Add(hasher, std::filesystem::path(path).filename().string(),
      StrFormat("%lld %lld.%09ld", static_cast<long long>(st.st_size),
                static_cast<long long>(st.st_mtim.tv_sec), st.st_mtim.tv_nsec));
  Add(hasher, "header", header);
  return Status::Ok();
}

}  // namespace

std::span<const char* const> TextFiles() { return kTextFiles; }

Expected<std::string> ModelHash(const std::string& dir) {
  if (!DirExists(dir))
    return Error(StatusCode::kNotFound, "'%s' is no directory; a checkpoint directory was expected",
                 dir.c_str());
  Hasher hasher;
  bool has_config = false;
  std::vector<const char*> names = {"config.json", kConvertedManifest};
  names.insert(names.end(), std::begin(kTextFiles), std::end(kTextFiles));
  for (const char* name : names) {
    const std::string path = dir + "/" + name;
    if (!FileExists(path)) continue;
    LATHE_ASSIGN_OR_RETURN(const std::string content, ReadFile(path));
    Add(hasher, name, content);
    has_config |= name == names[0] || name == names[1];
  }
  if (!has_config) return Error(StatusCode::kNotFound, "'%s' has no config.json", dir.c_str());
  std::vector<std::string> weights;
  std::error_code ec;
  for (std::filesystem::directory_iterator it(dir, ec), end; !ec && it != end; it.increment(ec))
    if (it->path().extension() == ".safetensors") weights.push_back(it->path().string());
  if (ec) return Error(StatusCode::kIo, "cannot list '%s': %s", dir.c_str(), ec.message().c_str());
  std::sort(weights.begin(), weights.end());
  for (const std::string& path : weights) LATHE_RETURN_IF_ERROR(AddWeights(hasher, path));
  return hasher.Hex();
}

}  // namespace lathe
