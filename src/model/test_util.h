// What the tests of this folder share: small configs, scratch directories, the golden files.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "model/spec.h"
#include "model/synth.h"

namespace lathe::testing_util {

// An empty directory of this name, made anew.
inline std::string ScratchDir(const std::string& name) {
  const std::string dir = ::testing::TempDir() + "/lathe_model_" + name;
  std::filesystem::remove_all(dir);
  std::filesystem::create_directories(dir);
  return dir;
}

inline std::string GoldenDir() { return std::string(LATHE_SOURCE_DIR) + "/tests/golden"; }

// Names of the random models in tests/golden.
inline const std::vector<std::string>& GoldenModels() {
  static const std::vector<std::string> names = {
      "llama2_mha",   "llama3_tied",    "llama_biases", "llama_linear", "llama_dynamic",
      "llama_yarn",   "mistral_window", "mistral_full", "qwen2",        "qwen2_yarn",
      "qwen2_window", "qwen3",          "qwen3_mixed"};
  return names;
}

inline Json Golden(const std::string& name) {
  auto json = ReadJsonFile(GoldenDir() + "/" + name + ".json");
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? *json : Json();
}

// A small Llama config with everything that must be given; edited by the tests.
inline Json SmallConfig() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"model_type", "llama"},
          {"hidden_size", 48},
          {"intermediate_size", 80},
          {"num_hidden_layers", 3},
          {"num_attention_heads", 6},
          {"num_key_value_heads", 3},
          {"vocab_size", 301},
          {"max_position_embeddings", 128},
          {"torch_dtype", "bfloat16"}};
}

// A synthetic checkpoint of `config` in the new directory `dir`.
inline void Synthesize(const Json& config, const std::string& dir, uint64_t seed = 7) {
  const std::string path = dir + ".config.json";
  ASSERT_TRUE(WriteFileAtomic(path, DumpJson(config)).ok());
  std::filesystem::remove_all(dir);
  const Status status =
      WriteSyntheticCheckpoint(path, dir, {.seed = seed, .random_vectors = true, .progress = {}});
  ASSERT_TRUE(status.ok()) << status.message();
}

}  // namespace lathe::testing_util
