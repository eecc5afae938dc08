// What a decode step of few tokens does inside its products and its attention instead of in kernels of their
// own: checked bit for bit against those kernels, then timed layer by layer, both ways in the same run.
//
//   decode_bench OUT.json [check] [time]      (both when none is named)
//
// Method of time: the layers of Llama-3.1-8B's shape, each with weights of its own, in one graph with
// programmatic dependent launch; tactics by coordinate descent over that graph, for each way of its own.
#include "base/file.h"
#include "kernels/cuda/decode_stand_in.h"
#include "kernels/cuda/layer_ops.h"
#include "lab/cuda/lab.h"

namespace lathe::cuda {
namespace {

constexpr int kHidden = 4096, kFfn = 14336, kQkv = 6144;
constexpr int kTokens[] = {1, 4};
constexpr int kLayers = 8, kModelLayers = 32;

std::vector<float> Normals(size_t n, float mean, float deviation, Rng* rng) {
  std::vector<float> out(n);
  for (float& v : out) v = mean + deviation * rng->Normal();
  return out;
}
std::vector<Bf16> Round(const std::vector<float>& in) {
  std::vector<Bf16> out(in.size());
  std::transform(in.begin(), in.end(), out.begin(), [](float v) { return ToBf16(v); });
  return out;
}

const char* Name(GemmPrologue prologue) { return prologue == GemmPrologue::kNorm ? "norm" : "quantize"; }

// A way to compute a layer: what does the work of the small kernels.
struct Way {
  const char* name;
  bool products, attention;  // that do the others' work
  int late;                  // of products, the largest
};
constexpr Way kWays[] = {{"separate kernels", false, false, 0}, {"in products", true, false, 0},
                         {"in attention", false, true, 0},      {"in both", true, true, 0},
                         {"in both, late", true, true, 1},      {"in both, later", true, true, 2}};

struct Bench {
  Lab lab = Lab::Open();
  Json json = Json::object();
  int failures = 0;

  GemmChip chip() const { return ChipOf(lab.device().info()); }
  void Report(const std::string& name, bool ok) {
    if (!ok) ++failures;
    std::printf("check %-70s %s\n", name.c_str(), ok ? "the same bits" : "WRONG");
    json["checks"].push_back({{"name", name}, {"ok", ok}});
  }

  // ---- products with a prologue against the prologue's own kernel and the plain product ----

  struct Product {
    GemmProblem problem;
    std::vector<GemmTactic> tactics;
  };
  std::vector<Product> Products() const {
    std::vector<Product> out;
    int epilogue = 0;
    for (const auto& [type, prologue] :
         {std::pair(GemmType::kBf16, GemmPrologue::kNorm), std::pair(GemmType::kE4m3, GemmPrologue::kNorm),
          std::pair(GemmType::kE4m3, GemmPrologue::kQuantize)})
      for (const int k : {896, 4096, 5120, 14336})
        for (const int m : {1, 2, 3, 4}) {
          const GemmProblem p{type, static_cast<GemmEpilogue>(epilogue++ % 4), m, 1152, k, prologue};
          std::vector<GemmTactic> tactics = GemmCandidates(p, chip());
          if (tactics.empty()) continue;
          if (k != kHidden || m != 1) tactics = {tactics.front(), tactics.back()};
          out.push_back({p, tactics});
        }
    return out;
  }

  static KernelSource KernelBefore(const GemmProblem& p) {
    if (p.prologue == GemmPrologue::kQuantize) return QuantizeKernel(p.k, false);
    return NormKernel(VariantOf(p));
  }
  static NormVariant VariantOf(const GemmProblem& p) {
    return {.hidden = p.k,
            .delta = NormVariant::kNone,
            .out = p.type == GemmType::kE4m3 ? NormVariant::kE4m3 : NormVariant::k16,
            .gather = false};
  }
  static GemmProblem Plain(GemmProblem p) {
    p.prologue = GemmPrologue::kPlain;
    return p;
  }

  void CheckProduct(const Product& product, uint64_t seed) {
    const GemmProblem& p = product.problem;
    Rng rng(seed);
    const auto m = static_cast<size_t>(p.m), n = static_cast<size_t>(p.n), k = static_cast<size_t>(p.k);
    const bool fp8 = p.type == GemmType::kE4m3;
    std::vector<float> rows = Normals(m * k, 0, 1, &rng);
    rows[rng.Below(k)] = 80;  // an outlier
    if (m > 1)
      std::fill(rows.begin() + static_cast<std::ptrdiff_t>(k),
                rows.begin() + 2 * static_cast<std::ptrdiff_t>(k), 0.0F);
    const DeviceBuffer x = p.prologue == GemmPrologue::kNorm ? lab.Put(rows) : lab.Put(Round(rows));
    const DeviceBuffer gain = lab.Put(Normals(k, 1, 0.2F, &rng)),
                       made = lab.Allocate(static_cast<int64_t>(m * k * 2)), scales = lab.Allocate(64),
                       w = lab.Allocate(static_cast<int64_t>(n * k * 2)),
                       w_scale = lab.Put(Normals(n, 1, 0.1F, &rng)), bias = lab.Put(Normals(n, 0, 1, &rng)),
                       residual = lab.Put(Normals(m * n, 0, 1, &rng));
    const auto bytes = static_cast<size_t>(p.m * p.columns() * p.out_bytes());
    const DeviceBuffer y = lab.Allocate(static_cast<int64_t>(bytes));
    if (fp8) {
      std::vector<uint8_t> weights(n * k);
      for (uint8_t& v : weights) v = FloatToE4m3(rng.Normal());
      lab.Upload(w, weights);
    } else {
      lab.FillNormal(w, 1);
    }
    const Kernel& before = lab.Get(KernelBefore(p));
    if (p.prologue == GemmPrologue::kQuantize)
      Lab::Must(LaunchQuantize(before, p.k, {Pointer<void>(x), Pointer<void>(made), Pointer<float>(scales)},
                               p.m, lab.stream(), false));
    else
      Lab::Must(LaunchNorm(before, VariantOf(p),
                           {Pointer<float>(x), nullptr, Pointer<float>(gain), Pointer<void>(made),
                            Pointer<float>(scales), nullptr, 0, 1, 1e-5F},
                           p.m, lab.stream(), false));
    GemmArgs args = {};
    args.w = w.address();
    args.y = y.address();
    args.w_scale = w_scale.address();
    args.w_scale_step = 1;
    args.bias = p.epilogue == GemmEpilogue::kF32 ? bias.address() : 0;
    args.residual = residual.address();
    args.m = p.m;
    args.n = p.n;
    args.k = p.k;
    args.y_stride = p.columns();
    for (const GemmTactic& tactic : product.tactics) {
      const auto run = [&](const GemmProblem& problem, const GemmArgs& own) {
        lab.FillBytes(y, 0xff);
        const Gemm gemm = Lab::Must(Gemm::Bind(lab.Get(GemmKernel(tactic, problem)), tactic, problem, own));
        Lab::Must(gemm.Launch(problem.m, lab.stream(), false));
        return lab.Fetch<uint8_t>(y, bytes);
      };
      GemmArgs plain = args, folded = args;
      plain.x = made.address();
      plain.x_scale = scales.address();
      folded.x = x.address();
      folded.gain = gain.address();
      folded.eps = 1e-5F;
      const std::vector<uint8_t> want = run(Plain(p), plain), got = run(p, folded);
      const bool poisoned = std::all_of(want.end() - 4, want.end(), [](uint8_t v) { return v == 0xff; });
      Report(StrFormat("%s m %d k %d %s", Name(p.prologue), p.m, p.k, GemmKernel(tactic, p).entry.c_str()),
             want == got && !poisoned);
    }
  }

  void CheckProducts() {
    const std::vector<Product> products = Products();
    std::vector<KernelSource> sources;
    for (const Product& product : products) {
      sources.push_back(KernelBefore(product.problem));
      for (const GemmTactic& t : product.tactics) {
        sources.push_back(GemmKernel(t, product.problem));
        sources.push_back(GemmKernel(t, Plain(product.problem)));
      }
    }
    lab.Prepare(sources);
    uint64_t seed = 1;
    for (const Product& product : products) CheckProduct(product, ++seed);
  }

  // ---- attention with rotation and append in it against the two kernels ----

  void CheckAttention(const AttentionShape& shape, const RopeVariant& rope, int window, int chunk_pages,
                      uint64_t seed) {
    Rng rng(seed);
    std::vector<int> lengths = {1, 2, 17, 63, 64, 65, 128, 129, 200, 1000, 1537};
    for (int i = 0; i < 4; ++i) lengths.push_back(1 + static_cast<int>(rng.Below(900)));
    const auto n = static_cast<int>(lengths.size());
    std::vector<int> table;
    std::vector<DecodeRow> rows;
    std::vector<StepRow> step;
    for (int i = 0; i < n; ++i) {
      const int length = lengths[static_cast<size_t>(i)];
      rows.push_back({i, static_cast<int>(table.size()), length});
      for (int page = 0; page * kPageSize < length; ++page) table.push_back(static_cast<int>(table.size()));
    }
    const auto n_pages = static_cast<int>(table.size()) + 2;
    for (size_t i = table.size(); i > 1; --i) std::swap(table[i - 1], table[rng.Below(i)]);
    for (const DecodeRow& row : rows) {
      const int last = row.n_keys - 1;
      step.push_back(
          {0, last,
           table[static_cast<size_t>(row.pages_at + last / kPageSize)] * kPageSize + last % kPageSize, 0});
    }
    // Old keys are numbers; the new one's place, and what is beyond it, NaN.
    const auto element = static_cast<size_t>(shape.kv_fp8 ? 1 : 2);
    std::vector<uint8_t> pool(static_cast<size_t>(n_pages * shape.page_bytes()), 0xff);
    const size_t row_bytes = static_cast<size_t>(shape.head_dim) * element;
    std::vector<uint8_t> noise(row_bytes * 1009);
    for (size_t i = 0; i < noise.size(); i += element) {
      const float v = rng.Normal();
      const uint16_t bits = ToBf16(v).bits;
      if (shape.kv_fp8) noise[i] = FloatToE4m3(v);
      if (!shape.kv_fp8) std::memcpy(&noise[i], &bits, 2);
    }
    size_t next = 0;
    for (const DecodeRow& row : rows)
      for (int key = 0; key + 1 < row.n_keys; ++key)
        for (int block = 0; block < 2 * shape.n_kv_heads; ++block) {
          const int64_t page = table[static_cast<size_t>(row.pages_at + key / kPageSize)];
          const int64_t to = (page * 2 * shape.n_kv_heads + block) * kPageSize + key % kPageSize;
          std::memcpy(&pool[static_cast<size_t>(to) * row_bytes], &noise[next++ % 1009 * row_bytes],
                      row_bytes);
        }
    const auto count = static_cast<size_t>(n * (shape.n_heads + 2 * shape.n_kv_heads) * shape.head_dim);
    const std::vector<float> qkv_values = Normals(count, 0, 1, &rng);
    const DeviceBuffer qkv = rope.qkv_f32 ? lab.Put(qkv_values) : lab.Put(Round(qkv_values));
    const auto angles = static_cast<size_t>(n * rope.rotary_dim / 2);
    const DeviceBuffer cos = lab.Put(Normals(angles, 0, 0.7F, &rng)),
                       sin = lab.Put(Normals(angles, 0, 0.7F, &rng)),
                       q_gain = lab.Put(Normals(static_cast<size_t>(shape.head_dim), 1, 0.2F, &rng)),
                       k_gain = lab.Put(Normals(static_cast<size_t>(shape.head_dim), 1, 0.2F, &rng));
    DecodeSplit split = DecodeSplitOf(shape, lab.device().info().multiprocessors, true);
    split.chunk_pages = chunk_pages;
    DecodePlan plan;
    PlanDecode(rows, window, split, &plan);
    const DecodeBounds bounds = BoundDecode(shape, split, n, 8192);
    const auto size = static_cast<size_t>(n * shape.n_heads * shape.head_dim);
    const auto some = [&](int64_t bytes) { return lab.Allocate(std::max<int64_t>(16, bytes)); };
    const DeviceBuffer pages = lab.Put(table), pieces = lab.Put(plan.pieces),
                       columns = lab.Put(plan.column_first), where = lab.Put(step),
                       q = some(static_cast<int64_t>(size) * 2), out = some(static_cast<int64_t>(size) * 2),
                       kv = some(static_cast<int64_t>(pool.size())),
                       partial = some(bounds.partial_out_floats * 4),
                       state = some(bounds.partial_state_floats * 4),
                       counters = some(bounds.counter_words * 4);
    lab.FillBytes(counters, 0);
    DecodeParams p = {};
    p.q = Pointer<void>(q);
    p.out = Pointer<void>(out);
    p.kv = Pointer<void>(kv);
    p.pieces = Pointer<DecodePiece>(pieces);
    p.column_first = Pointer<int>(columns);
    p.pages = Pointer<int>(pages);
    p.partial_out = Pointer<float>(partial);
    p.partial_state = Pointer<float>(state);
    p.counters = Pointer<unsigned>(counters);
    p.scale = AttentionScale(shape.head_dim, 1);
    p.v_scale = 1;
    p.n_kv_heads = shape.n_kv_heads;
    p.rope = {.rows = Pointer<StepRow>(where),
              .qkv = Pointer<void>(qkv),
              .bias = nullptr,
              .q_gain = Pointer<float>(q_gain),
              .k_gain = Pointer<float>(k_gain),
              .cos = Pointer<float>(cos),
              .sin = Pointer<float>(sin),
              .q = Pointer<void>(q),
              .kv = Pointer<void>(kv),
              .eps = 1e-6F,
              .inverse_k_scale = 1,
              .inverse_v_scale = 1,
              .n_rows = n,
              .n_heads = shape.n_heads,
              .n_kv_heads = shape.n_kv_heads};
    std::vector<Bf16> outs[2];
    std::vector<uint8_t> pools[2];
    for (const int folded : {0, 1, 1}) {
      lab.Upload(kv, pool);
      for (const DeviceBuffer* buffer : {&q, &out, &partial}) lab.FillBytes(*buffer, 0xff);
      if (folded == 0) Lab::Must(LaunchRope(lab.Get(RopeKernel(rope)), rope, p.rope, lab.stream(), false));
      Lab::Must(LaunchDecode(lab.Get(folded == 0 ? DecodeKernel(shape, true) : DecodeRopeKernel(shape, rope)),
                             shape, split, p, lab.stream(), false));
      outs[folded] = lab.Fetch<Bf16>(out, size);
      pools[folded] = lab.Fetch<uint8_t>(kv, pool.size());
    }
    const bool finite =
        std::all_of(outs[0].begin(), outs[0].end(), [](Bf16 v) { return std::isfinite(ToFloat(v)); });
    const auto same = [](Bf16 a, Bf16 b) { return a.bits == b.bits; };
    Report(StrFormat("%s window %d chunk %d: out", DecodeRopeKernel(shape, rope).entry.c_str(), window,
                     chunk_pages),
           finite && std::equal(outs[0].begin(), outs[0].end(), outs[1].begin(), same));
    Report(StrFormat("%s window %d chunk %d: pages", DecodeRopeKernel(shape, rope).entry.c_str(), window,
                     chunk_pages),
           pools[0] == pools[1] && pools[0] != pool);
  }

  void CheckAttentions() {
    uint64_t seed = 100;
    struct Case {
      AttentionShape shape;
      RopeVariant rope;
    };
    std::vector<Case> cases;
    std::vector<KernelSource> sources;
    for (const bool fp8 : {false, true})
      for (const Case& c :
           {Case{{128, 32, 8}, {128, 128, true, false, false}},
            Case{{128, 40, 8}, {128, 128, true, false, true}},
            Case{{64, 14, 2}, {64, 64, false, false, false}},
            Case{{80, 32, 32}, {80, 32, true, false, false}}, Case{{96, 24, 8}, {96, 96, true, false, true}},
            Case{{128, 32, 2}, {128, 64, true, false, false}},
            Case{{256, 16, 4}, {256, 256, true, false, false}}}) {
        cases.push_back(c);
        cases.back().shape.kv_fp8 = cases.back().rope.kv_fp8 = fp8;
        sources.push_back(RopeKernel(cases.back().rope));
        sources.push_back(DecodeKernel(cases.back().shape, true));
        sources.push_back(DecodeRopeKernel(cases.back().shape, cases.back().rope));
      }
    lab.Prepare(sources);
    for (const Case& c : cases) {
      CheckAttention(c.shape, c.rope, 0, 0, ++seed);
      if (c.shape.n_heads == 32) CheckAttention(c.shape, c.rope, 100, 0, ++seed);
      if (c.shape.n_heads == 32) CheckAttention(c.shape, c.rope, 0, 4, ++seed);
    }
  }

  // ---- layers ----

  // The products of a layer for m tokens, in order.
  static std::vector<GemmProblem> LayerOf(bool fp8, int m, bool prologues) {
    const GemmType type = fp8 ? GemmType::kE4m3 : GemmType::kBf16;
    const GemmPrologue norm = prologues ? GemmPrologue::kNorm : GemmPrologue::kPlain;
    const GemmPrologue quantize = prologues && fp8 ? GemmPrologue::kQuantize : GemmPrologue::kPlain;
    return {{type, GemmEpilogue::kF32, m, kQkv, kHidden, norm},
            {type, GemmEpilogue::kAddF32, m, kHidden, kHidden, quantize},
            {type, GemmEpilogue::kSiluBf16, m, 2 * kFfn, kHidden, norm},
            {type, GemmEpilogue::kAddF32, m, kHidden, kFfn, quantize}};
  }
  std::vector<GemmTactic> TacticsOf(const GemmProblem& p, int late) const {
    std::vector<GemmTactic> tactics = GemmCandidates(p, chip());
    std::erase_if(tactics, [](const GemmTactic& t) { return t.kind != GemmKind::kStream; });
    std::erase_if(tactics, [&](const GemmTactic& t) { return t.late > late; });
    for (GemmTactic& t : tactics)
      if (t.late > 0) t.late = late;
    return tactics;
  }

  struct Small {
    NormVariant norm_variant;
    Kernel norm, quantize_hidden, quantize_ffn;
    DeviceBuffer rows, gain, out, scales;
  };

  // Microseconds of a layer.
  double TimeLayer(GemmMeasurer* measurer, const Small& small, DecodeStandIn* attention, const Way& way,
                   const std::vector<GemmProblem>& layer, const std::vector<GemmTactic>& tactics) {
    const bool fp8 = layer[0].type == GemmType::kE4m3;
    const int m = layer[0].m;
    std::vector<std::pair<GemmProblem, GemmTactic>> sequence;
    for (int i = 0; i < kLayers * 4; ++i)
      sequence.push_back({layer[static_cast<size_t>(i % 4)], tactics[static_cast<size_t>(i % 4)]});
    const abi::Stream stream = measurer->stream().get();
    const auto quantize = [&](const Kernel& kernel, int columns, bool overlap) {
      return LaunchQuantize(
          kernel, columns,
          {Pointer<void>(small.rows), Pointer<void>(small.out), Pointer<float>(small.scales)}, m, stream,
          overlap);
    };
    const auto between = [&](int i, bool overlap) -> Status {
      if (i % 4 == 1) {
        LATHE_RETURN_IF_ERROR(attention->Launch(overlap, !way.attention));
        return fp8 && !way.products ? quantize(small.quantize_hidden, kHidden, true) : Status::Ok();
      }
      if (way.products || (i % 4 == 3 && !fp8)) return Status::Ok();
      if (i % 4 == 3) return quantize(small.quantize_ffn, kFfn, overlap);
      return LaunchNorm(small.norm, small.norm_variant,
                        {Pointer<float>(small.rows), nullptr, Pointer<float>(small.gain),
                         Pointer<void>(small.out), Pointer<float>(small.scales), nullptr, 0, 1, 1e-5F},
                        m, stream, overlap);
    };
    return Lab::Must(measurer->TimeSequence(sequence, true, between)) / kLayers;
  }

  void TimeLayers() {
    constexpr GemmMeasureOptions kOptions = {
        .weight_pool_bytes = int64_t{4} << 30, .min_graph_us = 200, .replays = 5, .library_algorithms = 0};
    const auto measurer =
        Lab::Must(GemmMeasurer::Create(lab.device(), lab.nvrtc(), nullptr, 16, 2 * kFfn, kFfn, kOptions));
    std::vector<KernelSource> sources;
    for (const bool fp8 : {false, true})
      for (const Way& way : kWays)
        for (const int m : kTokens)
          for (const GemmProblem& p : LayerOf(fp8, m, way.products))
            for (const GemmTactic& t : TacticsOf(p, way.late))
              if (m == 1 || (t.rows == 16 && t.blocks == 1 && t.chunk == 2048))
                sources.push_back(GemmKernel(t, p));
    Lab::Must(measurer->PrepareKernels(sources));
    std::printf("%zu kernels\n", sources.size());
    json["read_gbps"] = Lab::Must(measurer->ReadBandwidth());
    for (const bool fp8 : {false, true}) TimeType(measurer.get(), fp8);
  }

  void TimeType(GemmMeasurer* measurer, bool fp8) {
    const double weights = (kQkv + kHidden + 3.0 * kFfn) * kHidden * (fp8 ? 1 : 2);
    std::printf("\n%s: a layer reads %.1f MB, %.1f us at %.0f GB/s\n", fp8 ? "fp8" : "bf16", weights / 1e6,
                weights / json["read_gbps"].get<double>() / 1e3, json["read_gbps"].get<double>());
    const AttentionShape shape{128, 32, 8, fp8};
    const RopeVariant rope{128, 128, true, false, false, fp8};
    Small small;
    small.norm_variant = {kHidden, NormVariant::kNone, fp8 ? NormVariant::kE4m3 : NormVariant::k16, false};
    small.norm = Lab::Must(measurer->KernelOf(NormKernel(small.norm_variant)));
    small.quantize_hidden = Lab::Must(measurer->KernelOf(QuantizeKernel(kHidden, false)));
    small.quantize_ffn = Lab::Must(measurer->KernelOf(QuantizeKernel(kFfn, false)));
    Rng rng(5);
    small.rows = lab.Put(Normals(16 * kFfn, 0, 1, &rng));
    small.gain = lab.Put(Normals(kHidden, 1, 0.1F, &rng));
    small.out = lab.Allocate(16 * kFfn * 2);
    small.scales = lab.Allocate(64);
    std::map<std::string, std::vector<GemmTactic>> chosen;
    for (const int m : kTokens)
      for (const int context : {192, 8192}) {
        if (m > 1 && context > 192) continue;
        const auto attention =
            Lab::Must(DecodeStandIn::Create(lab.device(), measurer, shape, rope, m, context));
        for (const Way& way : kWays) {
          const std::vector<GemmProblem> layer = LayerOf(fp8, m, way.products);
          std::vector<GemmTactic>& tactics = chosen[way.name];
          const auto time = [&](const std::vector<GemmTactic>& some) {
            return TimeLayer(measurer, small, attention.get(), way, layer, some);
          };
          if (m == 1 && context == 192) tactics = Descend(layer, way.late, time);
          std::vector<GemmTactic> own = tactics;
          for (size_t i = 0; i < 4 && m > 1; ++i) own[i] = Like(tactics[i], TacticsOf(layer[i], way.late));
          const double us = time(own);
          std::string text;
          for (const GemmTactic& t : own) text += " " + ToString(t);
          std::printf("m %d context %4d %-18s %7.2f us a layer, %6.3f ms in %d;%s\n", m, context, way.name,
                      us, us * kModelLayers / 1e3, kModelLayers, text.c_str());
          json["layers"].push_back({{"fp8", fp8},
                                    {"m", m},
                                    {"context", context},
                                    {"way", way.name},
                                    {"us", us},
                                    {"tactics", text}});
        }
      }
  }

  // The fastest for the layer as a whole.
  template <typename Time>
  std::vector<GemmTactic> Descend(const std::vector<GemmProblem>& layer, int late, const Time& time) const {
    std::vector<GemmTactic> best;
    for (const GemmProblem& p : layer) best.push_back(TacticsOf(p, late).front());
    double fastest = time(best);
    for (size_t turn = 0; turn < 2 * layer.size(); ++turn)
      for (const GemmTactic& t : TacticsOf(layer[turn % layer.size()], late)) {
        std::vector<GemmTactic> trial = best;
        trial[turn % layer.size()] = t;
        const double us = time(trial);
        if (us < fastest * 0.997) fastest = us, best = trial;
      }
    return best;
  }
  static GemmTactic Like(const GemmTactic& wanted, const std::vector<GemmTactic>& offered) {
    for (const GemmTactic& t : offered)
      if (t.rows == 16 && t.chunk == wanted.chunk && t.blocks == 1 && (t.x_kb > 0) == (wanted.x_kb > 0))
        return t;
    return offered.front();
  }
};

int Run(int argc, char** argv) {
  Bench bench;
  const auto wanted = [&](const char* name) {
    return argc == 2 ||
           std::any_of(argv + 2, argv + argc, [&](const char* a) { return std::strcmp(a, name) == 0; });
  };
  if (wanted("check")) {
    bench.CheckProducts();
    bench.CheckAttentions();
  }
  if (wanted("time")) bench.TimeLayers();
  Lab::Must(WriteFileAtomic(argv[1], DumpJson(bench.json, 1)));
  std::printf("%d wrong\n", bench.failures);
  return bench.failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace lathe::cuda

int main(int argc, char** argv) {
  return lathe::cuda::LabMain(argc, argv, "decode_bench OUT.json [check] [time]", lathe::cuda::Run);
}
