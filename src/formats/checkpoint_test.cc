// Checkpoint directories: single file, shards, and everything that can be wrong between index and shards.
#include "formats/checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/json.h"
#include "formats/safetensors_writer.h"

namespace lathe {
namespace {

using ::testing::HasSubstr;

class CheckpointTest : public ::testing::Test {
 protected:
  void SetUp() override {
    dir_ = ::testing::TempDir() + "/lathe_checkpoint";
    std::filesystem::remove_all(dir_);
    std::filesystem::create_directories(dir_);
  }
  // Four tensors t0..t3 of four floats, two to a shard: model-00001-of-00002 and -00002-.
  void WriteShards(uint64_t max_shard_bytes = 32) {
    std::vector<TensorInfo> tensors;
    for (int i = 0; i < 4; ++i) tensors.push_back({"t" + std::to_string(i), DType::kF32, {4}});
    auto writer = SafetensorsWriter::Create(dir_ + "/model", tensors, max_shard_bytes);
    ASSERT_TRUE(writer.ok());
    std::string bytes(64, '\0');
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>(i);
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(bytes))).ok());
    ASSERT_TRUE(writer->Commit().ok());
  }
  void WriteOne(const std::string& name, const std::vector<std::string>& tensors) {
    std::vector<TensorInfo> infos;
    for (const std::string& tensor : tensors) infos.push_back({tensor, DType::kF32, {1}});
    auto writer = SafetensorsWriter::Create(dir_ + "/" + name, infos, 0);
    ASSERT_TRUE(writer.ok());
    const std::string bytes(4 * tensors.size(), '\0');
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(bytes))).ok());
    ASSERT_TRUE(writer->Commit().ok());
  }
  void Write(const std::string& name, const std::string& text) {
    ASSERT_TRUE(WriteFileAtomic(dir_ + "/" + name, text).ok());
  }
  void EditIndex(const std::function<void(Json&)>& edit) {
    const std::string path = dir_ + "/model.safetensors.index.json";
    Json index = *ReadJsonFile(path);
    edit(index["weight_map"]);
    ASSERT_TRUE(WriteFileAtomic(path, DumpJson(index)).ok());
  }
  Status Open() const { return Checkpoint::Open(dir_).status(); }
  void ExpectError(StatusCode code, const std::string& message) const {
    const Status status = Open();
    EXPECT_EQ(status.code(), code) << status.message();
    EXPECT_THAT(status.message(), HasSubstr(message));
  }
  std::string dir_;
};

TEST_F(CheckpointTest, ShardsReadAsOne) {
  WriteShards();
  EXPECT_TRUE(FileExists(dir_ + "/model-00002-of-00002.safetensors"));
  auto opened = Checkpoint::Open(dir_);
  ASSERT_TRUE(opened.ok()) << opened.status().message();
  const Checkpoint checkpoint = std::move(*opened);
  ASSERT_EQ(checkpoint.tensors().size(), 4u);
  const TensorView* t2 = checkpoint.Find("t2");
  ASSERT_NE(t2, nullptr);
  EXPECT_EQ(static_cast<int>(t2->bytes[0]), 32);
  EXPECT_EQ(t2->offset % 64, 0u);
  EXPECT_THAT(t2->Describe(), HasSubstr("'t2' (f32 [4] at byte " + std::to_string(t2->offset) + " of " +
                                        dir_ + "/model-00002-of-00002.safetensors)"));
  t2->DropPages();
  EXPECT_EQ(static_cast<int>(t2->bytes[1]), 33);
  EXPECT_EQ(checkpoint.Find("t4"), nullptr);
}

TEST_F(CheckpointTest, ASingleFileNeedsNoIndex) {
  WriteShards(0);
  EXPECT_TRUE(Open().ok());
  EXPECT_FALSE(FileExists(dir_ + "/model.safetensors.index.json"));
  EXPECT_EQ(CheckpointFiles(dir_)->size(), 1u);
}

TEST_F(CheckpointTest, AMissingShardIsNamed) {
  WriteShards();
  std::filesystem::remove(dir_ + "/model-00002-of-00002.safetensors");
  ExpectError(StatusCode::kNotFound, "model-00002-of-00002.safetensors' is missing");
}

TEST_F(CheckpointTest, ATruncatedShardIsNamed) {
  WriteShards();
  const std::string path = dir_ + "/model-00001-of-00002.safetensors";
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  ExpectError(StatusCode::kCorrupt,
              "model-00001-of-00002.safetensors: tensor 't1' should lie at bytes [16, 32)");
}

TEST_F(CheckpointTest, IndexAndShardsMustAgree) {
  WriteShards();
  EditIndex([](Json& map) { map["t9"] = map["t0"]; });
  ExpectError(StatusCode::kCorrupt,
              "tensor 't9' should lie in model-00001-of-00002.safetensors, but is in no shard");
  WriteShards();
  EditIndex([](Json& map) { map["t0"] = map["t3"]; });
  ExpectError(StatusCode::kCorrupt, "'t0' should lie in model-00002-of-00002.safetensors, but is in ");
  WriteShards();
  EditIndex([](Json& map) { map.erase("t0"); });
  ExpectError(StatusCode::kCorrupt, "tensor 't0' (f32 [4]");
}

TEST_F(CheckpointTest, ATensorInTwoShardsIsRefused) {
  WriteOne("a", {"x", "y"});
  WriteOne("b", {"y"});
  Write("model.safetensors.index.json", R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})");
  ExpectError(StatusCode::kCorrupt, "tensor 'y' (f32 [1]");
  EXPECT_THAT(Open().message(), HasSubstr("is also in " + dir_ + "/b.safetensors"));
}

TEST_F(CheckpointTest, ShardNamesStayInTheDirectory) {
  for (const char* name :
       {"../a.safetensors", "/etc/a.safetensors", "x/a.safetensors", ".safetensors", "..\\\\a.safetensors",
        "a.bin", "", "a\\u0000.safetensors", ".hidden.safetensors"}) {
    Write("model.safetensors.index.json", std::string(R"({"weight_map":{"x":")") + name + R"("}})");
    ExpectError(StatusCode::kCorrupt, "not the plain name of a .safetensors file");
  }
  Write("model.safetensors.index.json", R"({"weight_map":{"x":3}})");
  ExpectError(StatusCode::kCorrupt, "is said to lie in 3");
  Write("model.safetensors.index.json", R"({"weight_map":{}})");
  ExpectError(StatusCode::kCorrupt, "is empty");
  Write("model.safetensors.index.json", R"({"metadata":{}})");
  ExpectError(StatusCode::kCorrupt, "no object 'weight_map'");
  Write("model.safetensors.index.json", R"({"weight_map":)");
  ExpectError(StatusCode::kCorrupt, "not valid JSON");
}

TEST_F(CheckpointTest, OtherContentsAreRefusedWithAHint) {
  ExpectError(StatusCode::kNotFound, "neither model.safetensors nor model.safetensors.index.json");
  for (const char* name : {"pytorch_model.bin", "consolidated.00.pth", "model.pt"}) {
    Write(name, "x");
    ExpectError(StatusCode::kUnsupported, std::string("only pickled weights (") + name);
    EXPECT_THAT(Open().message(), HasSubstr("save_pretrained('" + dir_ + "-safetensors')"));
    std::filesystem::remove(dir_ + "/" + name);
  }
  Write("m.gguf", "x");
  ExpectError(StatusCode::kUnsupported, "GGUF");
  Write("model-00001-of-00002.safetensors", "x");
  ExpectError(StatusCode::kNotFound, "fetch the missing index");
  EXPECT_EQ(Checkpoint::Open(dir_ + "/none").status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace lathe
