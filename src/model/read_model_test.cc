// config.json of every family to a ModelSpec, and every way it can be refused.
#include "model/read_model.h"

#include "model/rope.h"
#include "model/spec_json.h"
#include "model/test_util.h"

namespace lathe {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing_util::Golden;
using testing_util::GoldenModels;
using testing_util::ScratchDir;
using testing_util::SmallConfig;

Expected<ModelSpec> Read(const Json& config, const GenerationDefaults& generation = {}) {
  return ReadModelSpec(config, generation, "f");
}

Json Edited(const char* edits) {
  Json config = SmallConfig();
  config.update(*ParseJson(edits, "edits"));
  return config;
}

Json EditedGolden(const char* name, const char* edits) {
  Json config = Golden(name)["config"];
  config.update(*ParseJson(edits, "edits"));
  return config;
}

ModelSpec MustRead(const Json& config) {
  auto spec = Read(config);
  EXPECT_TRUE(spec.ok()) << spec.status().message();
  return spec.ok() ? *spec : ModelSpec();
}

TEST(ReadModelSpec, GoldenConfigsOfEveryFamily) {
  for (const std::string& name : GoldenModels()) {
    const Json config = Golden(name)["config"];
    const ModelSpec spec = MustRead(config);
    EXPECT_EQ(spec.family, config["model_type"].get<std::string>()) << name;
    EXPECT_EQ(spec.hidden, config["hidden_size"].get<int>()) << name;
    EXPECT_EQ(spec.n_kv_heads, config["num_key_value_heads"].get<int>()) << name;
    EXPECT_EQ(spec.checkpoint_dtype, DType::kBf16) << name;
    EXPECT_GE(spec.max_positions, 1030 + 16) << name;
    EXPECT_EQ(spec.window.size(), static_cast<size_t>(spec.n_layers)) << name;
  }
}

TEST(ReadModelSpec, DifferencesOfTheFamilies) {
  EXPECT_FALSE(MustRead(Golden("llama2_mha")["config"]).qkv_bias);
  const ModelSpec biases = MustRead(Golden("llama_biases")["config"]);
  EXPECT_TRUE(biases.qkv_bias && biases.o_bias && biases.mlp_bias);
  const ModelSpec tied = MustRead(Golden("llama3_tied")["config"]);
  EXPECT_TRUE(tied.tied_embeddings);
  EXPECT_EQ(tied.rope.type, RopeType::kLlama3);
  const ModelSpec mistral = MustRead(Golden("mistral_window")["config"]);
  EXPECT_THAT(mistral.window, ElementsAre(64, 64, 64));
  EXPECT_EQ(mistral.head_dim, 96);
  EXPECT_THAT(MustRead(Golden("mistral_full")["config"]).window, ElementsAre(0, 0, 0));
  const ModelSpec qwen2 = MustRead(Golden("qwen2")["config"]);
  EXPECT_TRUE(qwen2.qkv_bias && !qwen2.o_bias && !qwen2.mlp_bias);
  EXPECT_THAT(qwen2.window, ElementsAre(0, 0, 0));
  EXPECT_THAT(MustRead(Golden("qwen2_window")["config"]).window, ElementsAre(0, 0, 48, 48));
  const ModelSpec qwen3 = MustRead(Golden("qwen3")["config"]);
  EXPECT_TRUE(qwen3.qk_norm && !qwen3.qkv_bias);
  const ModelSpec mixed = MustRead(Golden("qwen3_mixed")["config"]);
  EXPECT_THAT(mixed.window, ElementsAre(32, 0, 32));
  EXPECT_TRUE(mixed.qkv_bias && mixed.o_bias && mixed.qk_norm);
}

TEST(ReadModelSpec, DefaultsWhereTheConfigIsSilent) {
  Json config = SmallConfig();
  ModelSpec spec = MustRead(config);
  EXPECT_EQ(spec.head_dim, 8);
  EXPECT_EQ(spec.norm_eps, 1e-6f);
  EXPECT_EQ(spec.bos_id, 1);
  EXPECT_THAT(spec.eos_ids, ElementsAre(2));
  EXPECT_EQ(spec.rope.base, 10000.0);
  EXPECT_FALSE(spec.tied_embeddings);
  config.erase("num_key_value_heads");
  EXPECT_EQ(MustRead(config).n_kv_heads, 6);
  config.erase("torch_dtype");
  EXPECT_EQ(MustRead(config).checkpoint_dtype, DType::kF32);
  config["architectures"] = {"MistralForCausalLM"};
  config["model_type"] = "mistral";
  config["num_attention_heads"] = 8;
  spec = MustRead(config);
  EXPECT_EQ(spec.n_kv_heads, 8);
  EXPECT_EQ(spec.window[0], 4096);
  config["num_attention_heads"] = 4;
  config["num_key_value_heads"] = nullptr;
  EXPECT_EQ(MustRead(config).n_kv_heads, 4);
}

TEST(ReadModelSpec, TokensOfBothFiles) {
  const Json config = Edited(R"({"eos_token_id":[5,900],"bos_token_id":null,"pad_token_id":-1})");
  ModelSpec spec = MustRead(config);
  EXPECT_THAT(spec.eos_ids, ElementsAre(5));
  EXPECT_EQ(spec.bos_id, -1);
  EXPECT_EQ(spec.pad_id, -1);
  EXPECT_TRUE(MustRead(Edited(R"({"eos_token_id":null})")).eos_ids.empty());
  GenerationDefaults generation;
  generation.eos_ids = {6, 5, -3, 301};
  generation.bos_id = 9;
  generation.temperature = 0.5;
  generation.top_k = 3;
  spec = *Read(config, generation);
  EXPECT_THAT(spec.eos_ids, ElementsAre(5, 6));
  EXPECT_EQ(spec.bos_id, 9);
  EXPECT_EQ(spec.default_temperature, 0.5);
  EXPECT_EQ(spec.default_top_k, 3);
  EXPECT_EQ(spec.default_top_p, -1);
}

struct Refused {
  const char* edits;
  StatusCode code;
  const char* message;
};

TEST(ReadModelSpec, RefusesWithTheReason) {
  constexpr StatusCode kBad = StatusCode::kInvalidArgument, kNo = StatusCode::kUnsupported;
  const Refused cases[] = {
      {R"({"architectures":["GPT2LMHeadModel"]})", kNo,
       "unknown architecture 'GPT2LMHeadModel' (model_type 'llama'); "
       "supported are LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM"},
      {R"({"architectures":[],"model_type":"bloom"})", kNo, "unknown architecture 'bloom'"},
      {R"({"model_type":"qwen2"})", kNo,
       "'model_type' is 'qwen2', which does not belong to LlamaForCausalLM"},
      {R"({"architectures":"LlamaForCausalLM"})", kBad, "must be a list of strings"},
      {R"({"surprise":1,"logit_scale":0.5})", kNo, "f: 2 unknown keys: 'surprise', 'logit_scale'"},
      {R"({"rope_scaling":{"type":"linear","factor":2,"surprise":1},"other":1})", kNo,
       "2 unknown keys: 'other', 'rope_scaling.surprise'"},
      {R"({"sliding_window":64})", kNo, "unknown key: 'sliding_window'"},
      {R"({"quantization_config":{"quant_method":"awq"}})", kNo, "already quantised"},
      {R"({"is_encoder_decoder":true})", kNo, "'is_encoder_decoder' is true, a feature"},
      {R"({"hidden_act":"relu"})", kNo, "'hidden_act' is 'relu'"},
      {R"({"hidden_size":null})", kBad, "'hidden_size' is missing"},
      {R"({"hidden_size":"48"})", kBad, "'hidden_size' must be an integer"},
      {R"({"hidden_size":0})", kBad, "'hidden_size' is 0, expected 1 to"},
      {R"({"hidden_size":2147483648})", kBad, "'hidden_size' is 2147483648"},
      {R"({"hidden_size":49})", kBad, "of 49 is no multiple of the 6 heads"},
      {R"({"num_hidden_layers":1025})", kBad, "'num_hidden_layers' is 1025, expected 1 to 1024"},
      {R"({"num_hidden_layers":-1})", kBad, "'num_hidden_layers' is -1"},
      {R"({"vocab_size":1e30})", kBad, "'vocab_size' must be an integer"},
      {R"({"num_key_value_heads":4})", kBad, "6 heads cannot share 4 KV heads"},
      {R"({"num_key_value_heads":12})", kBad, "6 heads cannot share 12 KV heads"},
      {R"({"head_dim":7})", kNo, "a head_dim of 7 cannot be rotated"},
      {R"({"head_dim":2147483646})", kNo, "even one of at most 65536"},
      {R"({"num_attention_heads":65536,"num_key_value_heads":1,"head_dim":65536})", kBad,
       "heads times head size"},
      {R"({"rms_norm_eps":2})", kBad, "norm epsilon of 2"},
      {R"({"rms_norm_eps":"x"})", kBad, "'rms_norm_eps' must be a number"},
      {R"({"tie_word_embeddings":1})", kBad, "must be true or false"},
      {R"({"torch_dtype":"int8"})", kNo, "expected bfloat16, float16 or float32"},
      {R"({"dtype":"float32"})", kBad, "contradicts 'dtype'"},
      {R"({"rope_scaling":{"type":"longrope","factor":2}})", kNo, "'rope_scaling.rope_type' is 'longrope'"},
      {R"({"rope_scaling":{"type":"linear"}})", kBad, "'rope_scaling.factor' is missing"},
      {R"({"rope_scaling":{"type":"linear","factor":0.5}})", kBad, "factor' is below 1"},
      {R"({"rope_scaling":{"type":"linear","rope_type":"dynamic","factor":2}})", kBad,
       "but rope_type is 'dynamic'"},
      {R"({"rope_scaling":3})", kBad, "must be an object or null"},
      {R"({"rope_scaling":{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}})", kBad,
       "must exceed low_freq_factor"},
      {R"({"rope_scaling":{"type":"linear","factor":2},"rope_parameters":{"rope_type":"linear","factor":4}})",
       kBad, "contradicts 'rope_scaling'"},
      {R"({"rope_theta":10000.0,"rope_parameters":{"rope_type":"default","rope_theta":5000.0}})", kBad,
       "has rope_theta 5000, 'rope_theta' is 10000"},
      {R"({"rope_theta":0})", kBad, "must be above 1"},
      {R"({"partial_rotary_factor":0.5})", kNo, "is not 1"},
      {R"({"rope_parameters":{"full_attention":{"rope_theta":10000.0},"sliding_attention":{"rope_theta":5000.0}}})",
       kNo, "differ between layer types"},
  };
  for (const Refused& c : cases) {
    const Status status = Read(Edited(c.edits)).status();
    EXPECT_EQ(status.code(), c.code) << c.edits << ": " << status.message();
    EXPECT_THAT(status.message(), HasSubstr(c.message)) << c.edits;
  }
  EXPECT_THAT(Read(Json::array()).status().message(), HasSubstr("not a JSON object"));
}

TEST(ReadModelSpec, RefusesWindowsThatContradict) {
  const auto message = [](const Json& config) { return Read(config).status().message(); };
  EXPECT_THAT(message(EditedGolden("mistral_window", R"({"layer_types":["full_attention","full_attention",
              "full_attention"]})")),
              HasSubstr("differs from sliding_window"));
  EXPECT_THAT(message(EditedGolden("mistral_window", R"({"sliding_window":0})")),
              HasSubstr("is 0, expected 1"));
  EXPECT_THAT(message(EditedGolden("qwen3_mixed", R"({"layer_types":["full_attention"]})")),
              HasSubstr("has 1 entries for 3 layers"));
  EXPECT_THAT(message(EditedGolden("qwen3_mixed", R"({"layer_types":["full_attention","x","x"]})")),
              HasSubstr("has 'x', expected full_attention"));
  EXPECT_THAT(message(EditedGolden("qwen3_mixed", R"({"use_sliding_window":false})")),
              HasSubstr("has sliding_attention, but use_sliding_window is false"));
}

TEST(ReadModelSpec, BothSpellingsOfRopeMeanTheSame) {
  const ModelSpec old_style = MustRead(Edited(
      R"({"rope_theta":500000.0,"rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":64}})"));
  const ModelSpec new_style = MustRead(Edited(
      R"({"rope_parameters":{"rope_type":"yarn","rope_theta":500000.0,"factor":4.0,
          "original_max_position_embeddings":64}})"));
  const ModelSpec both = MustRead(Edited(
      R"({"rope_theta":500000.0,"rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":64},
          "rope_parameters":{"rope_type":"yarn","rope_theta":500000.0,"factor":4.0,
          "original_max_position_embeddings":64}})"));
  const ModelSpec nested = MustRead(Edited(
      R"({"rope_parameters":{"full_attention":{"rope_type":"yarn","rope_theta":500000.0,"factor":4.0,
          "original_max_position_embeddings":64}}})"));
  for (const ModelSpec& spec : {new_style, both, nested}) {
    EXPECT_EQ(spec.rope.inv_freq, old_style.rope.inv_freq);
    EXPECT_EQ(spec.rope.attention_factor, old_style.rope.attention_factor);
    EXPECT_EQ(spec.max_positions, 256);
  }
}

TEST(ReadModelSpec, PublishedModelsReadWithoutAnUnknownKey) {
  // The keys, not the values, of configs as published by their makers and as transformers 4 and 5 save them.
  const char* edits[] = {
      R"({"_name_or_path":"x","pretraining_tp":1,"use_cache":true,"transformers_version":"4.31.0","rope_scaling":null,
          "initializer_range":0.02,"pad_token_id":0,"max_length":4096,"attention_bias":false,"mlp_bias":false})",
      R"({"return_dict":true,"output_hidden_states":false,"output_attentions":false,"torchscript":false,
          "use_bfloat16":false,"tf_legacy_loss":false,"pruned_heads":{},"chunk_size_feed_forward":0,
          "is_encoder_decoder":false,"is_decoder":false,"cross_attention_hidden_size":null,
          "add_cross_attention":false,"tie_encoder_decoder":false,"max_length":20,"min_length":0,"do_sample":false,
          "early_stopping":false,"num_beams":1,"num_beam_groups":1,"diversity_penalty":0.0,"temperature":1.0,
          "top_k":50,"top_p":1.0,"typical_p":1.0,"repetition_penalty":1.0,"length_penalty":1.0,
          "no_repeat_ngram_size":0,"encoder_no_repeat_ngram_size":0,"bad_words_ids":null,"num_return_sequences":1,
          "output_scores":false,"return_dict_in_generate":false,"forced_bos_token_id":null,
          "forced_eos_token_id":null,"remove_invalid_values":false,"exponential_decay_length_penalty":null,
          "suppress_tokens":null,"begin_suppress_tokens":null,"finetuning_task":null,"id2label":{"0":"LABEL_0"},
          "label2id":{"LABEL_0":0},"tokenizer_class":null,"prefix":null,"sep_token_id":null,
          "decoder_start_token_id":null,"task_specific_params":null,"problem_type":null})"};
  for (const char* edit : edits)
    EXPECT_TRUE(Read(Edited(edit)).ok()) << Read(Edited(edit)).status().message();
}

TEST(ReadModelSpec, FromADirectory) {
  const auto tales = ReadModelSpec(std::string(LATHE_SOURCE_DIR) + "/models/tales-16m");
  ASSERT_TRUE(tales.ok()) << tales.status().message();
  EXPECT_EQ(tales->n_layers, 8);
  EXPECT_EQ(tales->max_positions, 2048);
  EXPECT_THAT(tales->eos_ids, ElementsAre(1, 4));
  EXPECT_TRUE(tales->tied_embeddings);
  const std::string dir = ScratchDir("read");
  EXPECT_EQ(ReadModelSpec(dir).status().code(), StatusCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(dir + "/config.json", "{\"hidden_size\":48,\"hidden_size\":49}").ok());
  EXPECT_THAT(ReadModelSpec(dir).status().message(), HasSubstr("'hidden_size' appears twice"));
}

TEST(SpecJson, RoundTripsEveryGoldenModel) {
  for (const std::string& name : GoldenModels()) {
    const Json json = ToJson(MustRead(Golden(name)["config"]));
    const auto parsed = ParseJson(DumpJson(json), "manifest");
    const auto spec = ModelSpecFromJson(*parsed, "manifest");
    ASSERT_TRUE(spec.ok()) << spec.status().message();
    EXPECT_EQ(DumpJson(ToJson(*spec)), DumpJson(json)) << name;
  }
}

TEST(SpecJson, IsStrict) {
  const Json good = ToJson(MustRead(SmallConfig()));
  for (const auto& [key, value] : good.items()) {
    Json json = good;
    json.erase(key);
    EXPECT_FALSE(ModelSpecFromJson(json, "m").ok()) << "without " << key;
    json[key] = Json::object({{"x", 1}});
    EXPECT_FALSE(ModelSpecFromJson(json, "m").ok()) << "ill-typed " << key;
  }
  const std::pair<const char*, Json> bad[] = {
      {"more", 1},        {"n_heads", 7},         {"n_layers", 4},          {"window", {1, 2, -1}},
      {"eos_ids", {301}}, {"head_dim", 9},        {"hidden", -1},           {"norm_eps", -1.0},
      {"family", 3},      {"activation", "relu"}, {"checkpoint_dtype", ""}, {"n_layers", 1 << 20}};
  for (const auto& [key, value] : bad) {
    Json json = good;
    json[key] = value;
    EXPECT_FALSE(ModelSpecFromJson(json, "m").ok()) << key;
  }
  Json json = good;
  json["rope"]["inv_freq"].push_back(1.0);
  EXPECT_THAT(ModelSpecFromJson(json, "m").status().message(), HasSubstr("5 frequencies"));
  EXPECT_FALSE(ModelSpecFromJson(Json::array(), "m").ok());
}

TEST(Role, NamesAreUniqueAndInvert) {
  for (int i = 0; i <= static_cast<int>(Role::kDownBias); ++i)
    EXPECT_EQ(RoleFromString(ToString(static_cast<Role>(i))), static_cast<Role>(i));
  EXPECT_FALSE(RoleFromString("x").has_value());
}

}  // namespace
}  // namespace lathe
