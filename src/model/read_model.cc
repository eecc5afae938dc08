#include "model/read_model.h"

#include <algorithm>

#include "model/families/families.h"
#include "model/spec_json.h"

namespace lathe {
namespace {

// "LlamaForCausalLM, MistralForCausalLM, ..."
std::string KnownArchitectures() {
  std::string out;
  for (const Family* family : kFamilies) out += (out.empty() ? "" : ", ") + std::string(family->architecture);
  return out;
}

Expected<const Family*> FindFamily(ConfigReader& config) {
  LATHE_ASSIGN_OR_RETURN(const std::vector<std::string> architectures, config.Strings("architectures"));
  LATHE_ASSIGN_OR_RETURN(const std::string model_type, config.StringOr("model_type", ""));
  for (const Family* family : kFamilies) {
    const bool named =
        std::find(architectures.begin(), architectures.end(), family->architecture) != architectures.end();
    if (!(named || (architectures.empty() && model_type == family->name))) continue;
    if (!model_type.empty() && model_type != family->name)
      return config.Bad(StatusCode::kUnsupported, "model_type",
                        "is '" + model_type.substr(0, 60) + "', which does not belong to " +
                            std::string(family->architecture));
    return family;
  }
  const std::string found = architectures.empty() ? model_type : architectures[0];
  return Error(StatusCode::kUnsupported, "%s: unknown architecture '%s' (model_type '%s'); supported are %s",
               config.where().c_str(), found.substr(0, 80).c_str(), model_type.substr(0, 80).c_str(),
               KnownArchitectures().c_str());
}

// End tokens of both files; the class default only where neither names one.
void MergeGeneration(const GenerationDefaults& generation, int default_eos, ModelSpec* spec) {
  for (const int64_t id : generation.eos_ids)
    if (id >= 0 && id < spec->vocab &&
        std::find(spec->eos_ids.begin(), spec->eos_ids.end(), static_cast<int>(id)) == spec->eos_ids.end())
      spec->eos_ids.push_back(static_cast<int>(id));
  if (spec->eos_ids.empty() && default_eos >= 0 && default_eos < spec->vocab)
    spec->eos_ids.push_back(default_eos);
  if (generation.bos_id >= 0 && generation.bos_id < spec->vocab)
    spec->bos_id = static_cast<int>(generation.bos_id);
  if (generation.pad_id >= 0 && generation.pad_id < spec->vocab)
    spec->pad_id = static_cast<int>(generation.pad_id);
  spec->default_temperature = generation.temperature;
  spec->default_top_p = generation.top_p;
  spec->default_top_k = generation.top_k;
  spec->default_repetition_penalty = generation.repetition_penalty;
  spec->default_do_sample = generation.do_sample;
}

}  // namespace

Expected<ModelSpec> ReadModelSpec(const Json& config, const GenerationDefaults& generation,
                                  const std::string& where) {
  if (!config.is_object()) return Error(StatusCode::kCorrupt, "%s: not a JSON object", where.c_str());
  ConfigReader reader(config, where);
  LATHE_ASSIGN_OR_RETURN(const Family* family, FindFamily(reader));
  if (reader.Take("quantization_config") != nullptr)
    return reader.Bad(
        StatusCode::kUnsupported, "quantization_config",
        "is present: already quantised checkpoints are not supported, use the original weights");
  ModelSpec spec;
  spec.family = family->name;
  LATHE_RETURN_IF_ERROR(ReadLlamaLike(reader, family->defaults, &spec));
  LATHE_RETURN_IF_ERROR(family->read_differences(reader, &spec));
  reader.Ignore(CommonIgnoredKeys());
  LATHE_RETURN_IF_ERROR(reader.IgnoreWhenOff(CommonMustBeOffKeys()));
  LATHE_RETURN_IF_ERROR(reader.Finish());
  MergeGeneration(generation, reader.Has("eos_token_id") ? -1 : family->defaults.eos_id, &spec);
  LATHE_RETURN_IF_ERROR(ValidateSpec(spec, where));
  return spec;
}

Expected<ModelSpec> ReadModelSpec(const std::string& dir) {
  const std::string path = dir + "/config.json";
  LATHE_ASSIGN_OR_RETURN(const Json config,
                         ReadJsonFile(path, {.max_bytes = size_t{16} << 20, .max_depth = 32}));
  LATHE_ASSIGN_OR_RETURN(const GenerationDefaults generation, ReadGenerationConfig(dir));
  return ReadModelSpec(config, generation, path);
}

}  // namespace lathe
