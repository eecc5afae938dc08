// Which of the layers' matrices stay bf16 in an engine whose weights are fp8.
#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "base/status.h"

namespace lathe {

// What is kept is read by matmuls as in a bf16 engine: weights and rows of bf16.
struct Fp8Keep {
  bool first = false, last = false;                            // all matmuls of that layer of the model
  bool qkv = false, o = false, gate_up = false, down = false;  // one kind of matmul, of every layer
  friend auto operator<=>(const Fp8Keep&, const Fp8Keep&) = default;
};

// "none", or some of first, last, qkv, o, gate_up, down, parted by commas. ParseFp8Keep(ToString(k)) is k.
// kInvalidArgument names what is none of these.
Expected<Fp8Keep> ParseFp8Keep(std::string_view text);
std::string ToString(const Fp8Keep& keep);

// Whether the matrix `weight` ("layers.3.gate") of layer `layer` of `n_layers` is kept.
bool Keeps(const Fp8Keep& keep, std::string_view weight, int layer, int n_layers);

}  // namespace lathe
