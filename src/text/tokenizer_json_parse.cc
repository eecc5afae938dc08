#include "text/tokenizer_json_parse.h"

#include <string>
#include <utility>

namespace lathe::text {
namespace {

constexpr size_t kMaxDepth = 64;
// An object outside the vocabulary has a handful of keys; Json looks for a key by going through them.
constexpr size_t kMaxKeys = 4096;
constexpr size_t kMaxBytes = size_t{256} << 20;

// Receives the events of nlohmann's parser, which calls without recursion.
class Handler : public nlohmann::json_sax<Json> {
 public:
  Handler(bool vocab_only, ParsedTokenizerJson* out) : out_(out) {
    if (vocab_only) next_ = Bulk::kVocab;
  }

  bool null() override { return Scalar(nullptr); }
  bool boolean(bool v) override { return Scalar(v); }
  bool number_integer(number_integer_t v) override { return Number(v, static_cast<double>(v), v); }
  bool number_unsigned(number_unsigned_t v) override {
    return Number(v, static_cast<double>(v), v > INT64_MAX ? -1 : static_cast<int64_t>(v));
  }
  bool number_float(number_float_t v, const string_t&) override { return Number(v, v, -1); }
  bool string(string_t& v) override {
    if (bulk_ == Bulk::kNone) return Scalar(std::move(v));
    if (bulk_ == Bulk::kMerges && bulk_depth_ == 1) return Append(v, &out_->merge_lines);
    if (bulk_ == Bulk::kMerges)
      return ++parts_ > 2 ? Fault("a merge of more than two parts") : Append(v, &out_->merge_parts);
    if (bulk_ == Bulk::kScoredVocab && bulk_depth_ == 2 && parts_++ == 0) return Append(v, &out_->names);
    return Fault("a string where the vocabulary has none");
  }
  bool binary(binary_t&) override { return false; }

  bool start_object(size_t) override {
    if (bulk_ != Bulk::kNone) return Fault("an object inside the vocabulary or merges");
    if (next_ == Bulk::kVocab) return EnterBulk(Bulk::kVocab);
    return Open(Json::object());
  }
  bool key(string_t& name) override {
    if (bulk_ == Bulk::kVocab) return Append(name, &out_->names);
    key_ = name;
    const bool in_model = path_.size() == 2 && path_[1] == "model";
    next_ = in_model && name == "vocab"    ? Bulk::kVocab
            : in_model && name == "merges" ? Bulk::kMerges
                                           : Bulk::kNone;
    return true;
  }
  bool end_object() override { return bulk_ == Bulk::kVocab ? LeaveBulk() : Close(); }

  bool start_array(size_t) override {
    if (bulk_ == Bulk::kVocab) return Fault("a list as a token's id");
    if (bulk_ != Bulk::kNone) {
      parts_ = 0;
      return ++bulk_depth_ <= 2 ? true : Fault("lists nested in the vocabulary or merges");
    }
    if (next_ != Bulk::kNone && !stack_.empty())
      return EnterBulk(next_ == Bulk::kVocab ? Bulk::kScoredVocab : next_);
    return Open(Json::array());
  }
  bool end_array() override {
    if (bulk_ == Bulk::kNone) return Close();
    if (bulk_depth_ == 1) return LeaveBulk();
    --bulk_depth_;
    return parts_ == 2 ? true : Fault("an entry without two parts in the vocabulary or merges");
  }

  bool parse_error(size_t position, const std::string&, const Json::exception&) override {
    return Fault("not valid JSON", position);
  }

  const std::string& fault() const { return fault_; }

 private:
  enum class Bulk { kNone, kVocab, kScoredVocab, kMerges };

  bool Fault(const char* what, size_t position = 0) {
    if (fault_.empty())
      fault_ = position > 0 ? StrFormat("%s at byte %zu", what, position) : std::string(what);
    return false;
  }

  bool Append(const std::string& text, TokenArena* arena) {
    if (text.size() > kMaxTokenBytes) return Fault("a token or merge longer than 64 KiB");
    arena->Append(text);
    return true;
  }

  template <typename T>
  bool Number(T value, double as_double, int64_t as_id) {
    switch (bulk_) {
      case Bulk::kNone: return Scalar(value);
      case Bulk::kVocab: out_->ids.push_back(as_id); return true;
      case Bulk::kScoredVocab:
        if (bulk_depth_ != 2 || parts_++ != 1) return Fault("a score without its piece");
        out_->scores.push_back(as_double);
        return true;
      case Bulk::kMerges: return Fault("a number among the merges");
    }
    return false;
  }

  bool EnterBulk(Bulk bulk) {
    bulk_ = bulk;
    bulk_depth_ = 1;
    next_ = Bulk::kNone;
    return true;
  }
  bool LeaveBulk() {
    bulk_ = Bulk::kNone;
    return true;
  }

  // Where the next value of the document goes.
  Json* Place(Json value) {
    if (stack_.empty()) {
      out_->rest = std::move(value);
      return &out_->rest;
    }
    Json& parent = *stack_.back();
    if (parent.is_array()) {
      parent.push_back(std::move(value));
      return &parent.back();
    }
    Json& slot = parent[key_];
    slot = std::move(value);
    return &slot;
  }

  template <typename T>
  bool Scalar(T&& value) {
    if (bulk_ != Bulk::kNone) return Fault("a value of another kind in the vocabulary or merges");
    if (!stack_.empty() && stack_.back()->size() >= kMaxKeys && stack_.back()->is_object())
      return Fault("an object with more than 4096 keys");
    Place(Json(std::forward<T>(value)));
    return true;
  }

  bool Open(Json value) {
    if (stack_.size() >= kMaxDepth) return Fault("nested deeper than 64 levels");
    if (!stack_.empty() && stack_.back()->size() >= kMaxKeys && stack_.back()->is_object())
      return Fault("an object with more than 4096 keys");
    stack_.push_back(Place(std::move(value)));
    path_.push_back(std::exchange(key_, {}));
    return true;
  }
  bool Close() {
    stack_.pop_back();
    path_.pop_back();
    return true;
  }

  ParsedTokenizerJson* out_;
  std::vector<Json*> stack_;       // open values; a parent does not change while a child is open
  std::vector<std::string> path_;  // key of each
  std::string key_;
  std::string fault_;
  Bulk bulk_ = Bulk::kNone;
  Bulk next_ = Bulk::kNone;
  int bulk_depth_ = 0;
  int parts_ = 0;
};

Expected<ParsedTokenizerJson> Parse(std::string_view text, std::string_view where, bool vocab_only) {
  ParsedTokenizerJson out;
  Handler handler(vocab_only, &out);
  const auto fault = [&](const std::string& what) {
    return Error(StatusCode::kCorrupt, "%.*s: %s", static_cast<int>(where.size()), where.data(),
                 what.c_str());
  };
  if (text.size() > kMaxBytes)
    return fault(StrFormat("%zu bytes, at most %zu are accepted", text.size(), kMaxBytes));
  if (!Json::sax_parse(text.begin(), text.end(), &handler))
    return fault(handler.fault().empty() ? "not valid JSON" : handler.fault());
  if (!out.ids.empty() && out.ids.size() != out.names.size())
    return fault("a vocabulary entry without an id");
  if (out.ids.empty() && out.scores.size() != out.names.size())
    return fault("a vocabulary entry without a score");
  if (vocab_only && out.ids.empty()) return fault("expected a JSON object from tokens to ids");
  if (!vocab_only && !out.rest.is_object()) return fault("expected a JSON object");
  return out;
}

}  // namespace

Expected<ParsedTokenizerJson> ParseTokenizerJson(std::string_view text, std::string_view where) {
  return Parse(text, where, false);
}

Expected<ParsedTokenizerJson> ParseVocabJson(std::string_view text, std::string_view where) {
  return Parse(text, where, true);
}

}  // namespace lathe::text
