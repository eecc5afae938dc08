// Measurements that outlive a build: a JSON file of results by machine (with threads and instruction set, or
// chip and driver), lathe version, numeric class and shape. Data only: names of kernels are looked up in this
// binary, and a file that somebody else can write is refused.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "compiler/passes/pass.h"
#include "kernels/api/kernel.h"
#include "plan/plan.h"

namespace lathe {

// What measurements are valid for.
struct TimingScope {
  std::string machine;  // CpuInfo::model, or the GPU's name
  int threads = 0;      // of a CPU
  std::string lathe;    // version
  Isa isa = Isa::kPortable;
  std::string chip = {};  // of a GPU: "sm_90a, driver 13.0"; empty: a CPU
  // Whether this binary has the tactic's kernels; absent: IsUsableTactic of isa.
  std::function<bool(const GemmTactic&, NumericClass)> usable = {};
};

// Not thread-safe.
class TimingCache {
 public:
  explicit TimingCache(TimingScope scope) : scope_(std::move(scope)) {}

  // Reads `path`; a missing file is an empty cache. `warning` is set when it has entries, but none for this
  // scope. Errors: kInvalidArgument for a file that is not ours alone to write (owner, group and world
  // permissions); kCorrupt for anything that is not such a file.
  Status Load(const std::string& path, std::string* warning);
  // Merges with what `path` holds by now and replaces it atomically.
  Status Save(const std::string& path) const;

  // Whole tactics of a shape, or an empty one; an entry that names kernels this binary lacks is no hit.
  GemmTactic Find(NumericClass numeric, const GemmDims& dims) const;
  void Put(NumericClass numeric, const GemmTactic& tactic);
  // The bf16 class chosen for a model's shapes; false when unknown.
  bool FindClass(const std::vector<GemmDims>& shapes, NumericClass* numeric) const;
  void PutClass(const std::vector<GemmDims>& shapes, NumericClass numeric);

 private:
  std::string Prefix() const;
  std::string Key(NumericClass numeric, const GemmDims& dims) const;
  std::string ClassKey(const std::vector<GemmDims>& shapes) const;

  TimingScope scope_;
  std::map<std::string, Json> entries_;
};

}  // namespace lathe
