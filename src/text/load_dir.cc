// Finding the tokenizer in a model directory.
#include <filesystem>

#include "base/file.h"
#include "text/loaders.h"
#include "text/tokenizer.h"

namespace lathe {
namespace {

// tokenizer.model, or the first in order of name of those like tokenizer.model.v3. Empty: none.
std::string FindModelFile(const std::string& dir) {
  if (FileExists(dir + "/tokenizer.model")) return dir + "/tokenizer.model";
  std::string best;
  std::error_code error;
  for (std::filesystem::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    const bool fits = name.ends_with(".model") || name.find(".model.v") != std::string::npos;
    if (fits && (best.empty() || name < best)) best = name;
  }
  return best.empty() ? best : dir + "/" + best;
}

}  // namespace

Expected<Tokenizer> Tokenizer::LoadDir(const std::string& dir) {
  LATHE_ASSIGN_OR_RETURN(const text::TokenizerConfig config, text::ReadTokenizerConfigDir(dir));
  const std::string json_path = dir + "/tokenizer.json";
  if (FileExists(json_path)) {
    LATHE_ASSIGN_OR_RETURN(const std::string json, ReadFile(json_path));
    return FromJson(json, json_path, config);
  }
  const std::string model_path = FindModelFile(dir);
  if (!model_path.empty()) {
    LATHE_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model_path));
    return text::LooksLikeTiktoken(bytes) ? FromTiktoken(bytes, model_path, config)
                                          : FromSentencePiece(bytes, model_path, config);
  }
  const std::string vocab_path = dir + "/vocab.json";
  const std::string merges_path = dir + "/merges.txt";
  if (FileExists(vocab_path) && FileExists(merges_path)) {
    LATHE_ASSIGN_OR_RETURN(const std::string vocab, ReadFile(vocab_path));
    LATHE_ASSIGN_OR_RETURN(const std::string merges, ReadFile(merges_path));
    return FromVocabMerges(vocab, merges, vocab_path, config);
  }
  return Error(StatusCode::kNotFound,
               "%s: no tokenizer: expected tokenizer.json, tokenizer.model, or vocab.json with merges.txt%s",
               dir.c_str(), FileExists(dir + "/tekken.json") ? " (tekken.json alone is not supported)" : "");
}

}  // namespace lathe
