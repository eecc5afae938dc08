#include "hub/engine_index.h"

#include <algorithm>
#include <cctype>

#include "base/json.h"
#include "hub/names.h"

namespace lathe::hub {
namespace {

constexpr size_t kMaxEngines = 1000;
constexpr size_t kMaxMachinePart = 40;

Expected<EngineEntry> EntryFromJson(const Json& json, const std::string& where) {
  EngineEntry entry;
  const std::pair<const char*, std::string*> texts[] = {
      {"file", &entry.file},   {"target", &entry.target},   {"model", &entry.model},
      {"dtype", &entry.dtype}, {"builder", &entry.builder}, {"sha256", &entry.sha256}};
  for (const auto& [key, out] : texts) {
    LATHE_ASSIGN_OR_RETURN(*out, JsonString(json, key, where));
  }
  LATHE_ASSIGN_OR_RETURN(entry.machine, JsonStringOr(json, "machine", "", where));
  LATHE_ASSIGN_OR_RETURN(entry.model_hash, JsonStringOr(json, "model_hash", "", where));
  LATHE_ASSIGN_OR_RETURN(const int64_t size, JsonInt(json, "size", where));
  LATHE_ASSIGN_OR_RETURN(const int64_t format, JsonInt(json, "format", where));
  LATHE_ASSIGN_OR_RETURN(const int64_t tp, JsonIntOr(json, "tp", 1, where));
  LATHE_ASSIGN_OR_RETURN(const int64_t pp, JsonIntOr(json, "pp", 1, where));
  LATHE_RETURN_IF_ERROR(CheckRepoPath(entry.file));
  const bool small = format >= 0 && format < 1'000'000 && tp > 0 && tp <= 4096 && pp > 0 && pp <= 4096;
  if (size < 0 || !small || !IsSha256(entry.sha256) || !entry.file.ends_with(".lathe"))
    return Error(StatusCode::kCorrupt, "%s: the entry of '%s' has a size, number or hash that cannot be",
                 where.c_str(), Quoted(entry.file).c_str());
  entry.size = static_cast<uint64_t>(size);
  entry.format = static_cast<int>(format);
  entry.tp = static_cast<int>(tp);
  entry.pp = static_cast<int>(pp);
  return entry;
}

// Letters and digits in lower case, everything between as one '-'.
std::string Slug(std::string_view text, size_t limit) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || c == '_' || c == '.') {
      out += static_cast<char>(std::tolower(byte));
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
    if (out.size() >= limit) break;
  }
  while (!out.empty() && (out.back() == '-' || out.back() == '.')) out.pop_back();
  return out;
}

bool SamePlace(const EngineEntry& a, const EngineEntry& b) {
  return a.file == b.file || (a.model == b.model && a.dtype == b.dtype && a.target == b.target &&
                              a.machine == b.machine && a.tp == b.tp && a.pp == b.pp);
}

}  // namespace

Expected<std::vector<EngineEntry>> ParseEngineIndex(std::string_view text, const std::string& where) {
  LATHE_ASSIGN_OR_RETURN(const Json json, ParseJson(text, where, {.max_bytes = 4 << 20, .max_depth = 8}));
  if (!json.is_object() || !json.contains("engines") || !json["engines"].is_array() ||
      json["engines"].size() > kMaxEngines)
    return Error(StatusCode::kCorrupt,
                 "%s has no list 'engines' of at most %zu; remove it and push the engines again",
                 where.c_str(), kMaxEngines);
  std::vector<EngineEntry> out;
  for (const Json& item : json["engines"]) {
    if (!item.is_object()) return Error(StatusCode::kCorrupt, "%s: an engine is no object", where.c_str());
    LATHE_ASSIGN_OR_RETURN(EngineEntry entry, EntryFromJson(item, where));
    out.push_back(std::move(entry));
  }
  return out;
}

std::string EngineIndexText(const std::vector<EngineEntry>& engines) {
  Json list = Json::array();
  for (const EngineEntry& e : engines)
    list.push_back({{"file", e.file},
                    {"target", e.target},
                    {"machine", e.machine},
                    {"model", e.model},
                    {"model_hash", e.model_hash},
                    {"dtype", e.dtype},
                    {"builder", e.builder},
                    {"format", e.format},
                    {"tp", e.tp},
                    {"pp", e.pp},
                    {"size", e.size},
                    {"sha256", e.sha256}});
  return DumpJson(Json{{"version", 1}, {"engines", list}}, 2) + "\n";
}

std::vector<EngineEntry> MergeEngines(std::vector<EngineEntry> present,
                                      const std::vector<EngineEntry>& added) {
  for (const EngineEntry& entry : added) {
    std::erase_if(present, [&entry](const EngineEntry& old) { return SamePlace(old, entry); });
    present.push_back(entry);
  }
  std::sort(present.begin(), present.end(),
            [](const EngineEntry& a, const EngineEntry& b) { return a.file < b.file; });
  return present;
}

std::string EngineFileName(const EngineEntry& engine) {
  std::string name = Slug(engine.model, 80) + "-" + engine.dtype + "-" + Slug(engine.target, 40);
  if (engine.tp > 1) name += "-tp" + std::to_string(engine.tp);
  if (engine.pp > 1) name += "-pp" + std::to_string(engine.pp);
  const std::string machine = Slug(engine.machine, kMaxMachinePart);
  return name + (machine.empty() ? "" : "-" + machine) + ".lathe";
}

const EngineEntry* BestEngine(const std::vector<EngineEntry>& engines, const Fitness& fitness) {
  const EngineEntry* best = nullptr;
  int best_fit = -1;
  for (const EngineEntry& entry : engines) {
    const int fit = fitness(entry);
    if (fit > best_fit) {
      best = &entry;
      best_fit = fit;
    }
  }
  return best;
}

}  // namespace lathe::hub
