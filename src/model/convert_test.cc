// Cutting and converting: the parts of all ranks are the whole, from either kind of directory.
#include "model/convert.h"

#include "model/read_model.h"
#include "model/shard.h"
#include "model/test_util.h"
#include "model/weight_source.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::ScratchDir;
using testing_util::SmallConfig;
using testing_util::Synthesize;

// The floats of a slice.
std::vector<float> Values(const WeightSlice& slice) {
  std::vector<float> out(static_cast<size_t>(slice.cut.rows.size() * slice.cut.cols.size()));
  EXPECT_TRUE(ReadSlice(slice.view, slice.cut, std::span(out)).ok());
  return out;
}

Json WithBiases() {
  Json config = SmallConfig();
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  return config;
}

TEST(Shard, PartsOfAllRanksCoverEveryTensorOnce) {
  ModelSpec spec = *ReadModelSpec(WithBiases(), {}, "f");
  for (const int tp : {1, 2, 3}) {
    spec.ffn = 84;
    if (!CheckSharding(spec, tp, 1).ok()) {
      EXPECT_EQ(tp, 2);  // 3 KV heads over 2 ranks
      continue;
    }
    for (const TensorDef& def : TensorTable(spec)) {
      int64_t covered = 0;
      for (int rank = 0; rank < tp; ++rank) {
        const Cut cut = CutOf(spec, def, tp, rank);
        covered += cut.rows.size() * cut.cols.size();
        if (def.split == Split::kNone) {
          EXPECT_EQ(CutShape(def, cut), def.shape);
        }
        if (rank > 0 && def.split == Split::kRows) {
          EXPECT_EQ(cut.rows.begin, CutOf(spec, def, tp, rank - 1).rows.end) << def.name;
        }
      }
      EXPECT_EQ(covered, *def.shape.NumElements() * (def.split == Split::kNone ? tp : 1)) << def.name;
    }
  }
}

TEST(Shard, FewKvHeadsAreReplicated) {
  const ModelSpec spec = *ReadModelSpec(SmallConfig(), {}, "f");  // 6 heads, 3 KV heads of 8
  ModelSpec one_kv = spec;
  one_kv.n_kv_heads = 1;
  const TensorDef k = {Role::kK, 0, "k", {8, 48}, Split::kRows};
  EXPECT_TRUE(CheckSharding(one_kv, 2, 1).ok());
  for (int rank = 0; rank < 2; ++rank) EXPECT_EQ(CutOf(one_kv, k, 2, rank).rows, (Range{0, 8}));
  const TensorDef k3 = {Role::kK, 0, "k", {24, 48}, Split::kRows};
  ModelSpec wide = spec;
  wide.ffn = 84;
  EXPECT_TRUE(CheckSharding(wide, 6, 1).ok());
  for (int rank = 0; rank < 6; ++rank)
    EXPECT_EQ(CutOf(wide, k3, 6, rank).rows, (Range{rank / 2 * 8, rank / 2 * 8 + 8}));
}

TEST(Shard, RefusesWhatDoesNotDivide) {
  const ModelSpec spec = *ReadModelSpec(SmallConfig(), {}, "f");
  EXPECT_THAT(CheckSharding(spec, 2, 1).message(), HasSubstr("tp 2: must divide the 3 KV heads"));
  EXPECT_THAT(CheckSharding(spec, 4, 1).message(), HasSubstr("tp 4: must divide the 6 heads"));
  EXPECT_THAT(CheckSharding(spec, 3, 1).message(), HasSubstr("FFN size of 80"));
  EXPECT_THAT(CheckSharding(spec, 1, 4).message(), HasSubstr("at most the 3 layers"));
  EXPECT_FALSE(CheckSharding(spec, 0, 1).ok());
}

TEST(Shard, StagesCoverTheLayers) {
  EXPECT_EQ(StageLayers(7, 3, 0), (Range{0, 3}));
  EXPECT_EQ(StageLayers(7, 3, 1), (Range{3, 5}));
  EXPECT_EQ(StageLayers(7, 3, 2), (Range{5, 7}));
  ModelSpec spec = *ReadModelSpec(SmallConfig(), {}, "f");
  EXPECT_EQ(StageTensors(spec, 1, 0).size(), TensorTable(spec).size());
  EXPECT_EQ(StageTensors(spec, 2, 0).size() + StageTensors(spec, 2, 1).size(), TensorTable(spec).size());
  spec.tied_embeddings = true;  // the last stage needs the embedding too
  EXPECT_EQ(StageTensors(spec, 2, 0).size() + StageTensors(spec, 2, 1).size(), TensorTable(spec).size() + 1);
}

TEST(ReadSlice, EveryTypePairAndRegion) {
  const std::vector<float> f32 = {1.5f, -2.0f, 0.25f, 3.0f, 1.00390625f, -0.5f};  // 2 x 3; [1][1] is halfway
  const std::vector<uint16_t> f16 = {0x3e00, 0xc000, 0x3400, 0x4200, 0x3c04, 0xb800};
  const TensorView wide = {
      .name = "x", .dtype = DType::kF32, .shape = {2, 3}, .bytes = std::as_bytes(std::span(f32))};
  const TensorView half = {
      .name = "x", .dtype = DType::kF16, .shape = {2, 3}, .bytes = std::as_bytes(std::span(f16))};
  const Cut corner = {{0, 2}, {1, 3}};
  for (const TensorView& view : {wide, half}) {
    std::vector<float> got(4);
    ASSERT_TRUE(ReadSlice(view, corner, std::span(got)).ok());
    EXPECT_EQ(got, (std::vector<float>{-2.0f, 0.25f, 1.00390625f, -0.5f}));
    std::vector<Bf16> rounded(4), whole(6);
    ASSERT_TRUE(ReadSlice(view, corner, std::span(rounded)).ok());
    EXPECT_EQ(ToFloat(rounded[2]), 1.0f);
    ASSERT_TRUE(ReadSlice(view, {{0, 2}, {0, 3}}, std::span(whole)).ok());
    const TensorView short_view = {
        .name = "x", .dtype = DType::kBf16, .shape = {2, 3}, .bytes = std::as_bytes(std::span(whole))};
    ASSERT_TRUE(ReadSlice(short_view, corner, std::span(got)).ok());
    EXPECT_EQ(got, (std::vector<float>{-2.0f, 0.25f, 1.0f, -0.5f}));
    std::vector<Half> halves(4);
    ASSERT_TRUE(ReadSlice(view, corner, std::span(halves)).ok());
    EXPECT_EQ(halves, (std::vector<Half>{{0xc000}, {0x3400}, {0x3c04}, {0xb800}}));
    ASSERT_TRUE(ReadSlice(short_view, corner, std::span(halves)).ok());
    EXPECT_EQ(halves, (std::vector<Half>{{0xc000}, {0x3400}, {0x3c00}, {0xb800}}));
    std::vector<Bf16> copied(3);
    ASSERT_TRUE(ReadSlice(short_view, {{1, 2}, {0, 3}}, std::span(copied)).ok());
    EXPECT_EQ(copied[0], whole[3]);
  }
  const TensorView ints = {
      .name = "x", .dtype = DType::kI32, .shape = {2, 3}, .bytes = std::as_bytes(std::span(f32))};
  std::vector<float> got(4);
  EXPECT_EQ(ReadSlice(ints, corner, std::span(got)).code(), StatusCode::kUnsupported);
}

struct Layout {
  int tp, pp;
  bool tied;
};

TEST(Convert, EveryRankHasItsPartAndNoOther) {
  const std::string dir = ScratchDir("convert");
  for (const Layout& layout :
       {Layout{1, 1, false}, Layout{3, 1, true}, Layout{1, 3, true}, Layout{6, 2, false}}) {
    Json config = WithBiases();
    config["intermediate_size"] = 84;
    config["tie_word_embeddings"] = layout.tied;
    Synthesize(config, dir + "/in");
    ASSERT_TRUE(WriteFileAtomic(dir + "/in/generation_config.json", R"({"top_k":3})").ok());
    std::filesystem::remove_all(dir + "/out");
    uint64_t last = 0, all = 1;
    const Status status = ConvertCheckpoint(dir + "/in", dir + "/out",
                                            {.dtype = DType::kF32,
                                             .tp = layout.tp,
                                             .pp = layout.pp,
                                             .progress = [&](uint64_t done, uint64_t total) {
                                               last = done;
                                               all = total;
                                             }});
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(last, all);
    EXPECT_TRUE(FileExists(dir + "/out/tokenizer.json"));
    const auto from = WeightSource::Open(dir + "/in"), to = WeightSource::Open(dir + "/out");
    ASSERT_TRUE(to.ok()) << to.status().message();
    EXPECT_EQ(to->tp(), layout.tp);
    EXPECT_EQ(to->pp(), layout.pp);
    EXPECT_EQ(to->spec().checkpoint_dtype, DType::kF32);
    EXPECT_EQ(to->spec().tied_embeddings, layout.tied);
    EXPECT_EQ(to->spec().default_top_k, 3);
    EXPECT_EQ(to->source_hash(), from->source_hash());
    for (const TensorDef& def : to->tensors())
      for (int rank = 0; rank < layout.tp; ++rank)
        ASSERT_EQ(Values(*to->Slice(def.role, def.layer, layout.tp, rank)),
                  Values(*from->Slice(def.role, def.layer, layout.tp, rank)))
            << def.name << " rank " << rank;
  }
}

TEST(Convert, AConvertedWholeCanBeConvertedAgain) {
  const std::string dir = ScratchDir("convert_again");
  Synthesize(SmallConfig(), dir + "/in");
  ASSERT_TRUE(ConvertCheckpoint(dir + "/in", dir + "/one", {}).ok());
  Json wide = SmallConfig();
  ASSERT_TRUE(
      ConvertCheckpoint(dir + "/one", dir + "/two", {.dtype = {}, .tp = 1, .pp = 2, .progress = {}}).ok());
  const auto from = WeightSource::Open(dir + "/in"), to = WeightSource::Open(dir + "/two");
  ASSERT_TRUE(to.ok()) << to.status().message();
  EXPECT_EQ(to->spec().checkpoint_dtype, DType::kBf16);
  EXPECT_EQ(to->source_hash(), from->source_hash());
  EXPECT_EQ(Values(*to->Slice(Role::kDown, 2, 1, 0)), Values(*from->Slice(Role::kDown, 2, 1, 0)));
  ASSERT_TRUE(to->Get(Role::kDown, 2).ok());
  EXPECT_EQ(to->Get(Role::kQNorm, 2).status().code(), StatusCode::kNotFound);
}

// An f16 checkpoint stays one; what f16 does not hold is no infinity.
TEST(Convert, Half) {
  const std::string dir = ScratchDir("convert_half");
  Json config = SmallConfig();
  config["torch_dtype"] = "float16";
  Synthesize(config, dir + "/in");
  ASSERT_TRUE(ConvertCheckpoint(dir + "/in", dir + "/out", {}).ok());
  const auto from = WeightSource::Open(dir + "/in"), to = WeightSource::Open(dir + "/out");
  ASSERT_TRUE(to.ok()) << to.status().message();
  EXPECT_EQ(to->spec().checkpoint_dtype, DType::kF16);
  EXPECT_EQ(Values(*to->Slice(Role::kDown, 2, 1, 0)), Values(*from->Slice(Role::kDown, 2, 1, 0)));

  config["torch_dtype"] = "bfloat16";
  Synthesize(config, dir + "/large");
  auto bytes = ReadFile(dir + "/large/model.safetensors");
  ASSERT_TRUE(bytes.ok()) << bytes.status().message();
  const size_t middle = bytes->size() / 4 * 2;
  for (size_t i = middle; i < middle + 2000; i += 2) bytes->replace(i, 2, "\x80\x47");  // 65536
  ASSERT_TRUE(WriteFileAtomic(dir + "/large/model.safetensors", *bytes).ok());
  const Status status = ConvertCheckpoint(dir + "/large", dir + "/none",
                                          {.dtype = DType::kF16, .tp = 1, .pp = 1, .progress = {}});
  EXPECT_EQ(status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(status.message(), HasSubstr("65504, does not hold; convert with --dtype bf16"));
  EXPECT_FALSE(std::filesystem::exists(dir + "/none"));
}

TEST(Convert, FaultsAreNamedAndLeaveNothing) {
  const std::string dir = ScratchDir("convert_fault");
  Json config = SmallConfig();
  config["intermediate_size"] = 84;
  Synthesize(config, dir + "/in");
  EXPECT_THAT(
      ConvertCheckpoint(dir + "/in", dir + "/out", {.dtype = {}, .tp = 4, .pp = 1, .progress = {}}).message(),
      HasSubstr("tp 4: must divide the 6 heads"));
  EXPECT_THAT(
      ConvertCheckpoint(dir + "/in", dir + "/out", {.dtype = DType::kI8, .tp = 1, .pp = 1, .progress = {}})
          .message(),
      HasSubstr("--dtype i8: bf16, fp16 or f32"));
  EXPECT_FALSE(std::filesystem::exists(dir + "/out"));
  ASSERT_TRUE(
      ConvertCheckpoint(dir + "/in", dir + "/out", {.dtype = {}, .tp = 3, .pp = 1, .progress = {}}).ok());
  EXPECT_THAT(ConvertCheckpoint(dir + "/in", dir + "/out", {}).message(),
              HasSubstr("not an empty directory"));
  EXPECT_THAT(ConvertCheckpoint(dir + "/out", dir + "/out2", {}).message(),
              HasSubstr("was converted for tp 3, tp 1 was asked for"));
  const auto source = WeightSource::Open(dir + "/out");
  EXPECT_FALSE(source->Get(Role::kQ, 0).ok());
  EXPECT_FALSE(source->GetPart(Role::kQ, 0, 3).ok());
  EXPECT_FALSE(source->Slice(Role::kQ, 0, 3, 3).ok());

  const auto open = [&] { return WeightSource::Open(dir + "/out").status(); };
  const std::string manifest = dir + "/out/" + kConvertedManifest;
  const Json good = *ReadJsonFile(manifest);
  const std::pair<const char*, Json> edits[] = {
      {"version", 2},           {"tp", 2}, {"tp", 0}, {"pp", 2}, {"dtype", "f32"}, {"spec", 3},
      {"spec", Json::object()}, {"x", 1}};
  for (const auto& [key, value] : edits) {
    Json edited = good;
    edited[key] = value;
    ASSERT_TRUE(WriteFileAtomic(manifest, DumpJson(edited)).ok());
    EXPECT_FALSE(open().ok()) << key << " " << value;
  }
  ASSERT_TRUE(WriteFileAtomic(manifest, DumpJson(good)).ok());
  ASSERT_TRUE(open().ok());
  std::filesystem::rename(RankFile(dir + "/out", 2), dir + "/saved");
  EXPECT_THAT(open().message(), HasSubstr("rank2.safetensors' is missing"));
  std::filesystem::copy_file(RankFile(dir + "/out", 0), RankFile(dir + "/out", 2));
  EXPECT_THAT(open().message(), HasSubstr("lm_head"));  // 301 rows do not divide by 3: rank 2 has one more
}

}  // namespace
}  // namespace lathe
