#include "text/grammar/grammar.h"

#include <algorithm>
#include <unordered_set>

#include "base/check.h"
#include "text/grammar/front_ends.h"
#include "text/grammar/mask_cache.h"
#include "text/utf8.h"

namespace lathe {

using grammar::Config;
using grammar::ExprId;
using grammar::ExprPool;
using grammar::MaskCache;
using grammar::Stacks;

struct Grammar::Impl {
  Impl(std::shared_ptr<const GrammarVocab> v, grammar::Automaton a, size_t max_bytes)
      : vocab(std::move(v)), automaton(std::move(a)), masks(automaton, *vocab, max_bytes) {}

  std::shared_ptr<const GrammarVocab> vocab;
  grammar::Automaton automaton;
  mutable MaskCache masks;
};

Grammar::Grammar(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Grammar::~Grammar() = default;
const GrammarVocab& Grammar::vocab() const { return *impl_->vocab; }
size_t Grammar::bytes() const { return impl_->automaton.Bytes() + impl_->masks.bytes(); }
size_t Grammar::cached_sets() const { return impl_->masks.entries(); }

namespace {

Status CheckSource(const OutputFormat& format, const GrammarLimits& limits) {
  size_t bytes = format.source.size();
  for (const std::string& choice : format.choices) bytes += choice.size() + 1;
  if (bytes > limits.source_bytes) {
    return Error(StatusCode::kResourceExhausted, "the output format has %zu bytes; at most %zu are allowed",
                 bytes, limits.source_bytes);
  }
  if (!text::IsValidUtf8(format.source)) {
    return Error(StatusCode::kInvalidArgument, "the source of the output format is not valid UTF-8");
  }
  return Status::Ok();
}

Expected<ExprId> ChoiceExpr(const std::vector<std::string>& choices, ExprPool* pool) {
  if (choices.empty()) {
    return Error(StatusCode::kInvalidArgument, "the list of choices is empty; give at least one");
  }
  std::vector<ExprId> items;
  for (size_t i = 0; i < choices.size(); ++i) {
    if (!text::IsValidUtf8(choices[i])) {
      return Error(StatusCode::kInvalidArgument, "choice %zu is not valid UTF-8", i);
    }
    items.push_back(pool->String(choices[i]));
  }
  return pool->Alt(items);
}

Expected<ExprId> FormatExpr(const OutputFormat& format, const GrammarVocab& vocab, ExprPool* pool) {
  switch (format.kind) {
    case OutputFormat::Kind::kJsonObject: return grammar::JsonObjectExpr(pool);
    case OutputFormat::Kind::kJsonSchema: return grammar::SchemaExpr(format.source, "schema", pool);
    case OutputFormat::Kind::kRegex:
      return grammar::ParseRegex(format.source, grammar::RegexMatch::kWhole, grammar::Spelling::kPlain, pool);
    case OutputFormat::Kind::kChoice: return ChoiceExpr(format.choices, pool);
    case OutputFormat::Kind::kGrammar: return grammar::ParseEbnf(format.source, vocab, pool);
  }
  return Error(StatusCode::kInvalidArgument, "output format of unknown kind %d",
               static_cast<int>(format.kind));
}

}  // namespace

Expected<std::shared_ptr<const Grammar>> CompileGrammar(const OutputFormat& format,
                                                        std::shared_ptr<const GrammarVocab> vocab,
                                                        const GrammarLimits& limits) {
  LATHE_RETURN_IF_ERROR(CheckSource(format, limits));
  grammar::Budget budget(limits);
  ExprPool pool(&budget);
  const grammar::RuleId root = pool.AddRule("the whole output");
  LATHE_ASSIGN_OR_RETURN(const ExprId body, FormatExpr(format, *vocab, &pool));
  LATHE_RETURN_IF_ERROR(pool.status());
  pool.SetBody(root, body);
  LATHE_ASSIGN_OR_RETURN(auto automaton, grammar::CompileRules(&pool, vocab->single_bytes()));
  auto impl = std::make_unique<Grammar::Impl>(std::move(vocab), std::move(automaton), limits.bytes);
  return std::shared_ptr<const Grammar>(std::make_shared<Grammar>(std::move(impl)));
}

struct GrammarMatcher::State {
  explicit State(std::shared_ptr<const Grammar> g)
      : grammar(std::move(g)), stacks(grammar->impl().automaton) {
    configs.push_back({{grammar->impl().automaton.rules[0].start, 0}, Stacks::kBottom});
  }
  // A copy's stacks refer to the same automaton.
  std::shared_ptr<const Grammar> grammar;
  Stacks stacks;
  std::vector<Config> configs;
  bool ended = false;
  // Scratch of FillMask and Accept.
  struct Visit {
    uint32_t exits, node;
    bool operator==(const Visit&) const = default;
  };
  std::vector<Visit> visits;
  std::unordered_set<uint64_t> many_visits;

  bool AddVisit(const Visit& v) {
    constexpr size_t kFew = 16;
    if (visits.size() < kFew) return std::find(visits.begin(), visits.end(), v) == visits.end();
    if (visits.size() == kFew) {
      many_visits.clear();
      for (const Visit& old : visits) many_visits.insert(uint64_t{old.exits} << 32 | old.node);
    }
    return many_visits.insert(uint64_t{v.exits} << 32 | v.node).second;
  }
  std::vector<Config> next, after;

  // Into `next`: what is behind the token.
  void Advance(std::span<const Config> from, TokenId id, std::string_view bytes) {
    next.clear();
    if (bytes.empty()) {
      stacks.Step(from, grammar::kTokenSymbol + static_cast<uint32_t>(id), &next);
      return;
    }
    next.assign(from.begin(), from.end());
    for (const char byte : bytes) {
      after.clear();
      stacks.Step(next, static_cast<uint8_t>(byte), &after);
      next.swap(after);
    }
  }
};

GrammarMatcher::GrammarMatcher(std::shared_ptr<const Grammar> grammar)
    : state_(std::make_unique<State>(std::move(grammar))) {}
GrammarMatcher::~GrammarMatcher() = default;
GrammarMatcher::GrammarMatcher(const GrammarMatcher& other)
    : state_(std::make_unique<State>(*other.state_)) {}
GrammarMatcher& GrammarMatcher::operator=(const GrammarMatcher& other) {
  state_ = std::make_unique<State>(*other.state_);
  return *this;
}
GrammarMatcher::GrammarMatcher(GrammarMatcher&&) noexcept = default;
GrammarMatcher& GrammarMatcher::operator=(GrammarMatcher&&) noexcept = default;

bool GrammarMatcher::FillMask(std::span<uint32_t> words) {
  State& s = *state_;
  const Grammar::Impl& g = s.grammar->impl();
  LATHE_CHECK_EQ(words.size(), static_cast<size_t>((g.vocab->size() + 31) / 32));
  std::fill(words.begin(), words.end(), 0);
  if (s.ended) return false;
  {
    const auto lock = g.masks.Lock();
    s.visits.clear();
    const auto visit = [&s](uint32_t exits, uint32_t node) {
      const State::Visit v{exits, node};
      if (exits == MaskCache::kNoExits || node == Stacks::kBottom) return;
      if (s.AddVisit(v)) s.visits.push_back(v);
    };
    for (const Config& c : s.configs) visit(g.masks.Fill(MaskCache::kRootExit, c.at, words), c.node);
    for (size_t i = 0; i < s.visits.size(); ++i) {
      const State::Visit v = s.visits[i];
      for (uint32_t e = s.stacks.FirstEdge(v.node); e != Stacks::kNone; e = s.stacks.edge(e).next) {
        const Stacks::Edge& edge = s.stacks.edge(e);
        const bool returns = edge.ret.state != Stacks::kNone;
        visit(returns ? g.masks.Fill(v.exits, edge.ret, words) : v.exits, edge.parent);
      }
    }
  }
  if (s.stacks.CanEnd(s.configs)) {
    for (const TokenId id : g.vocab->eos_ids()) {
      words[static_cast<size_t>(id) / 32] |= 1u << (id % 32);
    }
  }
  return std::any_of(words.begin(), words.end(), [](uint32_t w) { return w != 0; });
}

bool GrammarMatcher::Accept(TokenId id) {
  State& s = *state_;
  const GrammarVocab& vocab = s.grammar->vocab();
  if (s.ended || id < 0 || id >= vocab.size()) return false;
  if (std::find(vocab.eos_ids().begin(), vocab.eos_ids().end(), id) != vocab.eos_ids().end()) {
    s.ended = s.stacks.CanEnd(s.configs);
    return s.ended;
  }
  const std::string_view bytes = vocab.Bytes(id);
  const Stacks::Mark mark = s.stacks.mark();
  s.Advance(s.configs, id, bytes);
  if (s.next.empty() && s.configs.size() > 1) {
    // Of too many configurations some were dropped on the way, perhaps those that lead on: each for itself.
    for (const Config& c : s.configs) {
      s.Advance(std::span(&c, 1), id, bytes);
      if (!s.next.empty()) break;
    }
  }
  if (s.next.empty()) {
    s.stacks.Rewind(mark);
    return false;
  }
  s.configs.swap(s.next);
  s.stacks.Compact(&s.configs);
  return true;
}

bool GrammarMatcher::CanEnd() const { return !state_->ended && state_->stacks.CanEnd(state_->configs); }

bool GrammarMatcher::MustEnd() const { return CanEnd() && !state_->stacks.CanGoOn(state_->configs); }

bool GrammarMatcher::ended() const { return state_->ended; }

}  // namespace lathe
