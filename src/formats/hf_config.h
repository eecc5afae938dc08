// Reading the JSON files of a Hugging Face model directory without letting a key slip by.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "tensor/dtype.h"

namespace lathe {

// A JSON object of which every key has to be accounted for: read by one of the getters, or ignored by name.
// Finish() fails with the list of all others. Getters treat null as absent. Not thread-safe.
class ConfigReader {
 public:
  static constexpr size_t kMaxListItems = 4096;
  // `object` must outlive the reader. `where` is the file, `prefix` the path of the object in it ("" or
  // "rope_scaling."), for messages.
  ConfigReader(const Json& object, std::string where, std::string prefix = "");

  // Whether the key is there, null or not. Does not account for it.
  bool Has(const char* key) const { return object_.contains(key); }
  // Accounts for the key; nullptr when absent or null.
  const Json* Take(const char* key);

  Expected<int64_t> Int(const char* key);
  Expected<int64_t> IntOr(const char* key, int64_t fallback);
  Expected<double> Number(const char* key);
  Expected<double> NumberOr(const char* key, double fallback);
  Expected<bool> BoolOr(const char* key, bool fallback);
  Expected<std::string> StringOr(const char* key, std::string_view fallback);
  // An integer in [low, high], or the fallback, which need not be.
  Expected<int> SizeOr(const char* key, int fallback, int64_t low, int64_t high);
  Expected<int> Size(const char* key, int64_t low, int64_t high);
  // A list of at most kMaxListItems integers, or one integer as a list of one, or empty.
  Expected<std::vector<int64_t>> Ints(const char* key);
  Expected<std::vector<std::string>> Strings(const char* key);

  // Accounts for keys without a meaning for inference, whatever they hold.
  void Ignore(std::span<const char* const> keys);
  // Accounts for keys whose feature is off when null, false, 0, empty or absent; anything else is
  // kUnsupported, naming the key.
  Status IgnoreWhenOff(std::span<const char* const> keys);
  // Counts the unknown keys of a reader over a nested object as unknown here, so that one list names all.
  void Adopt(const ConfigReader& child);
  // All keys that nobody accounted for, with the prefix, in the order of the file.
  std::vector<std::string> Unknown() const;
  // ok, or kUnsupported with the list of Unknown().
  Status Finish() const;

  // A Status about `key` of this object.
  Status Bad(StatusCode code, const char* key, const std::string& what) const;
  const std::string& where() const { return where_; }
  const std::string& prefix() const { return prefix_; }

 private:
  const Json& object_;
  std::string where_, prefix_;
  std::set<std::string, std::less<>> used_;
  std::vector<std::string> adopted_;
};

// "bfloat16", "float16", "float32" (transformers' `dtype`, in older files `torch_dtype`); both are read and
// must agree. nullopt when neither is there. kUnsupported for any other type.
Expected<std::optional<DType>> ReadConfigDType(ConfigReader& config);

// Keys every transformers config may carry and no inference needs.
std::span<const char* const> CommonIgnoredKeys();
// Keys every transformers config may carry that switch on something lathe does not do.
std::span<const char* const> CommonMustBeOffKeys();

// The part of generation_config.json that lathe applies as defaults; -1 where not given. Unknown keys are
// ignored here: the file holds wishes for generate(), none of them changes what the model computes.
struct GenerationDefaults {
  std::vector<int64_t> eos_ids;
  int64_t bos_id = -1, pad_id = -1;
  double temperature = -1, top_p = -1, repetition_penalty = -1;
  int top_k = -1;
  bool do_sample = true;  // false only where the file says so: then greedy
};
// An absent file gives the defaults. Values out of range are kInvalidArgument.
Expected<GenerationDefaults> ReadGenerationConfig(const std::string& dir);
// The same from parsed JSON. `where` names the file in messages.
Expected<GenerationDefaults> ReadGenerationConfig(const Json& json, const std::string& where);

}  // namespace lathe
