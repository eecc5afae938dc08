// Which files of a repository a model needs.
#pragma once

#include <string>
#include <vector>

#include "hub/api.h"

namespace lathe::hub {

// Pickles and what else can run code when read: .bin, .pt, .pth, .pkl, .pickle, .ckpt, .joblib, .npy, .npz,
// .dill.
bool IsPickle(const std::string& path);

// Files beside the weights: configurations, tokenizers and chat templates in the topmost folder.
std::vector<RemoteFile> SmallFiles(const std::vector<RemoteFile>& files);

// Any of them is a tokenizer, or the first of the files that make one.
inline constexpr const char* kTokenizerFiles[] = {"tokenizer.json", "tokenizer.model", "vocab.json"};
bool HasTokenizer(const std::vector<RemoteFile>& files);

// model.safetensors, or, where there is none, nothing: the shards are in the index then (ShardFiles).
// Errors: kUnsupported for a repository that has pickles or GGUF alone; kNotFound for one without weights.
Expected<std::vector<RemoteFile>> WeightFiles(const std::vector<RemoteFile>& files, const std::string& repo);

// The shards that the text of model.safetensors.index.json names. Errors: kCorrupt for an index that is none,
// or that names a shard that is not there.
Expected<std::vector<RemoteFile>> ShardFiles(const std::vector<RemoteFile>& files,
                                             const std::string& index_text, const std::string& repo);
inline constexpr char kSingleName[] = "model.safetensors";
inline constexpr char kIndexName[] = "model.safetensors.index.json";

// What matches one of `include` (none: everything) and none of `exclude`, but no pickle. Errors: kUnsupported
// when only pickles match, kNotFound when nothing does.
Expected<std::vector<RemoteFile>> MatchingFiles(const std::vector<RemoteFile>& files,
                                                const std::vector<std::string>& include,
                                                const std::vector<std::string>& exclude,
                                                const std::string& repo);

}  // namespace lathe::hub
