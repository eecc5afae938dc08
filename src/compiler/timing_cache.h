// Measurements that outlive a build: a JSON file of results by machine, threads, lathe version, instruction
// set, numeric class and shape. Data only: names of kernels are looked up in this binary, and a file that
// somebody else can write is refused.
#pragma once

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
  std::string machine;  // CpuInfo::model
  int threads = 0;
  std::string lathe;  // version
  Isa isa = Isa::kPortable;
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
