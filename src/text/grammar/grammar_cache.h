// Compiled grammars by what they were compiled from.
#pragma once

#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "text/grammar/grammar.h"

namespace lathe {

// Thread-safe. The least recently used ones go when all together are larger than `max_bytes`; who holds one
// keeps it. A hit is an equal format, not an equal hash.
class GrammarCache {
 public:
  GrammarCache(std::shared_ptr<const GrammarVocab> vocab, size_t max_bytes, const GrammarLimits& limits = {});

  // The grammar of `format`, compiled on this thread when it is not there (outside the lock: others are not
  // kept waiting, and two that ask for the same at once may both compile it). Refusals are not kept.
  Expected<std::shared_ptr<const Grammar>> Get(const OutputFormat& format);

  size_t size() const;
  uint64_t hits() const;
  uint64_t misses() const;

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const Grammar> grammar;
  };
  void Trim();

  const std::shared_ptr<const GrammarVocab> vocab_;
  const size_t max_bytes_;
  const GrammarLimits limits_;
  mutable std::mutex mutex_;
  std::list<Entry> entries_;                                                 // the most recently used first
  std::unordered_map<std::string_view, std::list<Entry>::iterator> by_key_;  // of keys in entries_
  uint64_t hits_ = 0, misses_ = 0;
};

}  // namespace lathe
