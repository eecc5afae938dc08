// Which tensors a model consists of, and their match with a checkpoint.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "formats/checkpoint.h"
#include "model/spec.h"

namespace lathe {

// Every tensor of the model with its name in a Hugging Face checkpoint, its whole shape and how it may be cut
// over tensor-parallel ranks. Biases of o and down are not cut: one rank alone must add them. Tied
// embeddings: no kLmHead.
std::vector<TensorDef> TensorTable(const ModelSpec& spec);

// lathe's own name of a weight: "embed", "layers.3.q".
std::string WeightName(Role role, int layer);

struct BoundTensor {
  TensorDef def;
  TensorView view;  // valid while the checkpoint lives
};

struct BoundTensors {
  std::vector<BoundTensor> tensors;  // in the order of TensorTable
  // False where config.json says tied but the checkpoint carries a different lm_head: then, as in
  // transformers, the two are not tied and kLmHead is among the tensors.
  bool tied_embeddings = false;
};

// Matches one to one. Errors: one kCorrupt (or kUnsupported, when only element types are at fault) message
// with every missing tensor, every unexpected one, and every one of another shape or type with its file and
// offset. Ignored by name: rotary_emb.inv_freq buffers of old checkpoints; lm_head.weight of a tied model
// when equal to the embedding (a tied checkpoint that carries lm_head only binds it as the embedding).
Expected<BoundTensors> BindTensors(const ModelSpec& spec, const Checkpoint& checkpoint);

// The general match: `expected` names and shapes against a checkpoint, bf16, f16 and f32 allowed. Views come
// in the order of `expected`. `ignorable` says which unexpected names are fine.
struct ExpectedTensor {
  std::string name;
  Shape shape;
};
Expected<std::vector<TensorView>> MatchTensors(const std::vector<ExpectedTensor>& expected,
                                               const Checkpoint& checkpoint,
                                               bool (*ignorable)(const std::string& name));

}  // namespace lathe
