#include "text/grammar/grammar_cache.h"

namespace lathe {
namespace {

// Lengths in front, so that no two formats have the same key.
std::string KeyOf(const OutputFormat& format) {
  std::string key(1, static_cast<char>('0' + static_cast<int>(format.kind)));
  const auto add = [&key](const std::string& part) { key += std::to_string(part.size()) + ":" + part; };
  add(format.kind == OutputFormat::Kind::kJsonObject ? std::string() : format.source);
  for (const std::string& choice : format.choices) add(choice);
  return key;
}

}  // namespace

GrammarCache::GrammarCache(std::shared_ptr<const GrammarVocab> vocab, size_t max_bytes,
                           const GrammarLimits& limits)
    : vocab_(std::move(vocab)), max_bytes_(max_bytes), limits_(limits) {}

Expected<std::shared_ptr<const Grammar>> GrammarCache::Get(const OutputFormat& format) {
  std::string key = KeyOf(format);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (const auto it = by_key_.find(key); it != by_key_.end()) {
      ++hits_;
      entries_.splice(entries_.begin(), entries_, it->second);
      return it->second->grammar;
    }
    ++misses_;
  }
  LATHE_ASSIGN_OR_RETURN(auto grammar, CompileGrammar(format, vocab_, limits_));
  const std::lock_guard<std::mutex> lock(mutex_);
  if (const auto it = by_key_.find(key); it != by_key_.end()) return it->second->grammar;
  entries_.push_front({std::move(key), grammar});
  by_key_.emplace(entries_.front().key, entries_.begin());
  Trim();
  return grammar;
}

// Cached token sets grow after compiling: sizes are taken anew each time. One always stays.
void GrammarCache::Trim() {
  size_t total = 0;
  for (auto it = entries_.begin(); it != entries_.end();) {
    total += it->grammar->bytes() + it->key.size();
    if (total > max_bytes_ && it != entries_.begin()) {
      by_key_.erase(it->key);
      it = entries_.erase(it);
    } else {
      ++it;
    }
  }
}

size_t GrammarCache::size() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return entries_.size();
}

uint64_t GrammarCache::hits() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return hits_;
}

uint64_t GrammarCache::misses() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return misses_;
}

}  // namespace lathe
