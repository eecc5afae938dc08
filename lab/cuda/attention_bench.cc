// Attention on one GPU: checked against double on ragged batches whose pools hold NaN wherever nothing may be
// read, then timed over the shape of Llama-3.1-8B.
//
//   attention_bench OUT.json [check] [half] [decode] [prompt]      (all when none is named)
#include "base/file.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/layer_ops.h"
#include "lab/cuda/lab.h"

namespace lathe::cuda {
namespace {

constexpr double kReadGbps = 4458;  // measured on the H200

// A pool of pages and the tables of some sequences in it.
struct Cache {
  AttentionShape shape;
  int n_pages = 0;
  std::vector<int> pages, pages_at;  // table of sequence i from pages_at[i] on
  std::vector<uint8_t> bytes;        // of the pool

  double At(int seq, int part, int kv_head, int key, int d) const {
    const int64_t page = pages[static_cast<size_t>(pages_at[static_cast<size_t>(seq)] + key / kPageSize)];
    const int64_t block = (page * shape.n_kv_heads + kv_head) * 2 + part;
    const auto at = static_cast<size_t>((block * kPageSize + key % kPageSize) * shape.head_dim + d);
    if (shape.kv_fp8) return E4m3ToFloat(bytes[at]);
    return Wide16(static_cast<uint16_t>(bytes[2 * at] | bytes[2 * at + 1] << 8), shape.f16);
  }
};

// Sequences of the given lengths in pages in random order; keys before the window, beyond the end and pages
// of nobody are NaN.
Cache MakeCache(const AttentionShape& shape, const std::vector<int>& lengths,
                const std::vector<int>& first_keys, Rng* rng) {
  Cache cache{shape, 3, {}, {}, {}};
  for (const int length : lengths) cache.n_pages += (length + kPageSize - 1) / kPageSize;
  std::vector<int> order(static_cast<size_t>(cache.n_pages));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[rng->Below(i)]);
  cache.bytes.assign(static_cast<size_t>(cache.n_pages * shape.page_bytes()), 0xff);
  size_t next = 0;
  const int size = shape.kv_fp8 ? 1 : 2;
  for (size_t s = 0; s < lengths.size(); ++s) {
    cache.pages_at.push_back(static_cast<int>(cache.pages.size()));
    for (int page = 0; page * kPageSize < lengths[s]; ++page) {
      const int id = order[next++];
      const bool freed = (page + 1) * kPageSize <= first_keys[s];
      cache.pages.push_back(freed ? order.back() : id);
      if (freed) continue;
      for (int block = 0; block < 2 * shape.n_kv_heads; ++block)
        for (int row = 0; row < std::min(kPageSize, lengths[s] - page * kPageSize); ++row)
          for (int d = 0; d < shape.head_dim; ++d) {
            const auto at = static_cast<size_t>(
                ((static_cast<int64_t>(id) * 2 * shape.n_kv_heads + block) * kPageSize + row) *
                    shape.head_dim +
                d);
            const float v = rng->Normal() * (block % 2 == 0 ? 1.5F : 1.0F);
            if (size == 1) {
              cache.bytes[at] = FloatToE4m3(v);
            } else {
              const uint16_t bits = Round16(v, shape.f16);
              std::memcpy(&cache.bytes[2 * at], &bits, 2);
            }
          }
    }
  }
  return cache;
}

// One (row, head) in double.
std::vector<double> Reference(const Cache& cache, int seq, const uint16_t* q, int kv_head, int first_key,
                              int n_keys, double scale, double v_scale) {
  const int dim = cache.shape.head_dim;
  std::vector<double> scores, out(static_cast<size_t>(dim), 0.0);
  double largest = -1e300, sum = 0;
  for (int key = first_key; key < n_keys; ++key) {
    double s = 0;
    for (int d = 0; d < dim; ++d)
      s += static_cast<double>(Wide16(q[d], cache.shape.f16)) * cache.At(seq, 0, kv_head, key, d);
    scores.push_back(s * scale);
    largest = std::max(largest, s * scale);
  }
  for (int key = first_key; key < n_keys; ++key) {
    const double p = std::exp(scores[static_cast<size_t>(key - first_key)] - largest);
    sum += p;
    for (int d = 0; d < dim; ++d) out[static_cast<size_t>(d)] += p * cache.At(seq, 1, kv_head, key, d);
  }
  for (double& v : out) v *= v_scale / sum;
  return out;
}

std::vector<uint16_t> RandomQuery(int rows, const AttentionShape& shape, Rng* rng) {
  std::vector<uint16_t> q(static_cast<size_t>(rows) * static_cast<size_t>(shape.n_heads * shape.head_dim));
  for (uint16_t& v : q) v = Round16(rng->Normal(), shape.f16);
  return q;
}

// Where parts of tiles and rows meet.
struct Partials {
  DeviceBuffer out, state, counters;
  template <typename Bounds>
  Partials(const Lab& lab, const Bounds& bounds)
      : out(lab.Allocate(std::max<int64_t>(16, bounds.partial_out_floats * 4))),
        state(lab.Allocate(std::max<int64_t>(16, bounds.partial_state_floats * 4))),
        counters(lab.Allocate(std::max<int64_t>(16, bounds.counter_words * 4))) {
    lab.FillBytes(out, 0xff);
    lab.FillBytes(state, 0xff);
    lab.FillBytes(counters, 0);
  }
};

struct Bench {
  Lab lab = Lab::Open();
  Json json = Json::object();
  int failures = 0;

  // Largest relative error of a (row, head); rows: sequence and visible keys of each row of q.
  struct Seen {
    int seq, first_key, n_keys;
  };
  double Compare(const Cache& cache, const std::vector<uint16_t>& q, const std::vector<uint16_t>& out,
                 const std::vector<Seen>& rows, double k_scale, double v_scale) {
    const AttentionShape& shape = cache.shape;
    const int dim = shape.head_dim;
    std::vector<double> errors(rows.size() * static_cast<size_t>(shape.n_heads));
    Parallel(static_cast<int>(errors.size()), [&](int i) {
      const int row = i / shape.n_heads, head = i % shape.n_heads;
      const Seen& seen = rows[static_cast<size_t>(row)];
      const size_t at = static_cast<size_t>(i) * static_cast<size_t>(dim);
      const std::vector<double> ref =
          Reference(cache, seen.seq, &q[at], head / shape.group(), seen.first_key, seen.n_keys,
                    k_scale / std::sqrt(static_cast<double>(dim)), v_scale);
      Error2 error;
      for (int d = 0; d < dim; ++d)
        error.Add(Wide16(out[at + static_cast<size_t>(d)], shape.f16), ref[static_cast<size_t>(d)]);
      errors[static_cast<size_t>(i)] = error.Relative();
    });
    double worst = 0;
    for (const double e : errors) worst = e <= worst ? worst : e;  // NaN stays
    return worst;
  }
  void Report(const std::string& name, double error, double limit) {
    const bool ok = error < limit;
    if (!ok) ++failures;
    std::printf("check %-64s %.2e %s\n", name.c_str(), error, ok ? "ok" : "WRONG");
    json["checks"].push_back({{"name", name}, {"error", error}, {"ok", ok}});
  }

  // Probabilities, q and the output are rounded to the 16-bit type.
  static double LimitOf(const AttentionShape& shape) { return shape.f16 ? 1.5e-3 : 1e-2; }

  void CheckDecode(const AttentionShape& shape, int window, int chunk_pages, bool wide, uint64_t seed) {
    Rng rng(seed);
    std::vector<int> lengths = {1, 2, 17, 63, 64, 65, 200, 1000, 1537};
    for (int i = 0; i < 4; ++i) lengths.push_back(1 + static_cast<int>(rng.Below(900)));
    std::vector<int> first_keys;
    for (const int length : lengths) first_keys.push_back(window > 0 ? std::max(0, length - window) : 0);
    const Cache cache = MakeCache(shape, lengths, first_keys, &rng);
    const auto n = static_cast<int>(lengths.size());
    const std::vector<uint16_t> q = RandomQuery(n, shape, &rng);
    DecodeSplit split = DecodeSplitOf(shape, lab.device().info().multiprocessors, wide);
    split.chunk_pages = chunk_pages;
    std::vector<DecodeRow> rows;
    std::vector<Seen> seen;
    for (int i = 0; i < n; ++i) {
      const auto s = static_cast<size_t>(i);
      rows.push_back({i, cache.pages_at[s], lengths[s]});
      seen.push_back({i, first_keys[s], lengths[s]});
    }
    DecodePlan plan;
    PlanDecode(rows, window, split, &plan);
    const DecodeBounds bounds = BoundDecode(shape, split, n, 2048);
    if (static_cast<int>(plan.pieces.size()) > bounds.pieces || plan.n_slots > bounds.slots ||
        plan.n_counters > bounds.counters)
      Report("bounds of the plan", 1, 0);
    const DeviceBuffer pool = lab.Put(cache.bytes), pages = lab.Put(cache.pages),
                       pieces = lab.Put(plan.pieces), columns = lab.Put(plan.column_first),
                       query = lab.Put(q), out = lab.Allocate(static_cast<int64_t>(q.size() * 2)),
                       partial = lab.Allocate(std::max<int64_t>(16, bounds.partial_out_floats * 4)),
                       state = lab.Allocate(std::max<int64_t>(16, bounds.partial_state_floats * 4)),
                       counters = lab.Allocate(std::max<int64_t>(16, bounds.counter_words * 4));
    lab.FillBytes(counters, 0);
    const float k_scale = shape.kv_fp8 ? 0.37F : 1.0F, v_scale = shape.kv_fp8 ? 1.7F : 1.0F;
    const DecodeParams params = {Pointer<void>(query),
                                 Pointer<void>(out),
                                 Pointer<void>(pool),
                                 Pointer<DecodePiece>(pieces),
                                 Pointer<int>(columns),
                                 Pointer<int>(pages),
                                 Pointer<float>(partial),
                                 Pointer<float>(state),
                                 Pointer<unsigned>(counters),
                                 AttentionScale(shape.head_dim, k_scale),
                                 v_scale,
                                 shape.n_kv_heads,
                                 {}};
    std::vector<uint16_t> first;
    for (int run = 0; run < 2;
         ++run) {  // twice: the counters must come back to zero, and the bits be the same
      lab.FillBytes(out, 0xff);
      lab.FillBytes(partial, 0xff);
      Lab::Must(LaunchDecode(lab.Get(DecodeKernel(shape, wide)), shape, split, params, lab.stream(), false));
      const std::vector<uint16_t> got = lab.Fetch<uint16_t>(out, q.size());
      if (run == 0) {
        first = got;
        Report(StrFormat("decode%s d%d %d/%d%s%s window %d chunk %d (%d slots)", wide ? " wide" : "",
                         shape.head_dim, shape.n_heads, shape.n_kv_heads, shape.kv_fp8 ? " fp8" : "",
                         shape.f16 ? " f16" : "", window, chunk_pages, plan.n_slots),
               Compare(cache, q, got, seen, k_scale, v_scale), LimitOf(shape));
      } else if (std::memcmp(first.data(), got.data(), got.size() * 2) != 0) {
        Report("decode: same bits in a second run", 1, 0);
      }
    }
  }

  void CheckPrompt(const AttentionShape& shape, int window, bool wgmma, bool few, uint64_t seed) {
    Rng rng(seed);
    // (rows, first position): whole prompts, chunks over cached keys, single rows.
    std::vector<std::pair<int, int>> slices = {{1, 0},     {5, 300},   {64, 0}, {130, 0},
                                               {257, 511}, {333, 100}, {1, 700}};
    slices.push_back({1 + static_cast<int>(rng.Below(300)), static_cast<int>(rng.Below(400))});
    if (few) slices = {{16, 2000}, {3, 1111}};  // tiles are cut
    std::vector<int> lengths, first_keys;
    for (const auto& [rows, position] : slices) {
      lengths.push_back(position + rows);
      first_keys.push_back(window > 0 ? std::max(0, position - window + 1) : 0);
    }
    const Cache cache = MakeCache(shape, lengths, first_keys, &rng);
    std::vector<PromptSlice> plan_slices;
    std::vector<Seen> seen;
    int n = 0;
    for (size_t s = 0; s < slices.size(); ++s) {
      plan_slices.push_back({n, slices[s].first, slices[s].second, cache.pages_at[s]});
      for (int i = 0; i < slices[s].first; ++i) {
        const int keys = slices[s].second + i + 1;
        seen.push_back({static_cast<int>(s), window > 0 ? std::max(0, keys - window) : 0, keys});
      }
      n += slices[s].first;
    }
    const std::vector<uint16_t> q = RandomQuery(n, shape, &rng);
    PromptTactic tactic = PromptTacticOf(shape, wgmma ? lab.sm() : 80, lab.device().info().multiprocessors);
    PromptPlan tiles_plan;
    PlanPrompt(shape, tactic, plan_slices, window, &tiles_plan);
    const std::vector<PromptTile>& tiles = tiles_plan.tiles;
    const Partials partials(lab, BoundPrompt(shape, tactic));
    const AttentionShape wide = {shape.head_dim, shape.n_heads, shape.n_kv_heads, false, shape.f16};
    const DeviceBuffer pool = lab.Put(cache.bytes), pages = lab.Put(cache.pages), plan = lab.Put(tiles),
                       count = lab.Put(std::vector<int>{static_cast<int>(tiles.size())}), query = lab.Put(q),
                       out = lab.Allocate(static_cast<int64_t>(q.size() * 2)),
                       widened = lab.Allocate(cache.n_pages * wide.page_bytes());
    const float k_scale = shape.kv_fp8 ? 0.37F : 1.0F, v_scale = shape.kv_fp8 ? 1.7F : 1.0F;
    const DeviceBuffer* kv = &pool;
    if (shape.kv_fp8) {
      std::vector<int> all(static_cast<size_t>(cache.n_pages));
      for (size_t i = 0; i < all.size(); ++i) all[i] = static_cast<int>(i);
      const DeviceBuffer ids = lab.Put(all), n_ids = lab.Put(std::vector<int>{cache.n_pages});
      const WidenParams params = {Pointer<void>(pool), Pointer<void>(widened), Pointer<int>(ids),
                                  Pointer<int>(n_ids)};
      Lab::Must(LaunchWiden(lab.Get(WidenKernel(shape)), params, cache.n_pages, lab.stream(), false));
      lab.Wait();
      kv = &widened;
    }
    const PromptParams params = {Pointer<void>(query),
                                 Pointer<void>(out),
                                 Pointer<void>(*kv),
                                 Pointer<PromptTile>(plan),
                                 Pointer<int>(count),
                                 Pointer<int>(pages),
                                 Pointer<float>(partials.out),
                                 Pointer<float>(partials.state),
                                 Pointer<unsigned>(partials.counters),
                                 AttentionScale(shape.head_dim, k_scale),
                                 v_scale,
                                 shape.n_kv_heads,
                                 window};
    abi::TensorMap map = {};
    if (tactic.wgmma)
      Lab::Must(EncodeTensorMap(lab.device(), PromptMap(wide, kv->address(), cache.n_pages), &map));
    lab.FillBytes(out, 0xff);
    Lab::Must(LaunchPrompt(lab.Get(PromptKernel(shape, tactic)), shape, tactic, map, params,
                           static_cast<int>(tiles.size()), lab.stream(), false));
    Report(StrFormat("prompt %s d%d %d/%d%s%s window %d (%d slots)", tactic.wgmma ? "wgmma" : "mma",
                     shape.head_dim, shape.n_heads, shape.n_kv_heads, shape.kv_fp8 ? " fp8" : "",
                     shape.f16 ? " f16" : "", window, tiles_plan.n_slots),
           Compare(cache, q, lab.Fetch<uint16_t>(out, q.size()), seen, k_scale, v_scale), LimitOf(shape));
  }

  // `half`: shapes in f16 alone.
  void Check(bool half) {
    json["checks"] = Json::array();
    const AttentionShape shapes[] = {
        {128, 8, 2, false},      {128, 8, 1, false},       {128, 16, 1, false},       {128, 3, 3, false},
        {128, 10, 2, false},     {64, 8, 2, false},        {80, 4, 4, false},         {96, 4, 2, false},
        {256, 8, 2, false},      {128, 8, 2, false, true}, {128, 16, 1, false, true}, {64, 8, 2, false, true},
        {80, 4, 4, false, true}, {256, 8, 2, false, true}};
    std::vector<KernelSource> sources;
    for (AttentionShape shape : shapes)
      for (const bool fp8 : {false, true}) {
        if (half && !shape.f16) continue;
        shape.kv_fp8 = fp8;
        for (const bool wide : {false, true}) sources.push_back(DecodeKernel(shape, wide));
        for (const int sm : {80, lab.sm()})
          sources.push_back(PromptKernel(shape, PromptTacticOf(shape, sm, 1)));
        if (fp8) sources.push_back(WidenKernel(shape));
      }
    lab.Prepare(sources);
    uint64_t seed = 1;
    for (AttentionShape shape : shapes)
      for (const bool fp8 : {false, true}) {
        if (half && !shape.f16) continue;
        shape.kv_fp8 = fp8;
        for (const bool wide : {false, true}) {
          CheckDecode(shape, 0, 0, wide, ++seed);
          CheckDecode(shape, 150, fp8 ? 0 : 4, wide, ++seed);
          CheckDecode(shape, 0, 4, wide, ++seed);
        }
        for (const bool wgmma : {false, true}) {
          if (wgmma && !PromptTacticOf(shape, lab.sm(), 1).wgmma) continue;
          CheckPrompt(shape, 0, wgmma, false, ++seed);
          CheckPrompt(shape, 150, wgmma, false, ++seed);
          if (wgmma) CheckPrompt(shape, 0, wgmma, true, ++seed);
          if (wgmma) CheckPrompt(shape, 1300, wgmma, true, ++seed);
        }
      }
  }

  void TimeDecode(const DeviceBuffer& pool, bool fp8, Json* rows) {
    const AttentionShape shape{128, 32, 8, fp8};
    const int64_t pool_pages = pool.bytes() / shape.page_bytes();
    const int multiprocessors = lab.device().info().multiprocessors;
    const DeviceBuffer query = lab.Allocate(256 * 4096 * 2), out = lab.Allocate(256 * 4096 * 2);
    lab.FillNormal(query, 1);
    const DecodeBounds bounds = BoundDecode(shape, DecodeSplitOf(shape, multiprocessors, false), 256, 32768);
    const DeviceBuffer partial = lab.Allocate(bounds.partial_out_floats * 4),
                       state = lab.Allocate(bounds.partial_state_floats * 4),
                       counters = lab.Allocate(bounds.counter_words * 4);
    lab.FillBytes(counters, 0);
    std::printf("\ndecode %s: us (GB/s, %% of %.0f)\n%6s", fp8 ? "fp8" : "bf16", kReadGbps, "batch");
    const int contexts[] = {128, 512, 1024, 2048, 4096, 8192, 32768};
    for (const int context : contexts) std::printf(" | %20d", context);
    std::printf("\n");
    for (const int batch : {1, 2, 4, 8, 16, 32, 64, 128, 256}) {
      std::printf("%6d", batch);
      const bool wide = batch <= MostWideRows(shape, multiprocessors);
      const DecodeSplit split = DecodeSplitOf(shape, multiprocessors, wide);
      for (const int context : contexts) {
        const int per_row = (context + kPageSize - 1) / kPageSize;
        const int64_t used = int64_t{batch} * per_row;
        if (used > pool_pages) {
          std::printf(" | %20s", "");
          continue;
        }
        // Launch i reads pages beside those of launch i - 1.
        const auto copies = static_cast<int>(
            std::clamp<int64_t>((512 << 20) / (used * shape.page_bytes()) + 1, 1, pool_pages / used));
        std::vector<int> table(static_cast<size_t>(used));
        Rng rng(static_cast<uint64_t>(used));
        for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int>(i);
        for (size_t i = table.size(); i > 1; --i) std::swap(table[i - 1], table[rng.Below(i)]);
        std::vector<DecodeRow> plan_rows;
        for (int i = 0; i < batch; ++i) plan_rows.push_back({i, i * per_row, context});
        DecodePlan plan;
        PlanDecode(plan_rows, 0, split, &plan);
        const DeviceBuffer pages = lab.Put(table), pieces = lab.Put(plan.pieces),
                           columns = lab.Put(plan.column_first);
        const Kernel& kernel = lab.Get(DecodeKernel(shape, wide));
        const double us = lab.Time([&](int i, bool overlap) {
          const DecodeParams params = {Pointer<void>(query),
                                       Pointer<void>(out),
                                       Pointer<void>(pool, i % copies * used * shape.page_bytes()),
                                       Pointer<DecodePiece>(pieces),
                                       Pointer<int>(columns),
                                       Pointer<int>(pages),
                                       Pointer<float>(partial),
                                       Pointer<float>(state),
                                       Pointer<unsigned>(counters),
                                       AttentionScale(128, 1),
                                       1.0F,
                                       shape.n_kv_heads,
                                       {}};
          return LaunchDecode(kernel, shape, split, params, lab.stream(), overlap);
        });
        const Cost cost = DecodeCost(shape, plan_rows, 0);
        const double gbps = cost.bytes / us / 1e3;
        std::printf(" | %8.1f %5.0f %4.0f%%", us, gbps, 100 * gbps / kReadGbps);
        rows->push_back({{"kv", fp8 ? "fp8" : "bf16"},
                         {"batch", batch},
                         {"context", context},
                         {"us", us},
                         {"gbps", gbps},
                         {"of_roof", gbps / kReadGbps}});
      }
      std::printf("\n");
    }
  }

  void TimePrompt(const DeviceBuffer& pool, Json* rows) {
    const AttentionShape shape{128, 32, 8, false};
    struct Case {
      const char* name;
      int slices, rows, position, window;
    };
    const Case cases[] = {{"1 x 512", 1, 512, 0, 0},
                          {"1 x 1024", 1, 1024, 0, 0},
                          {"1 x 2048", 1, 2048, 0, 0},
                          {"1 x 4096", 1, 4096, 0, 0},
                          {"1 x 8192", 1, 8192, 0, 0},
                          {"1 x 16384", 1, 16384, 0, 0},
                          {"8 x 1024", 8, 1024, 0, 0},
                          {"64 x 128", 64, 128, 0, 0},
                          {"2048 over 30720", 1, 2048, 30720, 0},
                          {"16 over 8192", 1, 16, 8192, 0},
                          {"64 over 32768", 1, 64, 32768, 0},
                          {"8192, window 4096", 1, 8192, 0, 4096}};
    std::printf("\nprompt, 32/8 heads of 128: us (TFLOP/s)\n");
    for (const Case& c : cases) {
      const int per_row = (c.position + c.rows + kPageSize - 1) / kPageSize;
      std::vector<int> table(static_cast<size_t>(c.slices * per_row));
      for (size_t i = 0; i < table.size(); ++i) table[i] = static_cast<int>((i * 7919) % table.size());
      std::vector<PromptSlice> slices;
      for (int i = 0; i < c.slices; ++i) slices.push_back({i * c.rows, c.rows, c.position, i * per_row});
      const int64_t elements = int64_t{c.slices} * c.rows * 4096;
      const DeviceBuffer query = lab.Allocate(elements * 2), out = lab.Allocate(elements * 2),
                         pages = lab.Put(table);
      lab.FillNormal(query, 1);
      std::printf("%-20s", c.name);
      for (int variant = 0; variant < 3; ++variant) {
        PromptTactic tactic =
            PromptTacticOf(shape, variant == 0 ? 80 : lab.sm(), lab.device().info().multiprocessors);
        if (variant > 0 && !tactic.wgmma) continue;
        KernelSource source = PromptKernel(shape, tactic);
        if (variant == 2) {
          source.entry += "_no_turns";
          source.defines.back() = "TAKE_TURNS=0";
        }
        if (variant == 2) tactic.blocks = 0;
        PromptPlan tiles_plan;
        PlanPrompt(shape, tactic, slices, c.window, &tiles_plan);
        const std::vector<PromptTile>& tiles = tiles_plan.tiles;
        const Partials partials(lab, BoundPrompt(shape, tactic));
        const DeviceBuffer plan = lab.Put(tiles),
                           count = lab.Put(std::vector<int>{static_cast<int>(tiles.size())});
        abi::TensorMap map = {};
        if (tactic.wgmma)
          Lab::Must(EncodeTensorMap(
              lab.device(), PromptMap(shape, pool.address(), pool.bytes() / shape.page_bytes()), &map));
        const PromptParams params = {Pointer<void>(query),
                                     Pointer<void>(out),
                                     Pointer<void>(pool),
                                     Pointer<PromptTile>(plan),
                                     Pointer<int>(count),
                                     Pointer<int>(pages),
                                     Pointer<float>(partials.out),
                                     Pointer<float>(partials.state),
                                     Pointer<unsigned>(partials.counters),
                                     AttentionScale(128, 1),
                                     1.0F,
                                     shape.n_kv_heads,
                                     c.window};
        const Kernel& kernel = lab.Get(source);
        const double us = lab.Time([&](int, bool overlap) {
          return LaunchPrompt(kernel, shape, tactic, map, params, static_cast<int>(tiles.size()),
                              lab.stream(), overlap);
        });
        const double tflops = PromptCost(shape, slices, c.window).flops / us / 1e6;
        static const char* const kNames[] = {"mma", "wgmma", "wgmma, no turns, not cut"};
        std::printf(" | %s %9.1f (%4.0f)", kNames[variant], us, tflops);
        rows->push_back({{"case", c.name}, {"kernel", kNames[variant]}, {"us", us}, {"tflops", tflops}});
      }
      std::printf("\n");
    }
  }
};

int Run(int argc, char** argv) {
  Bench bench;
  const auto wanted = [&](const char* name) {
    return argc == 2 ||
           std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, name) == 0; });
  };
  const bool half = argc > 2 && wanted("half");
  if (wanted("check") || half) bench.Check(half);
  if (wanted("decode") || wanted("prompt")) {
    const DeviceBuffer pool = bench.lab.Allocate(int64_t{36} << 30);
    bench.lab.FillNormal(pool, 1);
    if (wanted("prompt")) bench.TimePrompt(pool, &(bench.json["prompt"] = Json::array()));
    if (wanted("decode")) {
      Json* rows = &(bench.json["decode"] = Json::array());
      bench.TimeDecode(pool, false, rows);
      bench.TimeDecode(pool, true, rows);
    }
  }
  Lab::Must(WriteFileAtomic(argv[1], DumpJson(bench.json, 1)));
  std::printf("%d wrong\n", bench.failures);
  return bench.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lathe::cuda

int main(int argc, char** argv) {
  return lathe::cuda::LabMain(argc, argv, "attention_bench OUT.json [check] [decode] [prompt]",
                              lathe::cuda::Run);
}
