// A million random operations against a plain model of what the cache may hold.
#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <string>

#include "base/rng.h"
#include "runtime/kv/kv_manager.h"

namespace lathe {
namespace {

constexpr int kPageSize = 2;
constexpr int kPages = 48;
constexpr int kSequences = 8;

// Sanitizers slow this down and find as much in fewer operations.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kOperations = 100'000;
#else
constexpr int kOperations = 1'000'000;
#endif

uint64_t SameHash(int32_t, uint32_t, std::span<const int32_t>) { return 7; }

// Pages by content. Known pages are keyed by salt and whole prefix; unknown ones only have holders.
class Model {
 public:
  struct Page {
    std::string key;  // "" while nobody can find it
    int holders = 0;
    bool on_device = true, on_host = false;
    std::list<Page*>::iterator place;  // in unused or offloaded
  };
  using PagePtr = std::shared_ptr<Page>;
  struct Seq {
    std::string salt;
    std::vector<int32_t> tokens;
    int n_computed = 0;
    bool cached = false;
    std::vector<PagePtr> pages;
  };

  explicit Model(int n_host) : n_host(n_host), n_host_free(n_host) {}

  const int n_host;
  int n_free = kPages, n_host_free;
  std::list<Page*> unused, offloaded;  // oldest first
  std::map<std::string, PagePtr> known;

  static std::string Key(const Seq& s, size_t page) {
    std::string key = s.salt + "|";
    for (size_t i = 0; i < (page + 1) * kPageSize; ++i) key += static_cast<char>('a' + s.tokens[i]);
    return key;
  }
  bool TakeHost(Page* page) {
    if (n_host_free == 0) {
      if (offloaded.empty()) return false;
      Page* oldest = offloaded.front();
      offloaded.pop_front();
      LeaveHost(oldest);
      known.erase(std::string(oldest->key));
    }
    --n_host_free;
    return page->on_host = true;
  }
  void LeaveHost(Page* page) {
    n_host_free += page->on_host;
    page->on_host = false;
  }
  void TakeDevice() {
    if (n_free > 0) {
      --n_free;
      return;
    }
    Page* victim = unused.front();
    unused.pop_front();
    if (victim->on_host || TakeHost(victim)) {
      victim->on_device = false;
      victim->place = offloaded.insert(offloaded.end(), victim);
    } else {
      known.erase(std::string(victim->key));
    }
  }
  PagePtr New() {
    TakeDevice();
    auto page = std::make_shared<Page>();
    page->holders = 1;
    return page;
  }
  void Hold(const PagePtr& page) {
    if (page->holders++ > 0) return;
    unused.erase(page->place);
    LeaveHost(page.get());
  }
  void CopyAhead() {
    const int wanted = std::min(kPages / 8, n_host / 4);
    int ready = n_free, copies = 0;
    for (auto it = unused.begin(); it != unused.end() && ready < wanted; ++it, ++ready)
      if (!(*it)->on_host && (copies++ == 16 || !TakeHost(*it))) return;
  }
  // `own`, which nobody can find, is where the content of an offloaded page is from now on.
  void Bring(const PagePtr& own, const std::string& key) {
    PagePtr& at = known.at(key);
    offloaded.erase(at->place);
    LeaveHost(at.get());
    own->key = key;
    at = own;
  }
  void Drop(const PagePtr& page) {
    if (--page->holders > 0) return;
    if (page->key.empty()) {
      ++n_free;
    } else {
      page->place = unused.insert(unused.end(), page.get());
    }
  }
  int Available() const { return n_free + static_cast<int>(unused.size()); }

  std::vector<PagePtr> Match(const Seq& s) const {
    std::vector<PagePtr> found;
    while (s.cached && (found.size() + 1) * kPageSize < s.tokens.size()) {
      const auto it = known.find(Key(s, found.size()));
      if (it == known.end()) break;
      found.push_back(it->second);
    }
    return found;
  }
  int Admit(Seq* s, int reserve) {
    const auto found = Match(*s);
    int revived = 0, brought = 0;
    for (const auto& p : found) revived += p->on_device && p->holders == 0, brought += !p->on_device;
    const int need = static_cast<int>((s->tokens.size() + kPageSize - 1) / kPageSize - found.size());
    if (need + brought + reserve > Available() - revived) return -1;
    for (const auto& p : found) {
      if (p->on_device)
        Hold(p);
      else
        offloaded.erase(p->place);
    }
    for (const auto& p : found) {
      if (p->on_device) continue;
      TakeDevice();
      LeaveHost(p.get());
      p->on_device = true;
      p->holders = 1;
    }
    s->pages = found;
    for (int i = 0; i < need; ++i) s->pages.push_back(New());
    return static_cast<int>(found.size()) * kPageSize;
  }
  void Replace(Seq* s, size_t i, const PagePtr& page) {
    if (page == s->pages[i]) return;
    Hold(page);
    Drop(s->pages[i]);
    s->pages[i] = page;
  }
  void Commit(Seq* s) {
    for (size_t i = 0; s->cached && (i + 1) * kPageSize <= static_cast<size_t>(s->n_computed); ++i) {
      const auto [it, added] = known.try_emplace(Key(*s, i), s->pages[i]);
      if (added) s->pages[i]->key = it->first;
      if (!it->second->on_device) Bring(s->pages[i], it->first);
      Replace(s, i, it->second);
    }
  }
  void Adopt(Seq* s) {
    if (!s->cached || s->n_computed % kPageSize != 0) return;
    const auto found = Match(*s);
    for (size_t i = static_cast<size_t>(s->n_computed) / kPageSize; i < found.size(); ++i) {
      if (found[i]->on_device)
        Replace(s, i, found[i]);
      else
        Bring(s->pages[i], found[i]->key);
      s->n_computed += kPageSize;
    }
  }
  void Free(Seq* s) {
    while (!s->pages.empty()) {
      Drop(s->pages.back());
      s->pages.pop_back();
    }
  }
  // Forgets, from the tail, known pages that only `s` holds and that nothing known stands on.
  void Discard(Seq* s) {
    for (size_t i = s->pages.size(); i-- > 0;) {
      const std::string key = s->pages[i]->key;
      if (key.empty()) continue;
      const auto next = known.upper_bound(key);
      const bool has_child = next != known.end() && next->first.starts_with(key);
      if (s->pages[i]->holders > 1 || has_child) break;
      known.erase(key);
      s->pages[i]->key.clear();
    }
    Free(s);
  }
};

class Harness {
 public:
  Harness(uint64_t seed, PrefixIndex::HashFn hash, int n_host)
      : rng_(seed), kv_(kPages, kPageSize, {true, hash, n_host}), model_(n_host) {}

  void Step() {
    if (rng_.Below(4) == 0) {
      model_.CopyAhead();
      kv_.CopyAhead();
    }
    Move(performed_ + static_cast<int64_t>(rng_.Below(3)));
    const size_t i = rng_.Below(kSequences);
    if (!real_[i].active) {
      Start(i);
    } else {
      switch (rng_.Below(8)) {
        case 0: rng_.Below(8) == 0 ? Discard(i) : Free(i); break;
        case 1: Fork(i); break;
        case 2: Adopt(i); break;
        case 3:
        case 4: Append(i); break;
        default: Compute(i); break;
      }
    }
    Compare(i);
  }

  void CheckAll() {
    std::vector<const KvSequence*> live;
    for (auto& s : real_) {
      if (s.active) live.push_back(&s);
    }
    kv_.CheckInvariants(live);
  }

  void Finish() {
    for (size_t i = 0; i < kSequences; ++i) {
      if (real_[i].active) Free(i);
    }
    CheckAll();
    ASSERT_EQ(kv_.n_used(), 0);
    kv_.DropCache();
    ASSERT_EQ(kv_.n_available(), kPages);
    ASSERT_EQ(kv_.n_cached(), 0);
    ASSERT_EQ(kv_.n_host_used(), 0);
  }
  const KvCounters& counters() const { return kv_.counters(); }

  uint64_t hits = 0, refusals = 0, forks = 0, adoptions = 0;

 private:
  void Start(size_t i) {
    Model::Seq s;
    s.salt = std::string(rng_.Below(2), 's');
    s.cached = rng_.Below(8) != 0;
    s.tokens.resize(1 + rng_.Below(24));
    for (auto& t : s.tokens) t = rng_.Below(8) == 0;  // few distinct prefixes, so that they meet
    const int reserve = static_cast<int>(rng_.Below(4));
    const int expected = model_.Admit(&s, reserve);
    const int found = kv_.Admit(&real_[i], s.tokens, s.salt, s.cached, reserve);
    ASSERT_EQ(found, expected);
    refusals += found < 0;
    hits += found > 0;
    if (found < 0) return;
    s.n_computed = found;
    seqs_[i] = std::move(s);
  }
  void Free(size_t i) {
    model_.Free(&seqs_[i]);
    kv_.Free(&real_[i]);
    ASSERT_FALSE(real_[i].active);
  }
  void Discard(size_t i) {
    model_.Discard(&seqs_[i]);
    kv_.Discard(&real_[i]);
    ASSERT_FALSE(real_[i].active);
  }
  void Compute(size_t i) {
    Model::Seq& s = seqs_[i];
    const int left = static_cast<int>(s.tokens.size()) - s.n_computed;
    if (left == 0) return;
    const int n = 1 + static_cast<int>(rng_.Below(static_cast<uint64_t>(left)));
    Move(real_[i].ready_at);
    for (int p = s.n_computed; p < s.n_computed + n; ++p) {
      content_[real_[i].pages[static_cast<size_t>(p / kPageSize)]][static_cast<size_t>(p % kPageSize)] =
          Prefix(s, p);
    }
    s.n_computed += n;
    model_.Commit(&s);
    kv_.Commit(&real_[i], s.tokens, s.n_computed);
  }
  void Append(size_t i) {
    Model::Seq& s = seqs_[i];
    if (s.tokens.size() >= 40) return;
    const size_t pages = (s.tokens.size() + kPageSize) / kPageSize;
    const bool fits = pages <= s.pages.size() || model_.Available() > 0;
    ASSERT_EQ(kv_.Extend(&real_[i], static_cast<int>(s.tokens.size()) + 1), fits);
    if (!fits) return;
    if (pages > s.pages.size()) s.pages.push_back(model_.New());
    s.tokens.push_back(rng_.Below(8) == 0);
  }
  void Adopt(size_t i) {
    Model::Seq& s = seqs_[i];
    const int before = s.n_computed;
    model_.Adopt(&s);
    ASSERT_EQ(kv_.Adopt(&real_[i], s.tokens, before), s.n_computed);
    adoptions += s.n_computed > before;
  }
  void Fork(size_t i) {
    const size_t j = rng_.Below(kSequences);
    if (real_[j].active) return;
    Model::Seq child = seqs_[i];
    const int shared = child.n_computed / kPageSize;
    child.tokens.resize(std::max<size_t>(1, static_cast<size_t>(shared) * kPageSize));
    child.pages.resize(static_cast<size_t>(shared));
    child.n_computed = shared * kPageSize;
    for (auto& p : child.pages) model_.Hold(p);
    ASSERT_EQ(kv_.Fork(real_[i], seqs_[i].n_computed, &real_[j]), child.n_computed);
    if (shared == 0) {
      ASSERT_EQ(kv_.Extend(&real_[j], 1), model_.Available() > 0);
      if (model_.Available() == 0) {
        kv_.Free(&real_[j]);
        return;
      }
      child.pages.push_back(model_.New());
    }
    ++forks;
    seqs_[j] = std::move(child);
  }

  // Performs moves until `end` of all are over, or none is left.
  void Move(int64_t end) {
    std::vector<PageMove> taken;
    kv_.TakeMoves(&taken);
    moves_.insert(moves_.end(), taken.begin(), taken.end());
    for (; performed_ < end && !moves_.empty(); ++performed_) {
      const PageMove m = moves_.front();
      moves_.pop_front();
      if (m.to_host)
        host_[m.host_page] = content_[m.device_page];
      else
        content_[m.device_page] = host_[m.host_page];
    }
    kv_.SetMovesDone(performed_);
  }

  // Salt and every token up to position p: what the keys and values of p depend on.
  static std::string Prefix(const Model::Seq& s, int p) {
    std::string key = s.salt + "|";
    for (int i = 0; i <= p; ++i) key += static_cast<char>('a' + s.tokens[static_cast<size_t>(i)]);
    return key;
  }

  void Compare(size_t i) {
    ASSERT_EQ(kv_.n_available(), model_.Available());
    ASSERT_EQ(kv_.n_cached(), static_cast<int>(model_.unused.size()));
    ASSERT_EQ(kv_.n_host_used(), model_.n_host - model_.n_host_free);
    const KvSequence& r = real_[i];
    if (!r.active) return;
    const Model::Seq& s = seqs_[i];
    ASSERT_EQ(r.pages.size(), s.pages.size());
    if (r.ready_at > performed_ && rng_.Below(4) > 0) return;  // most moves are late
    Move(r.ready_at);
    ASSERT_GE(performed_, r.ready_at);
    for (int p = 0; p < s.n_computed; ++p) {
      ASSERT_EQ(content_[r.pages[static_cast<size_t>(p / kPageSize)]][static_cast<size_t>(p % kPageSize)],
                Prefix(s, p));
    }
  }

  Rng rng_;
  KvManager kv_;
  Model model_;
  KvSequence real_[kSequences];
  Model::Seq seqs_[kSequences];
  std::map<int32_t, std::array<std::string, kPageSize>> content_, host_;
  std::deque<PageMove> moves_;  // decided and not yet performed
  int64_t performed_ = 0;
};

void RunRandom(uint64_t seed, PrefixIndex::HashFn hash, int operations, int n_host = 0) {
  Harness h(seed, hash, n_host);
  for (int i = 0; i < operations && !::testing::Test::HasFatalFailure(); ++i) {
    h.Step();
    if (i % 64 == 0) h.CheckAll();
  }
  h.Finish();
  // The test must have met what it is about.
  EXPECT_GT(h.hits, static_cast<uint64_t>(operations) / 100);
  EXPECT_GT(h.refusals, static_cast<uint64_t>(operations) / 1000);
  EXPECT_GT(h.forks, static_cast<uint64_t>(operations) / 1000);
  EXPECT_GT(h.adoptions, static_cast<uint64_t>(operations) / 2000);
  if (n_host == 0) return;
  EXPECT_GT(h.counters().offloaded, h.counters().restored);
  EXPECT_GT(h.counters().restored, static_cast<uint64_t>(operations) / 1000);
  EXPECT_GT(h.counters().dropped, static_cast<uint64_t>(operations) / 1000);
}

TEST(KvModel, MillionRandomOperations) { RunRandom(1, &PrefixIndex::DefaultHash, kOperations); }
TEST(KvModel, ForcedHashCollisions) { RunRandom(2, &SameHash, kOperations / 10); }
TEST(KvModel, OneHostPage) { RunRandom(3, &PrefixIndex::DefaultHash, kOperations / 4, 1); }
TEST(KvModel, FewHostPages) { RunRandom(4, &PrefixIndex::DefaultHash, kOperations / 4, 9); }
TEST(KvModel, ManyHostPages) { RunRandom(5, &PrefixIndex::DefaultHash, kOperations / 2, 200); }
TEST(KvModel, HostPagesWithForcedHashCollisions) { RunRandom(6, &SameHash, kOperations / 10, 60); }

}  // namespace
}  // namespace lathe
