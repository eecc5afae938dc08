#include "runtime/kv/kv_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

namespace lathe {
namespace {

std::vector<int32_t> Iota(int n, int from = 0) {
  std::vector<int32_t> v(static_cast<size_t>(n));
  std::iota(v.begin(), v.end(), from);
  return v;
}

uint64_t SameHash(int32_t, uint32_t, std::span<const int32_t>) { return 42; }

TEST(BlockPool, TakesEveryPageOnceAndGivesItBack) {
  BlockPool pool(3);
  const int32_t a = pool.Take(), b = pool.Take(), c = pool.Take();
  EXPECT_EQ(pool.Take(), -1);
  EXPECT_TRUE(a != b && b != c && a != c);
  pool.Ref(b);
  EXPECT_EQ(pool.Unref(b), 1);
  EXPECT_EQ(pool.Unref(b), 0);
  EXPECT_EQ(pool.n_free(), 0);  // parked
  pool.Release(b);
  EXPECT_EQ(pool.n_free(), 1);
  pool.CheckInvariants();
  EXPECT_EQ(pool.Take(), b);
}

TEST(BlockPoolDeathTest, CatchesDoubleRelease) {
  BlockPool pool(2);
  const int32_t page = pool.Take();
  EXPECT_EQ(pool.Unref(page), 0);
  pool.Release(page);
  EXPECT_DEATH(pool.Release(page), "is_free");
  EXPECT_DEATH(pool.Unref(page), "is_free");
}

TEST(KvManager, NeverFindsTheWholePrompt) {
  KvManager kv(16, 4);
  for (int n : {1, 3, 4, 5, 8, 9}) {
    KvSequence first, again;
    const auto tokens = Iota(n, 100 * n);
    ASSERT_EQ(kv.Admit(&first, tokens, "", true, 0), 0);
    kv.Commit(&first, tokens, n);
    kv.Free(&first);
    EXPECT_EQ(kv.Admit(&again, tokens, "", true, 0), (n - 1) / 4 * 4) << n;
    EXPECT_EQ(static_cast<int>(again.pages.size()), (n + 3) / 4);
    kv.Free(&again);
  }
  EXPECT_EQ(kv.n_used(), 0);
}

TEST(KvManager, SaltsIsolate) {
  for (const auto hash : {&PrefixIndex::DefaultHash, &SameHash}) {
    KvManager kv(64, 4, {.prefix_cache = true, .hash = hash});
    const auto tokens = Iota(9);
    std::vector<KvSequence> seqs(6);
    const std::string salts[] = {"", "a", "b", "", "a", "c"};
    const int found[] = {0, 0, 0, 8, 8, 0};
    for (size_t i = 0; i < seqs.size(); ++i) {
      EXPECT_EQ(kv.Admit(&seqs[i], tokens, salts[i], true, 0), found[i]) << i;
      kv.Commit(&seqs[i], tokens, 9);
    }
    EXPECT_EQ(seqs[0].pages[0], seqs[3].pages[0]);
    EXPECT_NE(seqs[0].pages[0], seqs[1].pages[0]);
    std::vector<const KvSequence*> live;
    for (auto& s : seqs) live.push_back(&s);
    kv.CheckInvariants(live);
    for (auto& s : seqs) kv.Free(&s);
    kv.CheckInvariants({});
  }
}

TEST(KvManager, PrefixIsMatchedFromTheStartOnly) {
  for (const auto hash : {&PrefixIndex::DefaultHash, &SameHash}) {
    KvManager kv(64, 2, {.prefix_cache = true, .hash = hash});
    KvSequence a, b;
    const std::vector<int32_t> ta = {1, 2, 3, 4, 5, 6, 7}, tb = {9, 9, 3, 4, 5, 6, 7};
    kv.Admit(&a, ta, "", true, 0);
    kv.Commit(&a, ta, 7);
    EXPECT_EQ(kv.Admit(&b, tb, "", true, 0), 0);  // the same pages after another first page
    kv.Commit(&b, tb, 7);
    for (int i = 0; i < 3; ++i) EXPECT_NE(a.pages[static_cast<size_t>(i)], b.pages[static_cast<size_t>(i)]);
    kv.Free(&a);
    kv.Free(&b);
  }
}

TEST(KvManager, CacheOffOrRefusedFindsNothing) {
  const auto tokens = Iota(9);
  KvManager off(8, 4, {.prefix_cache = false});
  KvManager on(8, 4);
  for (KvManager* kv : {&off, &on}) {
    for (int round = 0; round < 2; ++round) {
      KvSequence seq;
      EXPECT_EQ(kv->Admit(&seq, tokens, "", kv == &off, 0), 0);
      kv->Commit(&seq, tokens, 9);
      EXPECT_EQ(kv->Adopt(&seq, tokens, 0), 0);
      kv->Free(&seq);
      EXPECT_EQ(kv->n_cached(), 0);
    }
  }
}

TEST(KvManager, AdmitIsAllOrNothing) {
  KvManager kv(4, 4);
  KvSequence a, b;
  EXPECT_EQ(kv.Admit(&a, Iota(17), "", true, 0), -1);
  EXPECT_EQ(kv.Admit(&a, Iota(16), "", true, 1), -1);
  EXPECT_EQ(kv.n_available(), 4);
  EXPECT_FALSE(a.active);
  EXPECT_EQ(kv.Admit(&a, Iota(12), "", true, 1), 0);
  kv.Commit(&a, Iota(12), 12);
  EXPECT_FALSE(kv.Extend(&a, 17));
  EXPECT_TRUE(kv.Extend(&a, 16));
  EXPECT_EQ(kv.Admit(&b, Iota(12), "", true, 0), -1);  // two pages are shared, the third is not there
  kv.Free(&a);
  EXPECT_EQ(kv.n_cached(), 3);
  // Three cached pages: two are found and revived, so two remain for the third page and the reserve.
  EXPECT_EQ(kv.Admit(&b, Iota(12), "", true, 2), -1);
  EXPECT_EQ(kv.Admit(&b, Iota(12), "", true, 1), 8);
  kv.Free(&b);
}

TEST(KvManager, EvictsTheOldestLeafFirst) {
  KvManager kv(6, 2);
  KvSequence a, b;
  const std::vector<int32_t> ta = {1, 1, 2, 2, 3, 3}, tb = {1, 1, 4, 4, 5, 5};
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 6);
  kv.Free(&a);
  EXPECT_EQ(kv.Admit(&b, tb, "", true, 0), 2);
  kv.Commit(&b, tb, 6);
  kv.Free(&b);  // cached: 1 -> {2 -> 3, 4 -> 5}, one page free
  KvSequence c;
  EXPECT_EQ(kv.Admit(&c, std::vector<int32_t>{7, 7, 8, 8}, "", false, 0), 0);  // takes the free one and "3"
  KvSequence probe;
  EXPECT_EQ(kv.Admit(&probe, std::vector<int32_t>{1, 1, 2, 2, 3, 3, 0}, "", true, 0), 4);
  kv.CheckInvariants(std::vector<const KvSequence*>{&c, &probe});
  kv.Free(&c);
  kv.Free(&probe);
  kv.DropCache();
  EXPECT_EQ(kv.n_available(), 6);
  EXPECT_EQ(kv.n_cached(), 0);
}

TEST(KvManager, CommitSwapsEqualContent) {
  KvManager kv(8, 2);
  KvSequence a, b;
  const auto tokens = Iota(5);
  kv.Admit(&a, tokens, "", true, 0);
  kv.Admit(&b, tokens, "", true, 0);  // at once: nothing is committed yet
  EXPECT_EQ(kv.n_used(), 6);
  kv.Commit(&a, tokens, 5);
  kv.Commit(&b, tokens, 5);
  EXPECT_EQ(kv.n_used(), 4);
  EXPECT_EQ(a.pages[1], b.pages[1]);
  EXPECT_NE(a.pages[2], b.pages[2]);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a, &b});
  kv.Free(&a);
  kv.Free(&b);
}

TEST(KvManager, AdoptTakesWhatOthersComputed) {
  KvManager kv(16, 2);
  KvSequence a, b;
  const auto tokens = Iota(8);
  kv.Admit(&a, tokens, "", true, 0);
  kv.Admit(&b, tokens, "", true, 0);
  kv.Commit(&a, tokens, 4);
  EXPECT_EQ(kv.Adopt(&b, tokens, 0), 4);
  kv.Commit(&a, tokens, 8);
  EXPECT_EQ(kv.Adopt(&b, tokens, 4), 6);  // not the last page: one token must be computed
  EXPECT_EQ(kv.n_used(), 5);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a, &b});
  kv.Free(&a);
  kv.Free(&b);
}

TEST(KvManager, DiscardForgetsWhatNobodyElseHolds) {
  KvManager kv(16, 2);
  KvSequence a, b;
  const std::vector<int32_t> ta = {1, 1, 2, 2, 3, 3}, tb = {1, 1, 4, 4, 5};
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 6);
  kv.Admit(&b, tb, "", true, 0);
  kv.Commit(&b, tb, 5);
  kv.Discard(&a);  // 1 is held by b, too
  kv.CheckInvariants(std::vector<const KvSequence*>{&b});
  EXPECT_EQ(kv.n_cached(), 0);
  EXPECT_EQ(kv.Admit(&a, ta, "", true, 0), 2);
  kv.Commit(&a, ta, 6);
  kv.Free(&b);  // 4 stays cached, on 1
  kv.Discard(&a);
  kv.CheckInvariants({});
  EXPECT_EQ(kv.n_cached(), 2);
}

std::vector<PageMove> Moves(KvManager* kv) {
  std::vector<PageMove> moves;
  kv->TakeMoves(&moves);
  return moves;
}

TEST(KvManager, WhatIsTakenBackGoesToHostMemoryAndComesBack) {
  KvManager kv(4, 2, {.host_pages = 4});
  KvSequence a, b;
  const std::vector<int32_t> ta = {1, 1, 2, 2, 3, 3, 9}, tb = {4, 4, 5, 5, 6};
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 7);
  const std::vector<int32_t> pages = a.pages;
  kv.Free(&a);
  EXPECT_TRUE(Moves(&kv).empty());
  EXPECT_EQ(kv.Admit(&b, tb, "", true, 0), 0);  // the free page, and those of 3 and 2
  const std::vector<PageMove> out = Moves(&kv);
  ASSERT_EQ(out.size(), 2u);
  EXPECT_TRUE(out[0].to_host && out[1].to_host);
  EXPECT_EQ(out[0].device_page, pages[2]);
  EXPECT_EQ(out[1].device_page, pages[1]);
  EXPECT_NE(out[0].host_page, out[1].host_page);
  EXPECT_EQ(b.ready_at, 2);  // it writes where they lie
  EXPECT_EQ(kv.n_host_used(), 2);
  kv.CheckInvariants(std::vector<const KvSequence*>{&b});
  kv.Commit(&b, tb, 5);
  kv.Free(&b);
  kv.SetMovesDone(2);

  EXPECT_EQ(kv.Admit(&a, ta, "", true, 0), 6);  // one on the device, two of host memory
  const std::vector<PageMove> back = Moves(&kv);
  ASSERT_EQ(back.size(), 4u);  // the pages of b leave for them
  EXPECT_EQ(std::ranges::count(back, false, &PageMove::to_host), 2);
  for (const PageMove& m : back) {
    if (!m.to_host && m.device_page == a.pages[1]) {
      EXPECT_EQ(m.host_page, out[1].host_page);
    }
    if (!m.to_host && m.device_page == a.pages[2]) {
      EXPECT_EQ(m.host_page, out[0].host_page);
    }
  }
  EXPECT_EQ(a.ready_at, 6);
  EXPECT_EQ(kv.n_host_used(), 2);
  EXPECT_EQ(kv.counters().offloaded, 4u);
  EXPECT_EQ(kv.counters().restored, 2u);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a});
  kv.Free(&a);
  kv.DropCache();
  EXPECT_EQ(kv.n_host_used(), 0);
  EXPECT_EQ(kv.n_available(), 4);
}

TEST(KvManager, HostMemoryForgetsTheOldestLeafFirst) {
  KvManager kv(3, 2, {.host_pages = 2});
  KvSequence a, b;
  const std::vector<int32_t> ta = {1, 1, 2, 2, 3, 3}, tb = {4, 4, 5, 5, 6, 6};
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 6);
  kv.Free(&a);
  kv.Admit(&b, tb, "", true, 0);  // 3 and 2 leave, then 1, for which 3 is forgotten
  EXPECT_EQ(kv.counters().dropped, 1u);
  kv.Free(&b);
  EXPECT_EQ(kv.Admit(&a, ta, "", true, 0), 4);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a});
}

TEST(KvManager, CopiesAheadOfNeedAndOnlyThen) {
  KvManager kv(32, 2, {.host_pages = 40});
  KvSequence a, b;
  const auto ta = Iota(60);
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 60);
  kv.CopyAhead();
  EXPECT_TRUE(Moves(&kv).empty());  // nothing is cached
  const std::vector<int32_t> pages = a.pages;
  kv.Free(&a);
  kv.CopyAhead();
  const std::vector<PageMove> ahead = Moves(&kv);
  ASSERT_EQ(ahead.size(), 2u);  // four are to be had without waiting, two are free
  EXPECT_EQ(ahead[0].device_page, pages[29]);
  EXPECT_EQ(ahead[1].device_page, pages[28]);
  kv.CopyAhead();
  EXPECT_TRUE(Moves(&kv).empty());
  kv.SetMovesDone(2);
  EXPECT_EQ(kv.Admit(&b, Iota(8, 100), "", true, 0), 0);
  EXPECT_TRUE(Moves(&kv).empty());
  EXPECT_LE(b.ready_at, kv.moves_done());
  EXPECT_TRUE(kv.Extend(&b, 10));  // the fifth was not copied ahead
  EXPECT_EQ(Moves(&kv).size(), 1u);
  EXPECT_EQ(b.ready_at, 3);
  kv.CheckInvariants(std::vector<const KvSequence*>{&b});
}

TEST(KvManager, WhatIsComputedAgainLeavesHostMemory) {
  KvManager kv(4, 2, {.host_pages = 4});
  KvSequence a, b, c;
  const std::vector<int32_t> ta = {1, 1, 2, 2}, tb = {1, 1, 2, 2, 3, 3};
  kv.Admit(&a, ta, "", true, 0);
  kv.Commit(&a, ta, 4);
  kv.Free(&a);
  kv.Admit(&c, Iota(8, 50), "", false, 0);  // takes all: both leave
  EXPECT_EQ(kv.n_host_used(), 2);
  kv.Free(&c);
  ASSERT_EQ(kv.Admit(&a, ta, "", true, 0), 2);  // 2 stays in host memory, since it is the last page
  EXPECT_EQ(kv.n_host_used(), 1);
  kv.Commit(&a, ta, 4);
  EXPECT_EQ(kv.n_host_used(), 0);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a});
  EXPECT_EQ(kv.Admit(&b, tb, "", true, 0), 4);
  EXPECT_EQ(b.pages[1], a.pages[1]);
  kv.CheckInvariants(std::vector<const KvSequence*>{&a, &b});
}

TEST(KvManager, AdoptBringsPagesBackIntoItsOwn) {
  KvManager kv(6, 2, {.host_pages = 6});
  KvSequence a, b, c;
  const auto tokens = Iota(6);
  kv.Admit(&a, tokens, "", true, 0);
  kv.Admit(&b, tokens, "", true, 0);
  kv.Commit(&a, tokens, 6);
  kv.Free(&a);
  kv.Admit(&c, Iota(6, 50), "", false, 0);  // the three pages of a leave
  Moves(&kv);
  const std::vector<int32_t> own = b.pages;
  EXPECT_EQ(kv.Adopt(&b, tokens, 0), 4);
  EXPECT_EQ(b.pages, own);
  const std::vector<PageMove> back = Moves(&kv);
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back[1].device_page, own[1]);
  EXPECT_EQ(b.ready_at, 5);
  kv.CheckInvariants(std::vector<const KvSequence*>{&b, &c});
}

TEST(KvManager, ForkSharesFullPagesOnly) {
  KvManager kv(16, 4);
  KvSequence parent, child;
  const auto tokens = Iota(10);
  kv.Admit(&parent, tokens, "s", true, 0);
  kv.Commit(&parent, tokens, 10);
  EXPECT_EQ(kv.Fork(parent, 10, &child), 8);
  EXPECT_EQ(child.pages.size(), 2u);
  EXPECT_TRUE(kv.Extend(&child, 11));
  EXPECT_EQ(kv.n_used(), 4);
  EXPECT_NE(child.pages[2], parent.pages[2]);
  kv.Free(&parent);
  kv.CheckInvariants(std::vector<const KvSequence*>{&child});
  kv.Free(&child);
  EXPECT_EQ(kv.n_cached(), 2);
}

}  // namespace
}  // namespace lathe
