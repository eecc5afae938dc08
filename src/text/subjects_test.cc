// The tokenizers that the tests of this folder run over.
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <map>

#include "text/loaders.h"
#include "text/test_data.h"

namespace lathe::text {
namespace {

using Loader = std::function<std::optional<Expected<Tokenizer>>()>;

Loader FromDir(const std::string& dir, const std::string& needs) {
  return [=]() -> std::optional<Expected<Tokenizer>> {
    if (!FileExists(dir + "/" + needs)) return std::nullopt;
    return Tokenizer::LoadDir(dir);
  };
}

Loader FromModel(const std::string& path, const TokenizerConfig& config = {}) {
  return [=]() -> std::optional<Expected<Tokenizer>> {
    if (!FileExists(path)) return std::nullopt;
    return Tokenizer::FromSentencePiece(ReadOrDie(path), path, config);
  };
}

}  // namespace

const Tokenizer* Load(const Subject& subject) {
  static std::map<std::string, std::optional<Tokenizer>> loaded;
  const auto known = loaded.find(subject.name);
  if (known != loaded.end()) return known->second ? &*known->second : nullptr;
  std::optional<Tokenizer>& slot = loaded[subject.name];
  std::optional<Expected<Tokenizer>> result = subject.load();
  if (!result) {
    std::cout << subject.name << ": its files are not here, nothing tested\n";
    return nullptr;
  }
  EXPECT_TRUE(result->ok()) << subject.name << ": " << result->status().message();
  if (result->ok()) slot.emplace(std::move(*result).value());
  return slot ? &*slot : nullptr;
}

const std::vector<Subject>& RealSubjects() {
  static const std::vector<Subject> subjects = [] {
    const std::string shared = SharedDir() + "/tokenizers";
    const std::string tales = std::string(LATHE_SOURCE_DIR) + "/models/tales-16m";
    return std::vector<Subject>{
        {"tales", "tales", FromDir(tales, "tokenizer.json")},
        {"gpt2", "gpt2", FromDir(DataDir() + "/gpt2", "vocab.json")},
        {"mistral_v3", "mistral_v3",
         FromDir(DataDir() + "/mistral", "mistral_instruct_tokenizer_240323.model.v3")},
        {"mistral_v1", "mistral_v1", FromModel(shared + "/mistral/tokenizer.model.v1")},
        {"mistral_v2", "mistral_v3",
         FromModel(shared + "/mistral/mistral_instruct_tokenizer_240216.model.v2")},
        {"mistral_v7", "mistral_v3",
         FromModel(shared + "/mistral/mistral_instruct_tokenizer_241114.model.v7")},
        {"llama2", "llama2", FromModel(shared + "/llama2/tokenizer.model")},
        {"llama2_json", "llama2_json", FromDir(shared + "/llama2", "tokenizer.json")},
        {"llama3", "llama3", FromDir(shared + "/llama3", "tokenizer.model")},
        {"qwen2", "qwen2", FromDir(shared + "/qwen2", "vocab.json")},
    };
  }();
  return subjects;
}

const std::vector<Subject>& SyntheticSubjects() {
  static const std::vector<Subject> subjects = [] {
    std::vector<Subject> out;
    for (const auto& entry : std::filesystem::directory_iterator(DataDir() + "/synthetic")) {
      const std::string path = entry.path().string();
      const std::string name = entry.path().stem().string();
      if (path.ends_with(".model")) {
        out.push_back({name, "synthetic/" + name, FromModel(path)});
      } else if (path.ends_with(".json")) {
        out.push_back({name, "synthetic/" + name, [path]() -> std::optional<Expected<Tokenizer>> {
                         return Tokenizer::FromJson(ReadOrDie(path), path);
                       }});
      }
    }
    std::sort(out.begin(), out.end(), [](const Subject& a, const Subject& b) { return a.name < b.name; });
    return out;
  }();
  return subjects;
}

std::vector<Subject> AllSubjects() {
  std::vector<Subject> all = RealSubjects();
  all.insert(all.end(), SyntheticSubjects().begin(), SyntheticSubjects().end());
  return all;
}

std::string RandomText(Rng* rng, size_t max_pieces) {
  static constexpr std::string_view kPieces[] = {" ",  "  ",  "\n",   "\r\n",       "the", "story", "Ab",
                                                 "12", "'ll", "...",  "é",          "中",  "😀",     "▁",
                                                 "Ġ",  "<s>", "</s>", "<|eot_id|>", "\t",  "-"};
  std::string out;
  const size_t n = rng->Below(max_pieces + 1);
  for (size_t i = 0; i < n; ++i) {
    const uint64_t kind = rng->Below(10);
    if (kind < 6) {
      out += kPieces[rng->Below(std::size(kPieces))];
    } else if (kind < 8) {
      out += static_cast<char>('a' + rng->Below(26));
    } else {
      AppendUtf8(static_cast<char32_t>(rng->Below(kind == 8 ? 0x3000 : 0x110000)), &out);
    }
  }
  return out;
}

std::string RandomBytes(Rng* rng, size_t max_bytes) {
  std::string out;
  const size_t n = rng->Below(max_bytes + 1);
  for (size_t i = 0; i < n; ++i) out += static_cast<char>(rng->Below(256));
  return out;
}

}  // namespace lathe::text
