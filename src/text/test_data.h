// What the tests of this folder read: golden files and the tokenizers they belong to.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdlib>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace lathe::text {

inline std::string DataDir() { return std::string(LATHE_SOURCE_DIR) + "/tests/data/tokenizers"; }

// Where files lie that may not be copied into the repository. May be absent.
inline std::string SharedDir() {
  const char* env = std::getenv("LATHE_SHARED");
  return env != nullptr ? env : std::string(LATHE_SOURCE_DIR) + "/../shared";
}

inline std::string ReadOrDie(const std::string& path) {
  Expected<std::string> content = ReadFile(path);
  EXPECT_TRUE(content.ok()) << content.status().message();
  return content.ok() ? *content : std::string();
}

// The texts that the golden ids belong to.
inline const std::vector<std::string>& GoldenStrings() {
  static const std::vector<std::string> strings = [] {
    std::vector<std::string> out;
    const Expected<Json> json = ReadJsonFile(DataDir() + "/strings.json");
    EXPECT_TRUE(json.ok()) << json.status().message();
    for (const Json& item : *json) out.push_back(item.get<std::string>());
    return out;
  }();
  return strings;
}

struct GoldenLine {
  std::string text;
  std::vector<int32_t> ids;
  std::string decoded;
};

inline std::vector<int32_t> ParseIds(std::string_view text) {
  std::vector<int32_t> ids;
  for (size_t pos = 0; pos < text.size();) {
    const size_t end = std::min(text.find_first_of(" ,", pos), text.size());
    if (end > pos) ids.push_back(std::atoi(std::string(text.substr(pos, end - pos)).c_str()));
    pos = end + 1;
  }
  return ids;
}

inline std::vector<std::string> Lines(const std::string& content) {
  std::vector<std::string> lines;
  for (size_t pos = 0; pos < content.size();) {
    const size_t end = std::min(content.find('\n', pos), content.size());
    lines.push_back(content.substr(pos, end - pos));
    pos = end + 1;
  }
  return lines;
}

// A golden of tests/golden/tokenizer_golden.py: "index ids decoded", or for decodes "ids decoded".
inline std::vector<GoldenLine> ReadGolden(const std::string& name, bool has_index = true) {
  std::vector<GoldenLine> out;
  for (const std::string& line : Lines(ReadOrDie(DataDir() + "/" + name + ".golden"))) {
    GoldenLine golden;
    size_t pos = 0;
    if (has_index) {
      pos = line.find('\t') + 1;
      golden.text = GoldenStrings()[static_cast<size_t>(std::atoi(line.c_str()))];
    }
    const size_t tab = line.find('\t', pos);
    golden.ids = ParseIds(std::string_view(line).substr(pos, tab - pos));
    const std::string decoded = line.substr(tab + 1);
    golden.decoded = decoded.empty() ? golden.text : Json::parse(decoded).get<std::string>();
    out.push_back(std::move(golden));
  }
  EXPECT_FALSE(out.empty()) << name;
  return out;
}

// A tokenizer with goldens. `load` gives nullopt where its files are absent.
struct Subject {
  std::string name;
  std::string golden;  // of its text goldens; empty: none
  std::function<std::optional<Expected<Tokenizer>>()> load;
};

// A subject's tokenizer, loaded once; nullptr (and a line on stdout) where its files are absent.
const Tokenizer* Load(const Subject& subject);

// Every tokenizer: the real ones, and the synthetic ones of tests/data/tokenizers/synthetic.
const std::vector<Subject>& RealSubjects();
const std::vector<Subject>& SyntheticSubjects();
std::vector<Subject> AllSubjects();

// Random text: mostly words, all kinds of code points; or any bytes.
std::string RandomText(Rng* rng, size_t max_pieces);
std::string RandomBytes(Rng* rng, size_t max_bytes);

inline std::string SubjectName(const testing::TestParamInfo<Subject>& info) { return info.param.name; }
inline void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.name; }

}  // namespace lathe::text
