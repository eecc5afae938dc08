#include "serve/openai/param_table.h"

#include <bit>

#include "serve/openai/param_rows.h"

namespace lathe::serve {
namespace {

size_t IndexOf(Endpoint endpoint) {
  return static_cast<size_t>(std::countr_zero(static_cast<unsigned>(endpoint)));
}

// "tools[].function" of "tools[].function.name"; "" of "tools".
std::string_view ParentOf(std::string_view path) {
  const size_t dot = path.rfind('.');
  return dot == std::string_view::npos ? std::string_view{} : path.substr(0, dot);
}

}  // namespace

std::string_view PathOf(Endpoint endpoint) {
  switch (endpoint) {
    case kChat: return "/v1/chat/completions";
    case kCompletions: return "/v1/completions";
    case kEmbeddings: return "/v1/embeddings";
    case kTokenize: return "/tokenize";
    case kDetokenize: return "/detokenize";
    case kGenerate: return "/v2/models/{name}/generate";
  }
  return "";
}

ParamTable::ParamTable(const ApiLimits& limits) : rows_(MakeParamRows(limits)) {
  for (const ParamSpec& row : rows_) {
    for (const Endpoint endpoint : kEndpoints) {
      if ((row.endpoints & endpoint) == 0) continue;
      by_path_[IndexOf(endpoint)].emplace(row.name, &row);
      children_[IndexOf(endpoint)][std::string(ParentOf(row.name))].push_back(&row);
    }
  }
}

const ParamSpec* ParamTable::Find(Endpoint endpoint, std::string_view path) const {
  const auto& paths = by_path_[IndexOf(endpoint)];
  const auto it = paths.find(path);
  return it == paths.end() ? nullptr : it->second;
}

const std::vector<const ParamSpec*>& ParamTable::Children(Endpoint endpoint, std::string_view path) const {
  static const std::vector<const ParamSpec*> kNone;
  const auto& children = children_[IndexOf(endpoint)];
  const auto it = children.find(path);
  return it == children.end() ? kNone : it->second;
}

}  // namespace lathe::serve
