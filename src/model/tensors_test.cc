// Binding a checkpoint: each tensor once, or the whole list of what is wrong.
#include "model/tensors.h"

#include <functional>

#include "formats/safetensors_writer.h"
#include "model/read_model.h"
#include "model/test_util.h"
#include "model/weight_source.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;
using testing_util::ScratchDir;
using testing_util::SmallConfig;

// A checkpoint of the small model whose list of tensors was edited. Values: byte i of a tensor is i % 251,
// but lm_head begins with `head_byte`.
class BindTest : public ::testing::Test {
 protected:
  using Edit = std::function<void(std::vector<TensorInfo>&)>;
  void Write(bool tied, const Edit& edit, char head_byte = 0) {
    dir_ = ScratchDir("bind");
    Json config = SmallConfig();
    config["tie_word_embeddings"] = tied;
    ASSERT_TRUE(WriteFileAtomic(dir_ + "/config.json", DumpJson(config)).ok());
    spec_ = *ReadModelSpec(dir_);
    std::vector<TensorInfo> infos;
    for (const TensorDef& def : TensorTable(spec_)) infos.push_back({def.name, DType::kBf16, def.shape});
    edit(infos);
    auto writer = SafetensorsWriter::Create(dir_ + "/model", infos, 0);
    ASSERT_TRUE(writer.ok());
    for (const TensorInfo& info : infos) {
      std::string bytes(static_cast<size_t>(*info.shape.NumElements() * SizeOf(info.dtype)), '\0');
      for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i % 251);
      if (info.name == "lm_head.weight") bytes[0] = head_byte;
      ASSERT_TRUE(writer->Append(std::as_bytes(std::span(bytes))).ok());
    }
    ASSERT_TRUE(writer->Commit().ok());
    auto checkpoint = Checkpoint::Open(dir_);
    ASSERT_TRUE(checkpoint.ok()) << checkpoint.status().message();
    checkpoint_ = std::make_unique<Checkpoint>(std::move(*checkpoint));
  }
  Expected<BoundTensors> Bind() const { return BindTensors(spec_, *checkpoint_); }
  std::string dir_;
  ModelSpec spec_;
  std::unique_ptr<Checkpoint> checkpoint_;
};

TensorInfo* Named(std::vector<TensorInfo>& infos, const std::string& name) {
  for (TensorInfo& info : infos)
    if (info.name == name) return &info;
  return nullptr;
}

TEST_F(BindTest, EveryTensorOnce) {
  Write(false, [](auto&) {});
  const auto bound = Bind();
  ASSERT_TRUE(bound.ok()) << bound.status().message();
  EXPECT_EQ(bound->tensors.size(), 3u * 9 + 3);
  for (const BoundTensor& tensor : bound->tensors) {
    EXPECT_EQ(tensor.view.name, tensor.def.name);
    EXPECT_EQ(tensor.view.shape, tensor.def.shape);
  }
}

TEST_F(BindTest, ListsMissingUnexpectedAndMisshapenTogether) {
  Write(false, [](auto& infos) {
    Named(infos, "model.norm.weight")->name = "model.final.weight";
    Named(infos, "model.layers.1.self_attn.k_proj.weight")->name = "model.layers.3.self_attn.k_proj.weight";
    Named(infos, "model.layers.2.mlp.up_proj.weight")->shape = {48, 80};
    Named(infos, "model.layers.0.mlp.up_proj.weight")->dtype = DType::kI8;
  });
  const Status status = Bind().status();
  EXPECT_EQ(status.code(), StatusCode::kCorrupt);
  EXPECT_THAT(status.message(),
              HasSubstr("2 tensors missing: 'model.layers.1.self_attn.k_proj.weight' [24, 48], "
                        "'model.norm.weight' [48]; "));
  EXPECT_THAT(status.message(), HasSubstr("2 tensors unexpected: "));
  EXPECT_THAT(status.message(),
              HasSubstr("'model.layers.3.self_attn.k_proj.weight' (bf16 [24, 48] at byte "));
  EXPECT_THAT(status.message(),
              HasSubstr("1 tensor of another shape: 'model.layers.2.mlp.up_proj.weight' (bf16 "
                        "[48, 80] at byte "));
  EXPECT_THAT(status.message(), HasSubstr(dir_ + "/model.safetensors) expected [80, 48]"));
  EXPECT_THAT(status.message(), HasSubstr("1 tensor of an element type other than bf16, f16 and f32: "
                                          "'model.layers.0.mlp.up_proj.weight' (i8 "));
}

TEST_F(BindTest, AWrongElementTypeAloneIsUnsupported) {
  Write(false, [](auto& infos) { Named(infos, "model.norm.weight")->dtype = DType::kF8E4M3; });
  EXPECT_EQ(Bind().status().code(), StatusCode::kUnsupported);
  EXPECT_THAT(Bind().status().message(), HasSubstr("quantised checkpoints are not supported"));
}

TEST_F(BindTest, MixedFloatTypesAreFine) {
  Write(false, [](auto& infos) {
    Named(infos, "model.norm.weight")->dtype = DType::kF32;
    Named(infos, "lm_head.weight")->dtype = DType::kF16;
  });
  EXPECT_TRUE(Bind().ok());
}

TEST_F(BindTest, OldRotaryBuffersAreIgnoredByName) {
  Write(false, [](auto& infos) {
    infos.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {4}});
    infos.push_back({"model.rotary_emb.inv_freq", DType::kI64, {4}});
  });
  EXPECT_TRUE(Bind().ok()) << Bind().status().message();
}

TEST_F(BindTest, LmHeadOfATiedModel) {
  Write(true, [](auto&) {});
  EXPECT_TRUE(Bind()->tied_embeddings);
  // An equal one is the embedding once more.
  Write(true, [](auto& infos) { infos.push_back({"lm_head.weight", DType::kBf16, {301, 48}}); });
  ASSERT_TRUE(Bind().ok()) << Bind().status().message();
  EXPECT_TRUE(Bind()->tied_embeddings);
  EXPECT_EQ(Bind()->tensors.size(), 3u * 9 + 2);
  // A different one counts, as it does in transformers.
  Write(
      true,
      [](auto& infos) {
        infos.push_back({"lm_head.weight", DType::kBf16, {301, 48}});
      },
      9);
  ASSERT_TRUE(Bind().ok()) << Bind().status().message();
  EXPECT_FALSE(Bind()->tied_embeddings);
  EXPECT_EQ(Bind()->tensors.back().def.role, Role::kLmHead);
  EXPECT_FALSE(WeightSource::Open(dir_)->spec().tied_embeddings);
  // Alone it is the embedding.
  Write(true, [](auto& infos) { Named(infos, "model.embed_tokens.weight")->name = "lm_head.weight"; });
  ASSERT_TRUE(Bind().ok()) << Bind().status().message();
  EXPECT_EQ(Bind()->tensors.front().view.name, "lm_head.weight");
  EXPECT_TRUE(Bind()->tied_embeddings);
  // Neither.
  Write(true, [](auto& infos) { infos.erase(infos.begin()); });
  EXPECT_THAT(Bind().status().message(),
              HasSubstr("1 tensor missing: 'model.embed_tokens.weight' [301, 48]"));
}

TEST_F(BindTest, LongListsAreShortened) {
  Write(false, [](auto& infos) {
    for (int i = 0; i < 100; ++i) infos.push_back({"extra." + std::to_string(i), DType::kBf16, {1}});
  });
  EXPECT_THAT(Bind().status().message(), HasSubstr("100 tensors unexpected: "));
  EXPECT_THAT(Bind().status().message(), HasSubstr(" and 36 more; "));
}

TEST_F(BindTest, DamagedWeightsAreRefusedWithTheFilesName) {
  Write(false, [](auto&) {});
  const std::string path = dir_ + "/model.safetensors";
  const std::string whole = *ReadFile(path);
  for (size_t size = 0; size < whole.size(); size += 1 + whole.size() / 60) {
    ASSERT_TRUE(WriteFileAtomic(path, whole.substr(0, size)).ok());
    const Status status = WeightSource::Open(dir_).status();
    EXPECT_EQ(status.code(), StatusCode::kCorrupt) << size;
    EXPECT_THAT(status.message(), HasSubstr(path)) << size;
  }
  const size_t header = static_cast<size_t>(checkpoint_->tensors()[0].offset);
  int refused = 0;
  for (size_t i = 0; i < 300; ++i) {
    std::string bytes = whole;
    bytes[i * 97 % header] ^= static_cast<char>(1 << (i % 8));
    ASSERT_TRUE(WriteFileAtomic(path, bytes).ok());
    const Status status = WeightSource::Open(dir_).status();
    refused += !status.ok();
    EXPECT_EQ(status.ok(), status.message().empty());
  }
  EXPECT_GT(refused, 280);  // the rest hit padding or the free-form metadata
}

TEST(TensorTable, NamesAndSplitsOfEverything) {
  Json config = SmallConfig();
  config["attention_bias"] = true;
  config["mlp_bias"] = true;
  ModelSpec spec = *ReadModelSpec(config, {}, "f");
  spec.qk_norm = true;
  const std::vector<TensorDef> table = TensorTable(spec);
  EXPECT_EQ(table.size(), 3u * 18 + 3);
  int rows = 0, cols = 0;
  for (const TensorDef& def : table) {
    rows += def.split == Split::kRows;
    cols += def.split == Split::kCols;
    if (def.role == Role::kO || def.role == Role::kDown) {
      EXPECT_EQ(def.split, Split::kCols);
    }
    if (def.role == Role::kOBias || def.role == Role::kDownBias) {
      EXPECT_EQ(def.split, Split::kNone);
    }
  }
  EXPECT_EQ(cols, 3 * 2);
  EXPECT_EQ(rows, 3 * (5 + 5) + 1);
  EXPECT_EQ(WeightName(Role::kQ, 3), "layers.3.q");
  EXPECT_EQ(WeightName(Role::kEmbed, -1), "embed");
}

}  // namespace
}  // namespace lathe
