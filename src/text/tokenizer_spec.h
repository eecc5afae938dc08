// What a tokenizer is, as plain data: every loader produces one, the engine file stores one, and
// Tokenizer::FromSpec makes it run. No component here knows of files.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace lathe::text {

// The stored form of these enums is their number: append, never renumber.
enum class ModelKind : uint8_t {
  kMergePairs = 1,    // BPE by a list of id pairs (tokenizer.json, merges.txt)
  kMergeStrings = 2,  // BPE by what the joined string is worth (SentencePiece BPE by score, tiktoken by rank)
  kUnigram = 3,       // the most probable segmentation
};

// How vocabulary strings stand for text.
enum class VocabForm : uint8_t {
  kText = 1,   // as UTF-8 text; what is not in it goes by byte pieces <0xNN> or the unknown id
  kBytes = 2,  // as raw bytes (byte-level BPE: the 256 stand-in letters are translated on load; tiktoken)
};

enum class OpType : uint8_t {
  // Normalisers: text to text.
  kNfc = 1,
  kNfd = 2,
  kNfkc = 3,
  kNfkd = 4,
  kLowercase = 5,
  kStripAccents = 6,
  kStrip = 7,           // flags: kStripLeft, kStripRight
  kPrepend = 8,         // a, unless the text is empty
  kReplace = 9,         // a (regex, or literal with kLiteral) by b
  kCharsMap = 10,       // a: SentencePiece's precompiled map
  kSentencePiece = 11,  // a: precompiled map or empty; flags: kSp*
  // Pre-tokenisers: pieces to smaller pieces.
  kSplit = 32,        // a; flags: kLiteral, kInvert; mode: SplitBehavior
  kPrefixSpace = 33,  // a space in front of each piece that does not start with one
  kByteLevel = 34,    // from here on the text is spelt in the 256 stand-in letters
  kMetaspace = 35,    // ' ' becomes a, which is also put in front; mode: PrependScheme
  // Decoders: tokens to text.
  kDecodeByteLevel = 64,
  kDecodeReplace = 65,  // literal a by b
  kDecodeByteFallback = 66,
  kDecodeFuse = 67,
  kDecodeStrip = 68,          // up to n0 leading and n1 trailing code points equal to a
  kDecodeMetaspace = 69,      // a; mode: PrependScheme
  kDecodeSentencePiece = 70,  // flags: kSp*; a: the surface of the unknown piece
};

enum class SplitBehavior : uint8_t {
  kIsolated = 0,
  kRemoved,
  kMergedWithPrevious,
  kMergedWithNext,
  kContiguous
};
enum class PrependScheme : uint8_t { kAlways = 0, kFirst, kNever };

inline constexpr uint32_t kLiteral = 1, kInvert = 2;
inline constexpr uint32_t kStripLeft = 1, kStripRight = 2;
// SentencePiece's mark for a space: U+2581.
inline constexpr std::string_view kSpaceMark = "\xE2\x96\x81";

inline constexpr uint32_t kSpDummyPrefix = 1, kSpRemoveExtraSpaces = 2, kSpEscapeSpaces = 4,
                          kSpSpaceAsSuffix = 8,
                          // The dummy prefix goes before the first text of the input only, not after
                          // every control token ("legacy": false).
    kSpPrefixFirstOnly = 16;

struct PipelineOp {
  OpType type = OpType::kNfc;
  uint8_t mode = 0;
  uint32_t flags = 0;
  uint32_t n0 = 0;
  uint32_t n1 = 0;
  std::string a = {};
  std::string b = {};
};

// Bits of TokenizerSpec::token_flags.
inline constexpr uint8_t kTokenPresent = 1;  // the id is in use
inline constexpr uint8_t kTokenModel = 2;    // the model may produce it from text
inline constexpr uint8_t kTokenSpecial = 4;  // control token: never text
inline constexpr uint8_t kTokenVerbatim =
    8;  // VocabForm::kBytes: the string is the token's spelling, not its bytes
inline constexpr uint8_t kTokenWhole = 16;   // encoding the token's own string gives just this token
inline constexpr uint8_t kTokenUnused = 32;  // SentencePiece UNUSED: may be merged through, never produced
inline constexpr uint8_t kTokenUserDefined =
    64;                                     // SentencePiece USER_DEFINED: matched before anything merges
inline constexpr uint8_t kTokenByte = 128;  // SentencePiece BYTE piece, spelt <0xNN>

struct AddedToken {
  std::string content;
  int32_t id = -1;
  bool special = false;
  bool lstrip = false;
  bool rstrip = false;
  bool single_word = false;
  bool normalized = false;
};

struct MergeRule {
  int32_t left;
  int32_t right;
  int32_t result;
};

// The strings of a vocabulary in one block.
class TokenArena {
 public:
  size_t size() const { return ends_.size(); }
  std::string_view operator[](size_t id) const {
    const size_t begin = id == 0 ? 0 : ends_[id - 1];
    return std::string_view(bytes_).substr(begin, ends_[id] - begin);
  }
  void Append(std::string_view token) {
    bytes_ += token;
    ends_.push_back(static_cast<uint32_t>(bytes_.size()));
  }
  void Reserve(size_t tokens, size_t bytes) {
    ends_.reserve(tokens);
    bytes_.reserve(bytes);
  }
  const std::string& bytes() const { return bytes_; }
  const std::vector<uint32_t>& ends() const { return ends_; }
  // The two parts must agree: ends ascending, the last one bytes.size() (the blob reader checks it).
  static TokenArena FromParts(std::string bytes, std::vector<uint32_t> ends) {
    TokenArena arena;
    arena.bytes_ = std::move(bytes);
    arena.ends_ = std::move(ends);
    return arena;
  }

 private:
  std::string bytes_;
  std::vector<uint32_t> ends_;
};

struct TokenizerSpec {
  ModelKind model = ModelKind::kMergePairs;
  VocabForm form = VocabForm::kText;
  bool ignore_merges = false;  // a piece that is a token is taken whole
  bool byte_fallback = false;
  bool fuse_unk = false;
  bool whole_flags_set = false;  // kTokenWhole has been computed
  int32_t unk_id = -1;
  int32_t bos_id = -1;
  int32_t eos_id = -1;
  int32_t pad_id = -1;
  std::string subword_prefix;  // continuing_subword_prefix
  std::string word_suffix;     // end_of_word_suffix

  TokenArena tokens;                 // [vocab_size], holes are empty strings without kTokenPresent
  std::vector<uint8_t> token_flags;  // [vocab_size]
  std::vector<float> scores;         // [vocab_size] for kMergeStrings and kUnigram: higher is better
  std::vector<MergeRule> merges;     // kMergePairs, in order of rank

  std::vector<AddedToken> added;
  std::vector<PipelineOp> normalizer;
  std::vector<PipelineOp> pre_tokenizer;
  std::vector<PipelineOp> decoder;  // empty: tokens joined by spaces
  std::vector<int32_t> prefix_ids;  // put around a text when special tokens are added
  std::vector<int32_t> suffix_ids;
};

// No vocabulary in the world comes near these; a file beyond them is hostile or broken.
inline constexpr size_t kMaxVocab = size_t{1} << 24;
inline constexpr size_t kMaxTokenBytes = size_t{1} << 16;
inline constexpr size_t kMaxVocabBytes = size_t{1} << 29;

// Every id in range, arrays of the right lengths, strings within limits. kCorrupt names the first fault.
Status ValidateSpec(const TokenizerSpec& spec);

}  // namespace lathe::text
