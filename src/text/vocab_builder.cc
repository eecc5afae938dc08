#include "text/vocab_builder.h"

#include <algorithm>

#include "text/byte_level.h"

namespace lathe::text {

VocabBuilder::VocabBuilder(std::string_view where, size_t expected) : where_(where) {
  expected = std::min(expected, kMaxVocab);
  names_.Reserve(expected, expected * 8);
  Rehash(expected + 1024);
}

void VocabBuilder::Rehash(size_t count) {
  capacity_ = count;
  index_.Reserve(count);
  int32_t existing = -1;
  for (size_t entry = 0; entry < names_.size(); ++entry)
    index_.Insert(names_, names_[entry], static_cast<int32_t>(entry), &existing);
}

Status VocabBuilder::Fault(const char* what, int64_t id, std::string_view name) const {
  return Error(StatusCode::kCorrupt, "%.*s: %s: token %lld '%.60s'", static_cast<int>(where_.size()),
               where_.data(), what, static_cast<long long>(id), std::string(name).c_str());
}

Status VocabBuilder::Add(int64_t id, std::string_view name, uint8_t flags, float score) {
  if (id < 0 || id >= static_cast<int64_t>(kMaxVocab)) return Fault("id outside 0..2^24", id, name);
  // A table that would be mostly holes is a broken file, not one to spend memory on.
  if (static_cast<size_t>(id) >= 64 * capacity_) return Fault("id far beyond the number of tokens", id, name);
  if (name.size() > kMaxTokenBytes) return Fault("a token longer than 64 KiB", id, name.substr(0, 40));
  if (names_.bytes().size() + name.size() > kMaxVocabBytes)
    return Fault("more than 512 MiB of tokens", id, name);
  const auto slot = static_cast<size_t>(id);
  if (slot < entry_of_.size() && entry_of_[slot] >= 0) return Fault("id used twice", id, name);
  if (names_.size() >= capacity_) Rehash(capacity_ * 2);
  const auto entry = static_cast<int32_t>(names_.size());
  int32_t existing = -1;
  names_.Append(name);
  if (!index_.Insert(names_, name, entry, &existing)) return Fault("name used twice", id, name);
  flags_.push_back(static_cast<uint8_t>(flags | kTokenPresent));
  scores_.push_back(score);
  ids_.push_back(static_cast<int32_t>(id));
  if (slot >= entry_of_.size()) entry_of_.resize(slot + 1, -1);
  entry_of_[slot] = entry;
  return Status::Ok();
}

int32_t VocabBuilder::Find(std::string_view name) const {
  const int32_t entry = index_.Find(names_, name);
  return entry < 0 ? -1 : ids_[static_cast<size_t>(entry)];
}

std::string_view VocabBuilder::NameAt(int64_t id) const {
  if (id < 0 || id >= static_cast<int64_t>(entry_of_.size())) return {};
  const int32_t entry = entry_of_[static_cast<size_t>(id)];
  return entry < 0 ? std::string_view() : names_[static_cast<size_t>(entry)];
}

void VocabBuilder::SetFlags(int32_t id, uint8_t flags) {
  const int32_t entry = entry_of_[static_cast<size_t>(id)];
  uint8_t& current = flags_[static_cast<size_t>(entry)];
  current = static_cast<uint8_t>(current | flags);
}

Status VocabBuilder::AddAdded(AddedToken token) {
  if (token.content.empty()) return Fault("an added token without content", token.id, "");
  const int32_t known = Find(token.content);
  if (known >= 0) {
    token.id = known;
  } else {
    if (token.id < 0) token.id = static_cast<int32_t>(entry_of_.size());
    if (!NameAt(token.id).empty())
      return Error(StatusCode::kCorrupt, "%.*s: added token '%.60s' wants id %d, which belongs to '%.60s'",
                   static_cast<int>(where_.size()), where_.data(), token.content.c_str(), token.id,
                   std::string(NameAt(token.id)).c_str());
    LATHE_RETURN_IF_ERROR(Add(token.id, token.content, 0));
  }
  if (token.special) SetFlags(token.id, kTokenSpecial);
  const auto same =
      std::find_if(added_.begin(), added_.end(), [&](const AddedToken& t) { return t.id == token.id; });
  if (same == added_.end()) {
    added_.push_back(std::move(token));
  } else {
    same->special = same->special || token.special;
  }
  return Status::Ok();
}

void VocabBuilder::Finish(TokenizerSpec* spec) {
  const size_t n = entry_of_.size();
  const bool scored = spec->model != ModelKind::kMergePairs;
  TokenArena tokens;
  tokens.Reserve(n, names_.bytes().size());
  spec->token_flags.assign(n, 0);
  spec->scores.assign(scored ? n : 0, 0.0f);
  std::string bytes;
  for (size_t id = 0; id < n; ++id) {
    if (entry_of_[id] < 0) {
      tokens.Append({});
      continue;
    }
    const auto entry = static_cast<size_t>(entry_of_[id]);
    uint8_t flags = flags_[entry];
    bytes.clear();
    if (spec->form == VocabForm::kText) {
      tokens.Append(names_[entry]);
    } else if (AppendLetterBytes(names_[entry], &bytes)) {
      tokens.Append(bytes);
    } else {
      flags |= kTokenVerbatim;
      tokens.Append(names_[entry]);
    }
    spec->token_flags[id] = flags;
    if (scored) spec->scores[id] = scores_[entry];
  }
  spec->tokens = std::move(tokens);
  spec->added = std::move(added_);
}

}  // namespace lathe::text
