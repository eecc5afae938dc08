// One way to a model's weights for the compiler, whether they lie in a Hugging Face directory or in a
// checkpoint written by `lathe convert`.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "model/shard.h"
#include "model/spec.h"
#include "model/tensors.h"

namespace lathe {

// The manifest that makes a directory a converted checkpoint, and its version.
inline constexpr char kConvertedManifest[] = "lathe_checkpoint.json";
inline constexpr int kConvertedVersion = 1;

// "DIR/rank3.safetensors"
std::string RankFile(const std::string& dir, int rank);

// A weight, or the part of it that one rank holds: `cut` is a region of `view`.
struct WeightSlice {
  TensorView view;
  Cut cut;
};

// Immutable after Open: may be used from any thread. Views stay valid while it lives, also when it is moved.
class WeightSource {
 public:
  // A directory with lathe_checkpoint.json is read as converted, any other as Hugging Face. Everything is
  // bound and checked here (BindTensors); no weight bytes are read. Errors: those of ReadModelSpec,
  // Checkpoint::Open and BindTensors.
  static Expected<WeightSource> Open(const std::string& dir);

  // tied_embeddings is what the checkpoint turned out to be (see BindTensors), checkpoint_dtype the type most
  // of its bytes have.
  const ModelSpec& spec() const { return spec_; }
  const std::string& dir() const { return dir_; }
  // How it is cut already: 1, 1 for a Hugging Face directory, which can be cut any way.
  int tp() const { return tp_; }
  int pp() const { return pp_; }
  // All weights of the model, whole shapes.
  std::vector<TensorDef> tensors() const { return TensorTable(spec_); }
  // ModelHash of the directory, or of the one it was converted from.
  const std::string& source_hash() const { return hash_; }

  // The whole weight. kNotFound when the model has none of that role; kInvalidArgument when tp() > 1.
  Expected<TensorView> Get(Role role, int layer) const;
  // The file's tensor that holds the part of tensor-parallel rank `tp_rank` of tp(); whole where it is not
  // cut.
  Expected<TensorView> GetPart(Role role, int layer, int tp_rank) const;
  // The part rank `rank` of `tp` holds, from either kind. A converted checkpoint with tp() > 1 serves its own
  // tp only (kMismatch with both numbers).
  Expected<WeightSlice> Slice(Role role, int layer, int tp, int rank) const;

 private:
  using Key = std::pair<Role, int>;
  Status OpenHuggingFace(const std::string& dir);
  Status OpenConverted(const std::string& dir);
  Status BindRank(const std::string& dir, int rank);

  std::string dir_, hash_;
  ModelSpec spec_;
  int tp_ = 1, pp_ = 1;
  std::vector<std::unique_ptr<Checkpoint>> checkpoints_;
  std::vector<std::map<Key, TensorView>> views_;  // for each tensor-parallel rank
  std::map<Key, TensorDef> defs_;
};

}  // namespace lathe
