#include "compiler/timing_cache.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/file.h"
#include "base/status.h"
#include "compiler/tactics.h"

namespace lathe {
namespace {

constexpr int kVersion = 1;
constexpr size_t kMaxBytes = size_t{64} << 20;

// Our own, regular, and closed to others for writing. kNotFound when there is no such file.
Status CheckOwnership(const std::string& path) {
  struct stat st {};
  if (::stat(path.c_str(), &st) != 0)
    return Error(errno == ENOENT ? StatusCode::kNotFound : StatusCode::kIo,
                 "cannot read timing cache '%s': %s", path.c_str(), std::strerror(errno));
  if (!S_ISREG(st.st_mode))
    return Error(StatusCode::kInvalidArgument, "timing cache '%s' is not a regular file", path.c_str());
  if (st.st_uid != ::geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0)
    return Error(
        StatusCode::kInvalidArgument,
        "timing cache '%s' can be written by others (owner %u, mode %03o); it must be yours and closed to "
        "group and world: chmod 644, or name another file",
        path.c_str(), static_cast<unsigned>(st.st_uid), static_cast<unsigned>(st.st_mode & 0777));
  return Status::Ok();
}

Expected<std::map<std::string, Json>> ReadEntries(const std::string& path) {
  LATHE_RETURN_IF_ERROR(CheckOwnership(path));
  LATHE_ASSIGN_OR_RETURN(const Json json, ReadJsonFile(path, {.max_bytes = kMaxBytes, .max_depth = 8}));
  if (!json.is_object() || !json.contains("entries") || !json["entries"].is_object())
    return Error(StatusCode::kCorrupt, "'%s' is not a timing cache of lathe; delete it or name another file",
                 path.c_str());
  LATHE_ASSIGN_OR_RETURN(const int64_t version, JsonIntOr(json, "version", 0, path));
  std::map<std::string, Json> out;
  if (version != kVersion) return out;
  for (const auto& [key, value] : json["entries"].items()) out.emplace(key, value);
  return out;
}

std::string DimsText(const GemmDims& dims) {
  return StrFormat("%lldx%lld%s", static_cast<long long>(dims.N), static_cast<long long>(dims.K),
                   dims.silu_mul ? "s" : "");
}

Json ToJson(const TacticBucket& b) {
  return {{"max_m", b.max_m},
          {"kernel", b.kernel},
          {"us", b.microseconds},
          {"roof_percent", b.roof_percent},
          {"memory_bound", b.memory_bound}};
}

// False for anything that is not what ToJson wrote.
bool FromJson(const Json& json, TacticBucket* out) {
  const std::string where = "timing cache";
  if (!json.is_object()) return false;
  const auto max_m = JsonInt(json, "max_m", where);
  const auto kernel = JsonString(json, "kernel", where);
  const auto us = JsonNumber(json, "us", where);
  const auto roof = JsonNumber(json, "roof_percent", where);
  const auto memory_bound = JsonBoolOr(json, "memory_bound", true, where);
  if (!max_m.ok() || !kernel.ok() || !us.ok() || !roof.ok() || !memory_bound.ok() || *max_m < 1 ||
      *max_m > (1 << 30) || !std::isfinite(*us) || !std::isfinite(*roof))
    return false;
  *out = {static_cast<int>(*max_m), *kernel, *us, *roof, *memory_bound};
  return true;
}

}  // namespace

std::string TimingCache::Prefix() const {
  if (!scope_.chip.empty())
    return StrFormat("%s|%s|lathe %s|", scope_.machine.c_str(), scope_.chip.c_str(), scope_.lathe.c_str());
  return StrFormat("%s|%d threads|lathe %s|%s|", scope_.machine.c_str(), scope_.threads, scope_.lathe.c_str(),
                   std::string(ToString(scope_.isa)).c_str());
}

std::string TimingCache::Key(NumericClass numeric, const GemmDims& dims) const {
  return Prefix() + std::string(ToString(numeric)) + "|" + DimsText(dims);
}

std::string TimingCache::ClassKey(const std::vector<GemmDims>& shapes) const {
  std::string key = Prefix() + "class";
  for (const GemmDims& dims : shapes) key += "|" + DimsText(dims);
  return key;
}

Status TimingCache::Load(const std::string& path, std::string* warning) {
  auto entries = ReadEntries(path);
  if (!entries.ok())
    return entries.status().code() == StatusCode::kNotFound ? Status::Ok() : entries.status();
  entries_ = *std::move(entries);
  const auto it = entries_.lower_bound(Prefix());
  if (!entries_.empty() && (it == entries_.end() || !it->first.starts_with(Prefix())))
    *warning =
        StrFormat("timing cache '%s' has nothing for this machine (%s, %s, lathe %s); measuring anew",
                  path.c_str(), scope_.machine.c_str(),
                  scope_.chip.empty() ? StrFormat("%d threads", scope_.threads).c_str() : scope_.chip.c_str(),
                  scope_.lathe.c_str());
  return Status::Ok();
}

Status TimingCache::Save(const std::string& path) const {
  std::map<std::string, Json> merged = entries_;
  if (auto others = ReadEntries(path); others.ok()) {
    merged.merge(*others);
  } else if (others.status().code() != StatusCode::kNotFound) {
    return others.status();
  }
  Json json = {{"version", kVersion}, {"entries", Json::object()}};
  for (const auto& [key, value] : merged) json["entries"][key] = value;
  return WriteFileAtomic(path, DumpJson(json, 1) + "\n");
}

GemmTactic TimingCache::Find(NumericClass numeric, const GemmDims& dims) const {
  const GemmTactic none;
  const auto it = entries_.find(Key(numeric, dims));
  if (it == entries_.end() || !it->second.is_array()) return none;
  GemmTactic out{.N = dims.N, .K = dims.K, .silu_mul = dims.silu_mul, .buckets = {}};
  for (const Json& entry : it->second) {
    TacticBucket bucket;
    if (!FromJson(entry, &bucket)) return none;
    out.buckets.push_back(std::move(bucket));
  }
  const bool usable = scope_.usable ? scope_.usable(out, numeric) : IsUsableTactic(out, scope_.isa, numeric);
  return usable ? out : none;
}

void TimingCache::Put(NumericClass numeric, const GemmTactic& tactic) {
  Json buckets = Json::array();
  for (const TacticBucket& bucket : tactic.buckets) buckets.push_back(ToJson(bucket));
  entries_[Key(numeric, {.N = tactic.N, .K = tactic.K, .silu_mul = tactic.silu_mul})] = std::move(buckets);
}

bool TimingCache::FindClass(const std::vector<GemmDims>& shapes, NumericClass* numeric) const {
  const auto it = entries_.find(ClassKey(shapes));
  if (it == entries_.end() || !it->second.is_string()) return false;
  for (NumericClass c : {NumericClass::kBf16Fma, NumericClass::kBf16Dot})
    if (it->second.get<std::string>() == ToString(c)) {
      *numeric = c;
      return true;
    }
  return false;
}

void TimingCache::PutClass(const std::vector<GemmDims>& shapes, NumericClass numeric) {
  entries_[ClassKey(shapes)] = std::string(ToString(numeric));
}

}  // namespace lathe
