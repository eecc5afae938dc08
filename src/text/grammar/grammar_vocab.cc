#include "text/grammar/grammar_vocab.h"

#include <algorithm>
#include <numeric>

#include "text/utf8.h"

namespace lathe {
namespace {

// A longer one is written by shorter ones.
constexpr size_t kMaxUsefulBytes = 1024;

// Characters of plain text, or -1 when it is something else.
int PlainLength(std::string_view bytes) {
  int n = 0;
  for (size_t i = 0; i < bytes.size(); ++n) {
    const text::Utf8Step step = text::NextUtf8(bytes, i);
    const char32_t c = step.code_point;
    if (!step.valid || c < 0x20 || c == '"' || c == '\\' || c == 0x7F || c == 0x2028 || c == 0x2029)
      return -1;
    i += step.length;
  }
  return n;
}

GrammarVocab::Tree BuildTree(std::span<const std::string> bytes, const std::vector<TokenId>& order) {
  GrammarVocab::Tree tree;
  tree.nodes.push_back({});
  std::vector<uint32_t> path = {0};  // node at each depth
  std::string_view previous;
  const auto close = [&](size_t depth) {
    while (path.size() > depth + 1) {
      tree.nodes[path.back()].end = static_cast<uint32_t>(tree.nodes.size());
      path.pop_back();
    }
  };
  for (const TokenId id : order) {
    const std::string_view token = bytes[static_cast<size_t>(id)];
    const auto differ = std::mismatch(token.begin(), token.end(), previous.begin(), previous.end());
    close(static_cast<size_t>(differ.first - token.begin()));
    while (path.size() <= token.size()) {
      GrammarVocab::Node node;
      node.depth = static_cast<uint16_t>(path.size());
      node.byte = static_cast<uint8_t>(token[path.size() - 1]);
      node.tokens = static_cast<uint32_t>(tree.tokens.size());
      path.push_back(static_cast<uint32_t>(tree.nodes.size()));
      tree.nodes.push_back(node);
    }
    tree.tokens.push_back(id);
    previous = token;
  }
  close(0);
  tree.nodes[0].end = static_cast<uint32_t>(tree.nodes.size());
  GrammarVocab::Node last;
  last.tokens = static_cast<uint32_t>(tree.tokens.size());
  tree.nodes.push_back(last);
  return tree;
}

// Both in preorder: one pass finds each node of `part` in `whole`.
void FindOrigins(const GrammarVocab::Tree& whole, GrammarVocab::Tree* part) {
  const size_t n = part->nodes.size() - 1;
  part->origin.assign(n, 0);
  std::vector<uint32_t> at_depth = {0};
  for (size_t i = 1; i < n; ++i) {
    const GrammarVocab::Node& node = part->nodes[i];
    at_depth.resize(node.depth);
    uint32_t child = at_depth.back() + 1;
    while (whole.nodes[child].byte != node.byte) child = whole.nodes[child].end;
    part->origin[i] = child;
    at_depth.push_back(child);
  }
}

}  // namespace

GrammarVocab GrammarVocab::FromTokenizer(const Tokenizer& tokenizer, std::span<const TokenId> eos_ids) {
  GrammarVocab vocab;
  vocab.size_ = tokenizer.vocab_size();
  vocab.eos_ids_.assign(eos_ids.begin(), eos_ids.end());
  std::vector<bool> by_name_only(static_cast<size_t>(vocab.size_));
  const auto hide = [&](TokenId id) {
    if (id >= 0 && id < vocab.size_) by_name_only[static_cast<size_t>(id)] = true;
  };
  for (const auto& added : tokenizer.spec().added) {
    hide(added.id);
    if (added.id >= 0 && added.id < vocab.size_) vocab.named_.emplace(added.content, added.id);
  }
  for (const TokenId id : eos_ids) hide(id);
  hide(tokenizer.unk_id());
  std::vector<std::string> bytes(static_cast<size_t>(vocab.size_));
  for (TokenId id = 0; id < vocab.size_; ++id) {
    const auto i = static_cast<size_t>(id);
    if (tokenizer.IsSpecial(id)) {
      vocab.named_.emplace(tokenizer.TokenText(id), id);
    } else if (!by_name_only[i]) {
      bytes[i] = tokenizer.TokenBytes(id);
    }
  }
  vocab.Build(bytes);
  return vocab;
}

GrammarVocab GrammarVocab::FromStrings(std::span<const std::string> bytes, std::span<const TokenId> eos_ids,
                                       const std::unordered_map<std::string, TokenId>& named) {
  GrammarVocab vocab;
  vocab.size_ = static_cast<int>(bytes.size());
  vocab.eos_ids_.assign(eos_ids.begin(), eos_ids.end());
  vocab.named_ = named;
  std::vector<std::string> text(bytes.begin(), bytes.end());
  for (const TokenId id : eos_ids) {
    if (id >= 0 && id < vocab.size_) text[static_cast<size_t>(id)].clear();
  }
  for (const auto& [name, id] : named) {
    if (id >= 0 && id < vocab.size_) text[static_cast<size_t>(id)].clear();
  }
  vocab.Build(text);
  return vocab;
}

TokenId GrammarVocab::Named(std::string_view name) const {
  const auto it = named_.find(std::string(name));
  return it == named_.end() ? -1 : it->second;
}

void GrammarVocab::Build(std::span<const std::string> bytes) {
  std::erase_if(eos_ids_, [&](TokenId id) { return id < 0 || id >= size_; });
  std::vector<TokenId> order;
  std::vector<int> plain_length(bytes.size(), -1);
  for (size_t i = 0; i < bytes.size(); ++i) {
    const std::string& token = bytes[i];
    bytes_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
    if (token.empty() || token.size() > kMaxUsefulBytes) continue;
    bytes_ += token;
    order.push_back(static_cast<TokenId>(i));
    if (token.size() == 1) single_bytes_[static_cast<uint8_t>(token[0])] = true;
    longest_ = std::max(longest_, token.size());
    plain_length[i] = PlainLength(token);
  }
  bytes_begin_.push_back(static_cast<uint32_t>(bytes_.size()));
  std::sort(order.begin(), order.end(), [&](TokenId a, TokenId b) {
    const int c = bytes[static_cast<size_t>(a)].compare(bytes[static_cast<size_t>(b)]);
    return c != 0 ? c < 0 : a < b;
  });
  const auto words = static_cast<size_t>((size_ + 31) / 32);
  plain_.assign(kPlainLengths + 1, std::vector<uint32_t>(words));
  std::array<std::vector<TokenId>, 3> parts;
  for (const TokenId id : order) {
    const auto i = static_cast<size_t>(id);
    const int n = plain_length[i];
    if (n >= 0) {
      for (auto k = static_cast<uint32_t>(std::min<int>(n, kPlainLengths)); k <= kPlainLengths; ++k) {
        plain_[k][i / 32] |= 1u << (i % 32);
      }
    }
    parts[kAll].push_back(id);
    if (n < 0 || n >= static_cast<int>(kPlainLengths)) parts[kWithoutShortPlain].push_back(id);
    if (n < 0) parts[kWithoutPlain].push_back(id);
  }
  for (size_t p = 0; p < parts.size(); ++p) trees_[p] = BuildTree(bytes, parts[p]);
  for (const Part p : {kWithoutShortPlain, kWithoutPlain}) FindOrigins(trees_[kAll], &trees_[p]);
}

}  // namespace lathe
