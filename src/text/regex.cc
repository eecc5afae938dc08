#define PCRE2_CODE_UNIT_WIDTH 8
#include "text/regex.h"

#include <pcre2.h>

#include <string>

#include "text/regex_dialect.h"
#include "text/utf8.h"

namespace lathe::text {
namespace {

constexpr size_t kMaxPattern = 64 << 10;
constexpr size_t kJitStackStart = 32 << 10;
constexpr size_t kJitStackMax = 1 << 20;
constexpr uint32_t kInterpreterHeapKib = 64 << 10;

// What a match needs besides the pattern: per thread, since it is written while matching.
struct MatchState {
  pcre2_match_data* data = pcre2_match_data_create(1, nullptr);
  pcre2_match_context* context = pcre2_match_context_create(nullptr);
  pcre2_jit_stack* stack = pcre2_jit_stack_create(kJitStackStart, kJitStackMax, nullptr);
  MatchState() {
    if (context == nullptr) return;
    pcre2_set_heap_limit(context, kInterpreterHeapKib);
    if (stack != nullptr) pcre2_jit_stack_assign(context, nullptr, stack);
  }
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;
  ~MatchState() {
    pcre2_match_data_free(data);
    pcre2_match_context_free(context);
    pcre2_jit_stack_free(stack);
  }
};

MatchState& ThreadMatchState() {
  thread_local MatchState state;
  return state;
}

// Steps allowed to one match: legitimate patterns need a few per byte at worst (backing out of a long run of
// spaces), so this never cuts one short, and a hostile one ends soon.
uint32_t StepLimit(size_t subject_bytes) {
  const size_t limit = 200'000 + 32 * subject_bytes;
  return limit > UINT32_MAX ? UINT32_MAX : static_cast<uint32_t>(limit);
}

Status CompileFault(int code, size_t at, std::string_view pattern) {
  PCRE2_UCHAR message[128] = {};
  pcre2_get_error_message(code, message, sizeof message);
  return Error(StatusCode::kInvalidArgument, "tokenizer: bad regular expression '%.120s': %s at byte %zu",
               std::string(pattern).c_str(), reinterpret_cast<const char*>(message), at);
}

}  // namespace

struct Regex::Compiled {
  explicit Compiled(pcre2_code* compiled) : code(compiled) {}
  Compiled(const Compiled&) = delete;
  Compiled& operator=(const Compiled&) = delete;
  ~Compiled() { pcre2_code_free(code); }
  pcre2_code* code;
};

Regex::Regex(std::unique_ptr<Compiled> compiled) : compiled_(std::move(compiled)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Expected<Regex> Regex::Compile(std::string_view pattern, const RegexOptions& options) {
  if (pattern.size() > kMaxPattern)
    return Error(StatusCode::kUnsupported,
                 "tokenizer: a regular expression of %zu bytes, at most %zu are accepted", pattern.size(),
                 kMaxPattern);
  std::string source(pattern);
  uint32_t flags = PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C;
  if (options.literal) {
    flags = PCRE2_UTF | PCRE2_LITERAL;
  } else {
    LATHE_ASSIGN_OR_RETURN(source, ToPcreDialect(pattern));
    flags |= PCRE2_MULTILINE;  // Oniguruma's ^ and $ stand at every line
  }
  pcre2_compile_context* context = pcre2_compile_context_create(nullptr);
  if (context != nullptr) pcre2_set_newline(context, PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE at = 0;
  pcre2_code* compiled =
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(source.data()), source.size(), flags, &code, &at, context);
  pcre2_compile_context_free(context);
  if (compiled == nullptr) return CompileFault(code, at, source);
  // Without the JIT (no memory, a kernel that forbids it) pcre2_match interprets, with the same matches.
  if (options.use_jit) pcre2_jit_compile(compiled, PCRE2_JIT_COMPLETE);
  return Regex(std::make_unique<Compiled>(compiled));
}

void Regex::FindAll(std::string_view subject, size_t from, size_t to, std::vector<ByteRange>* matches) const {
  MatchState& state = ThreadMatchState();
  if (state.data == nullptr || state.context == nullptr) return;
  const std::string_view range = subject.substr(from, to - from);
  const auto* text = reinterpret_cast<PCRE2_SPTR>(range.data());
  pcre2_set_match_limit(state.context, StepLimit(range.size()));
  constexpr size_t kNone = static_cast<size_t>(-1);
  size_t last_end = kNone;
  for (size_t pos = 0; pos <= range.size();) {
    int rc =
        pcre2_match(compiled_->code, text, range.size(), pos, PCRE2_NO_UTF_CHECK, state.data, state.context);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT)
      rc = pcre2_match(compiled_->code, text, range.size(), pos, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                       state.data, state.context);
    if (rc < 0) return;
    const PCRE2_SIZE* found = pcre2_get_ovector_pointer(state.data);
    const size_t begin = found[0];
    const size_t end = found[1];
    if (begin < pos || end < begin) return;  // \K can do this
    if (begin == end) {
      // An empty match: step over one code point, or nothing would ever move.
      if (begin != last_end) matches->push_back({from + begin, from + end});
      last_end = end;
      pos = end < range.size() ? end + Utf8Length(range[end]) : end + 1;
    } else {
      matches->push_back({from + begin, from + end});
      last_end = pos = end;
    }
  }
}

}  // namespace lathe::text
