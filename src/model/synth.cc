#include "model/synth.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>
#include <filesystem>
#include <future>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/staging_dir.h"
#include "formats/safetensors_writer.h"
#include "model/read_model.h"
#include "model/tensors.h"

namespace lathe {
namespace {

constexpr size_t kTableSize = 65536;
constexpr uint64_t kMaxShardBytes = 5'000'000'000;
constexpr size_t kSynthChunk = size_t{1} << 20;  // values made at once, by one thread

uint64_t Fnv1a64(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

// Quantile of the standard normal: P. J. Acklam's rational approximation (relative error below 1.2e-9, far
// finer than bf16). p in (0, 0.5].
double LowerQuantile(double p) {
  constexpr double kA[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                           1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
  constexpr double kB[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                           6.680131188771972e+01, -1.328068155288572e+01};
  constexpr double kC[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                           -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
  constexpr double kD[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                           3.754408661907416e+00};
  if (p < 0.02425) {
    const double q = std::sqrt(-2 * std::log(p));
    return (((((kC[0] * q + kC[1]) * q + kC[2]) * q + kC[3]) * q + kC[4]) * q + kC[5]) /
           ((((kD[0] * q + kD[1]) * q + kD[2]) * q + kD[3]) * q + 1);
  }
  const double q = p - 0.5, r = q * q;
  return (((((kA[0] * r + kA[1]) * r + kA[2]) * r + kA[3]) * r + kA[4]) * r + kA[5]) * q /
         (((((kB[0] * r + kB[1]) * r + kB[2]) * r + kB[3]) * r + kB[4]) * r + 1);
}

bool IsNorm(Role role) {
  return role == Role::kAttnNorm || role == Role::kMlpNorm || role == Role::kFinalNorm ||
         role == Role::kQNorm || role == Role::kKNorm;
}

// bf16 to binary16, nearest even: exact but for values below 2^-17 (subnormal) and above 65504 (infinite).
uint16_t ToHalf(Bf16 value) {
  const float f = ToFloat(value);
  const auto sign = static_cast<uint16_t>(std::signbit(f) ? 0x8000 : 0);
  const float magnitude = std::fabs(f);
  if (magnitude == 0) return sign;
  int exponent = 0;
  (void)std::frexp(magnitude, &exponent);
  if (exponent > 16) return sign | 0x7c00;
  const int scale = std::max(exponent - 11, -24);  // of one unit in the last place
  const auto units = static_cast<uint32_t>(std::nearbyint(std::ldexp(magnitude, -scale)));
  if (scale == -24) return static_cast<uint16_t>(sign | units);
  return static_cast<uint16_t>(sign | (((scale + 25) << 10) + (units - 1024)));
}

// `count` values of tensor `def` from number `first` on.
struct Piece {
  const TensorDef* def = nullptr;
  uint64_t first = 0;
  size_t count = 0;
};

// Makes the bytes of pieces in the dtype of the config. Immutable, so any threads may use it at once.
class PieceMaker {
 public:
  PieceMaker(DType dtype, const SynthOptions& options, double std_dev)
      : dtype_(dtype), seed_(options.seed), matrix_(kTableSize) {
    NormalTable(0, std_dev, matrix_);
    norm_.assign(kTableSize, ToBf16(1));
    bias_.assign(kTableSize, Bf16{});
    if (options.random_vectors) {
      NormalTable(1, kVectorStd, norm_);
      NormalTable(0, kVectorStd, bias_);
    }
  }

  std::vector<std::byte> Make(const Piece& piece) const {
    const TensorDef& def = *piece.def;
    const std::vector<Bf16>& table = IsNorm(def.role) ? norm_ : def.shape.rank == 1 ? bias_ : matrix_;
    std::vector<Bf16> values(piece.count);
    SynthValues(seed_, def.name, piece.first, table, values);
    std::vector<std::byte> bytes(piece.count * static_cast<size_t>(SizeOf(dtype_)));
    for (size_t i = 0; i < values.size() && dtype_ != DType::kBf16; ++i) {
      if (dtype_ == DType::kF16) {
        const uint16_t half = ToHalf(values[i]);
        std::memcpy(bytes.data() + i * sizeof half, &half, sizeof half);
      } else {
        const float wide = ToFloat(values[i]);
        std::memcpy(bytes.data() + i * sizeof wide, &wide, sizeof wide);
      }
    }
    if (dtype_ == DType::kBf16) std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }

 private:
  DType dtype_;
  uint64_t seed_;
  std::vector<Bf16> matrix_, norm_, bias_;
};

// All tensors, cut, in the order in which they are written.
std::vector<Piece> CutPieces(const std::vector<TensorDef>& defs) {
  std::vector<Piece> pieces;
  for (const TensorDef& def : defs) {
    const auto count = static_cast<uint64_t>(*def.shape.NumElements());
    for (uint64_t first = 0; first < count; first += kSynthChunk) {
      pieces.push_back({&def, first, static_cast<size_t>(std::min<uint64_t>(kSynthChunk, count - first))});
    }
  }
  return pieces;
}

// Writes the pieces in their order while threads make those that follow, at most kAhead of them for each
// thread.
Status WritePieces(const std::vector<Piece>& pieces, const PieceMaker& maker, const SynthOptions& options,
                   SafetensorsWriter* writer) {
  constexpr size_t kAhead = 3;
  const size_t ahead = kAhead * std::max(1u, std::thread::hardware_concurrency());
  std::deque<std::future<std::vector<std::byte>>> made;  // its futures wait for their threads when dropped
  size_t next = 0;
  uint64_t done = 0;
  while (next < pieces.size() || !made.empty()) {
    for (; next < pieces.size() && made.size() < ahead; ++next) {
      made.push_back(
          std::async(std::launch::async, [&maker, &piece = pieces[next]] { return maker.Make(piece); }));
    }
    const std::vector<std::byte> bytes = made.front().get();
    made.pop_front();
    LATHE_RETURN_IF_ERROR(writer->Append(bytes));
    done += bytes.size();
    if (options.progress) options.progress(done, writer->total_bytes());
  }
  return Status::Ok();
}

// config.json as given, a tokenizer, and the little that tells a reader of it which tokens are special.
Status WriteTextFiles(const std::string& config_text, const ModelSpec& spec, const std::string& dir) {
  std::vector<std::pair<int, std::string>> special;
  Json tokenizer_config = {{"tokenizer_class", "PreTrainedTokenizerFast"}};
  const auto add = [&](int id, const char* text, const char* key) {
    const auto it =
        std::find_if(special.begin(), special.end(), [&](const auto& s) { return s.first == id; });
    if (id < 0) return;
    tokenizer_config[key] = it != special.end() ? it->second : text;
    if (it == special.end()) special.emplace_back(id, text);
  };
  add(spec.bos_id, "<|bos|>", "bos_token");
  add(spec.eos_ids.empty() ? -1 : spec.eos_ids[0], "<|eos|>", "eos_token");
  add(spec.pad_id, "<|pad|>", "pad_token");
  tokenizer_config["model_max_length"] = spec.max_positions;
  LATHE_ASSIGN_OR_RETURN(const std::string tokenizer, SyntheticTokenizer(spec.vocab, special));
  LATHE_RETURN_IF_ERROR(WriteFileAtomic(dir + "/config.json", config_text));
  LATHE_RETURN_IF_ERROR(WriteFileAtomic(dir + "/tokenizer.json", tokenizer));
  return WriteFileAtomic(dir + "/tokenizer_config.json", DumpJson(tokenizer_config, 2) + "\n");
}

}  // namespace

void NormalTable(double mean, double std_dev, std::span<Bf16> table) {
  for (size_t i = 0; i < kTableSize / 2; ++i) {
    const double q = LowerQuantile((static_cast<double>(i) + 0.5) / static_cast<double>(kTableSize));
    table[i] = ToBf16(static_cast<float>(mean + std_dev * q));
    table[kTableSize - 1 - i] = ToBf16(static_cast<float>(mean - std_dev * q));
  }
}

void SynthValues(uint64_t seed, std::string_view name, uint64_t first, std::span<const Bf16> table,
                 std::span<Bf16> out) {
  constexpr uint64_t kStep = 0x9e3779b97f4a7c15ull;
  uint64_t state = SplitMix64(seed ^ Fnv1a64(name)) + first / 4 * kStep;
  size_t i = 0;
  for (; i + 4 <= out.size(); i += 4, state += kStep) {
    const uint64_t word = SplitMix64(state);
    out[i] = table[word & 0xffff];
    out[i + 1] = table[(word >> 16) & 0xffff];
    out[i + 2] = table[(word >> 32) & 0xffff];
    out[i + 3] = table[word >> 48];
  }
  uint64_t word = SplitMix64(state);
  for (; i < out.size(); ++i, word >>= 16) out[i] = table[word & 0xffff];
}

Status WriteSyntheticCheckpoint(const std::string& config_path, const std::string& out_dir,
                                const SynthOptions& options) {
  LATHE_ASSIGN_OR_RETURN(const std::string config_text, ReadFile(config_path, size_t{16} << 20));
  LATHE_ASSIGN_OR_RETURN(const Json config, ParseJson(config_text, config_path, {.max_depth = 32}));
  LATHE_ASSIGN_OR_RETURN(const ModelSpec spec, ReadModelSpec(config, {}, config_path));
  LATHE_ASSIGN_OR_RETURN(const double std_dev, JsonNumberOr(config, "initializer_range", 0.02, config_path));
  if (!(std_dev >= 0 && std_dev <= 100))
    return Error(StatusCode::kInvalidArgument, "%s: an initializer_range of %g, expected 0 to 100",
                 config_path.c_str(), std_dev);
  LATHE_ASSIGN_OR_RETURN(StagingDir staging, StagingDir::Create(out_dir));
  LATHE_RETURN_IF_ERROR(WriteTextFiles(config_text, spec, staging.path()));
  const std::vector<TensorDef> defs = TensorTable(spec);
  std::vector<TensorInfo> infos;
  for (const TensorDef& def : defs) infos.push_back({def.name, spec.checkpoint_dtype, def.shape});
  LATHE_ASSIGN_OR_RETURN(
      SafetensorsWriter writer,
      SafetensorsWriter::Create(staging.path() + "/model", std::move(infos), kMaxShardBytes));
  const PieceMaker maker(spec.checkpoint_dtype, options, std_dev);
  LATHE_RETURN_IF_ERROR(WritePieces(CutPieces(defs), maker, options, &writer));
  LATHE_RETURN_IF_ERROR(writer.Commit());
  return staging.Commit();
}

}  // namespace lathe
