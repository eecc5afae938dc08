#include "text/grammar/mask_cache.h"

#include <algorithm>

namespace lathe::grammar {
namespace {

// Of one set: steps of configurations. A walk over 150,000 tokens takes about a million. Beyond it only
// tokens of one byte are tried, which keeps the text going.
constexpr uint64_t kMaxWork = 4'000'000;

}  // namespace

size_t MaskCache::ListHash::operator()(const std::vector<uint32_t>& v) const {
  uint64_t h = 0x9E3779B97F4A7C15ull + v.size();
  for (const uint32_t x : v) {
    h = (h ^ x) * 0xFF51AFD7ED558CCDull;
    h ^= h >> 32;
  }
  return static_cast<size_t>(h);
}

MaskCache::MaskCache(const Automaton& automaton, const GrammarVocab& vocab, size_t max_bytes)
    : automaton_(automaton), vocab_(vocab), max_bytes_(max_bytes), stacks_(automaton) {
  const CodeSet plain =
      CodeSet({{0x20, 0x21}, {0x23, 0x5B}, {0x5D, 0x7E}, {0x80, 0x2027}, {0x202A, kMaxCodePoint}});
  for (const CodeRange& r : plain.ranges()) AppendUtf8Sequences(r, &plain_sequences_);
  bits_.resize(static_cast<size_t>((vocab.size() + 31) / 32));
  Clear();
}

void MaskCache::Clear() {
  entries_.clear();
  exit_ids_.clear();
  exits_.clear();
  for (const auto& fixed : {std::vector<uint32_t>(), std::vector<uint32_t>{0}}) {
    exits_.push_back(&exit_ids_.try_emplace(fixed, static_cast<uint32_t>(exits_.size())).first->first);
  }
  bytes_ = 0;
}

std::unique_lock<std::mutex> MaskCache::Lock() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (bytes_ > max_bytes_) Clear();
  return lock;
}

size_t MaskCache::entries() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return entries_.size();
}

uint32_t MaskCache::Fill(uint32_t exits, CountedState at, std::span<uint32_t> words) {
  at = Canonical(at);
  auto it = entries_.find({exits, at});
  if (it == entries_.end()) {
    Entry found = Find(exits, at);
    bytes_ += 128 + found.dense.size() * 4 + found.sparse.size() * 8;
    it = entries_.emplace(Key{exits, at}, std::move(found)).first;
  }
  const Entry& entry = it->second;
  for (size_t i = 0; i < entry.dense.size(); ++i) words[i] |= entry.dense[i];
  for (const auto& [index, bits] : entry.sparse) words[index] |= bits;
  return entry.exits;
}

// A token is at most longest() bytes, and each repetition takes one at least: counts further than that from
// both bounds behave alike.
CountedState MaskCache::Canonical(CountedState at) const {
  const uint32_t index = automaton_.states[at.state].counter;
  if (index == Automaton::kNoState) return at;
  const auto& counter = automaton_.counters[index];
  const size_t far = vocab_.longest() + 1;
  if (at.count < counter.min) {
    const bool far_from_max = counter.max == kUnbounded || counter.max - at.count > far;
    return counter.min - at.count > far && far_from_max ? CountedState{at.state, 0} : at;
  }
  const bool far_from_max = counter.max == kUnbounded || counter.max - at.count > far;
  return far_from_max ? CountedState{at.state, counter.min} : at;
}

MaskCache::Entry MaskCache::Find(uint32_t exits, CountedState at) {
  std::fill(bits_.begin(), bits_.end(), 0);
  found_exits_.clear();
  work_limit_ = stacks_.work() + kMaxWork;
  if (exits == kRootExit) {
    const GrammarVocab::Part part = TakePlain(at);
    Walk(vocab_.tree(part), 0, at);
    WalkSpecial(at);
  } else {
    for (const uint32_t from : *exits_[exits]) {
      Walk(vocab_.tree(GrammarVocab::kAll), from, at);
      if (from == 0) WalkSpecial(at);
    }
  }
  Entry entry;
  const auto used = std::count_if(bits_.begin(), bits_.end(), [](uint32_t w) { return w != 0; });
  if (static_cast<size_t>(used) * 2 > bits_.size()) {
    entry.dense = bits_;
  } else {
    entry.sparse.reserve(static_cast<size_t>(used));
    for (size_t i = 0; i < bits_.size(); ++i) {
      if (bits_[i] != 0) entry.sparse.emplace_back(static_cast<uint32_t>(i), bits_[i]);
    }
  }
  entry.exits = InternExits();
  return entry;
}

uint32_t MaskCache::InternExits() {
  std::sort(found_exits_.begin(), found_exits_.end());
  found_exits_.erase(std::unique(found_exits_.begin(), found_exits_.end()), found_exits_.end());
  const auto [it, fresh] = exit_ids_.try_emplace(found_exits_, static_cast<uint32_t>(exits_.size()));
  if (fresh) {
    exits_.push_back(&it->first);
    bytes_ += 96 + found_exits_.size() * 4;
  }
  return it->second;
}

// Takes the plain tokens that fit without a walk, and returns what is left to walk. Where every plain token
// fits, that is all: whatever else they could do, their bits are set, and what leaves the rule on the way to
// another token is met on the walk to that one. Else those that fit in a run of single characters are known,
// as long as the states passed neither end their rule nor call another.
GrammarVocab::Part MaskCache::TakePlain(CountedState at) {
  if (FitsAnyPlain(at)) {
    TakeAll(vocab_.plain(GrammarVocab::kPlainLengths));
    return GrammarVocab::kWithoutPlain;
  }
  uint32_t state = at.state;
  uint32_t run = 0;
  const auto passes = [&](uint32_t x) {
    const auto& a = automaton_.states[x];
    return !a.accept && a.counter == Automaton::kNoState && automaton_.CallsOf(x).empty();
  };
  constexpr uint32_t kMost = GrammarVocab::kPlainLengths - 1;
  for (uint32_t next = state; run < kMost && passes(state); ++run, state = next) {
    next = PlainNext(state);
    if (next == Automaton::kNoState) break;
  }
  if (run == 0 || !passes(state) || (run < kMost && !PlainNever(state))) return GrammarVocab::kAll;
  const GrammarVocab::Part part =
      run < kMost ? GrammarVocab::kWithoutPlain : GrammarVocab::kWithoutShortPlain;
  TakeAll(vocab_.plain(run));
  return part;
}

void MaskCache::TakeAll(std::span<const uint32_t> words) {
  for (size_t i = 0; i < bits_.size(); ++i) bits_[i] |= words[i];
}

// Whether plain text of the length of any token can follow.
bool MaskCache::FitsAnyPlain(CountedState at) const {
  const uint32_t index = automaton_.states[at.state].counter;
  if (index != Automaton::kNoState) {
    // Single characters, and room for as many.
    const auto& counter = automaton_.counters[index];
    const size_t room =
        counter.max == kUnbounded ? kUnbounded : counter.max - std::min(at.count, counter.max);
    const uint32_t next = PlainNext(automaton_.rules[counter.body].start);
    return room > vocab_.longest() && next != Automaton::kNoState && automaton_.states[next].accept;
  }
  const uint32_t next = PlainNext(at.state);
  if (next != Automaton::kNoState && (next == at.state || PlainNext(next) == next)) return true;
  const auto calls = automaton_.CallsOf(at.state);
  return std::any_of(calls.begin(), calls.end(), [&](const Automaton::Call& call) {
    const uint32_t start = automaton_.rules[call.rule].start;
    return automaton_.CallsOf(start).empty() && FitsAnyPlain({start, 0});
  });
}

// The one state that every plain character leads to from `state`, if that is so.
uint32_t MaskCache::PlainNext(uint32_t state) const {
  uint32_t target = Automaton::kNoState;
  for (const ByteRangeSequence& sequence : plain_sequences_) {
    uint32_t at = state;
    for (size_t i = 0; i < sequence.length; ++i) {
      const uint32_t next = automaton_.NextOfAll(at, sequence.lo[i], sequence.hi[i]);
      if (next == Automaton::kNoState) return Automaton::kNoState;
      at = next;
    }
    if (target != Automaton::kNoState && at != target) return Automaton::kNoState;
    target = at;
  }
  return target;
}

bool MaskCache::PlainNever(uint32_t state) const {
  return std::all_of(plain_sequences_.begin(), plain_sequences_.end(),
                     [&](const ByteRangeSequence& sequence) {
                       for (uint32_t b = sequence.lo[0]; b <= sequence.hi[0]; ++b) {
                         if (automaton_.Next(state, static_cast<uint8_t>(b)) != Automaton::kNoState)
                           return false;
                       }
                       return true;
                     });
}

void MaskCache::Walk(const GrammarVocab::Tree& tree, uint32_t from, CountedState at) {
  configs_.assign(1, {at, Stacks::kBottom});
  stacks_.Rewind({1, 0});
  levels_.assign(1, {0, 1, stacks_.mark()});
  const auto note_exit = [&](uint32_t node, const Level& level) {
    const std::span<const Config> here(configs_.data() + level.begin, level.end - level.begin);
    if (stacks_.CanEnd(here)) found_exits_.push_back(tree.origin.empty() ? node : tree.origin[node]);
  };
  if (tree.nodes[from].end > from + 1) note_exit(from, levels_[0]);
  const uint32_t base = tree.nodes[from].depth;
  const uint32_t end = tree.nodes[from].end;
  for (uint32_t i = from + 1; i < end;) {
    const GrammarVocab::Node& node = tree.nodes[i];
    const size_t depth = node.depth - base;
    const Level above = levels_[depth - 1];
    levels_.resize(depth);
    configs_.resize(above.end);
    stacks_.Rewind(above.mark);
    stacks_.Step(std::span<const Config>(configs_.data() + above.begin, above.end - above.begin), node.byte,
                 &configs_);
    if (configs_.size() == above.end) {
      i = node.end;
      continue;
    }
    for (uint32_t t = node.tokens; t < tree.nodes[i + 1].tokens; ++t) {
      const auto id = static_cast<uint32_t>(tree.tokens[t]);
      bits_[id / 32] |= 1u << (id % 32);
    }
    if (stacks_.work() > work_limit_) {
      i = node.end;
      continue;
    }
    levels_.push_back({above.end, configs_.size(), stacks_.mark()});
    if (node.end > i + 1) {
      note_exit(i, levels_.back());
    } else if (!tree.origin.empty()) {
      // A leaf here may have plain tokens below it in the whole tree.
      const uint32_t whole = tree.origin[i];
      if (vocab_.tree(GrammarVocab::kAll).nodes[whole].end > whole + 1) note_exit(i, levels_.back());
    }
    ++i;
  }
}

void MaskCache::WalkSpecial(CountedState at) {
  const Config start{at, Stacks::kBottom};
  for (const int32_t token : automaton_.token_ids) {
    stacks_.Rewind({1, 0});
    configs_.clear();
    stacks_.Step(std::span(&start, 1), kTokenSymbol + static_cast<uint32_t>(token), &configs_);
    if (!configs_.empty()) bits_[static_cast<uint32_t>(token) / 32] |= 1u << (token % 32);
  }
}

}  // namespace lathe::grammar
