// Random-weight checkpoints of any shape: for benchmarks, and for tests against references that regenerate
// the same weights from (config, seed).
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "base/bf16.h"
#include "base/status.h"

namespace lathe {

// (bytes done, bytes in all); called from the caller's thread, many times.
using ProgressCallback = std::function<void(uint64_t done, uint64_t total)>;

struct SynthOptions {
  uint64_t seed = 0;
  // False: norm weights are 1 and biases 0, as in an untrained model. True: norms are normal around 1 and
  // biases around 0, with kVectorStd, so that a test notices when one is left out or mixed up.
  bool random_vectors = false;
  ProgressCallback progress;
};

// Standard deviation of norms and biases with SynthOptions::random_vectors.
inline constexpr double kVectorStd = 0.1;

// Writes a Hugging Face checkpoint for the config file `config_path` to the new directory `out_dir`:
// config.json (copied), the weights (sharded above 5 GB), and a byte-level tokenizer that covers the whole
// vocabulary, so that `lathe run` works on it. Matrices are normal with the config's initializer_range (0.02
// when absent).
//
// Every value is representable in bf16, and is the same on every machine and in every dtype of the config:
// value k of tensor NAME is table[u16(k)], with u16 the 16-bit pieces, low first, of the words
// SplitMix64(s + j * 0x9e3779b97f4a7c15), s = SplitMix64(seed ^ FNV1a64(NAME)), and table[i] the normal
// quantile at (i + 0.5) / 65536, times the deviation, plus the mean, rounded to bf16.
// tests/golden/make_goldens.py has the same in numpy. Errors: those of ReadModelSpec; kIo; nothing is left
// behind.
Status WriteSyntheticCheckpoint(const std::string& config_path, const std::string& out_dir,
                                const SynthOptions& options);

// The values [first, first + out.size()) of one tensor; `first` is a multiple of 4, the table has 65536
// entries (NormalTable).
void SynthValues(uint64_t seed, std::string_view name, uint64_t first, std::span<const Bf16> table,
                 std::span<Bf16> out);

// Fills the 65536 entries of the table for a mean and a standard deviation.
void NormalTable(double mean, double std_dev, std::span<Bf16> table);

// tokenizer.json: byte-level BPE without merges; ids of `special` (pairs of id and text) are control tokens,
// the lowest other ids the 256 bytes, the rest made-up words that are never produced by encoding.
// kInvalidArgument when the vocabulary is too small for that.
Expected<std::string> SyntheticTokenizer(int vocab, std::span<const std::pair<int, std::string>> special);

}  // namespace lathe
