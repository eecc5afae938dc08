// What the build tests share: scratch folders and the small models of tests/golden as checkpoints.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "model/synth.h"

namespace lathe::testing_util {

// An empty directory of this name and process, made anew.
inline std::string ScratchDir(const std::string& name) {
  const std::string dir = ::testing::TempDir() + "/lathe_compiler_" + std::to_string(::getpid()) + "_" + name;
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

// One random model of every family and feature.
inline const std::vector<std::string>& GoldenModels() {
  static const std::vector<std::string> names = {
      "llama2_mha",   "llama3_tied", "llama_biases", "llama_dynamic", "llama_yarn", "mistral_window",
      "mistral_full", "qwen2",       "qwen2_window", "qwen3",         "qwen3_mixed"};
  return names;
}

// The checkpoint of tests/golden/NAME.json with some config keys changed, written once a program.
inline std::string GoldenCheckpoint(const std::string& name, const Json& changes = Json::object()) {
  static std::map<std::string, std::string> written;
  std::string& dir = written[name + DumpJson(changes)];
  if (!dir.empty()) return dir;
  const auto golden = ReadJsonFile(std::string(LATHE_SOURCE_DIR) + "/tests/golden/" + name + ".json");
  EXPECT_TRUE(golden.ok()) << golden.status().message();
  Json config = (*golden)["config"];
  config.update(changes);
  const std::string scratch = ScratchDir("model_" + std::to_string(written.size()));
  const std::string path = scratch + "/config.json";
  EXPECT_TRUE(WriteFileAtomic(path, DumpJson(config)).ok());
  dir = scratch + "/" + name;
  const Status status =
      WriteSyntheticCheckpoint(path, dir, {.seed = 11, .random_vectors = true, .progress = {}});
  EXPECT_TRUE(status.ok()) << status.message();
  return dir;
}

// Names in a directory, sorted.
inline std::vector<std::string> Listing(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace lathe::testing_util
