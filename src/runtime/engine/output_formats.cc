#include "runtime/engine/output_formats.h"

#include <mutex>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/grammar/grammar.h"
#include "text/grammar/grammar_cache.h"
#include "text/tokenizer.h"

namespace lathe {
namespace {

constexpr size_t kCacheBytes = size_t{256} << 20;  // of compiled formats that nobody uses just now

class Constraint final : public TokenConstraint {
 public:
  explicit Constraint(std::shared_ptr<const Grammar> grammar) : matcher_(std::move(grammar)) {}
  void FillMask(std::span<uint32_t> words) override { (void)matcher_.FillMask(words); }
  bool Accept(TokenId id) override { return matcher_.Accept(id); }

 private:
  GrammarMatcher matcher_;
};

}  // namespace

struct OutputFormats::Impl {
  const Tokenizer& tokenizer;
  const std::vector<TokenId> eos_ids;
  std::once_flag made;
  std::unique_ptr<GrammarCache> cache;
};

OutputFormats::OutputFormats(const Tokenizer& tokenizer, std::span<const TokenId> eos_ids)
    : impl_(new Impl{tokenizer, {eos_ids.begin(), eos_ids.end()}, {}, nullptr}) {}
OutputFormats::~OutputFormats() = default;

Expected<ConstraintFactory> OutputFormats::Compile(const OutputFormat& format) const {
  std::call_once(impl_->made, [this] {
    impl_->cache = std::make_unique<GrammarCache>(
        std::make_shared<const GrammarVocab>(GrammarVocab::FromTokenizer(impl_->tokenizer, impl_->eos_ids)),
        kCacheBytes);
  });
  LATHE_ASSIGN_OR_RETURN(const std::shared_ptr<const Grammar> grammar, impl_->cache->Get(format));
  return ConstraintFactory([grammar] { return std::make_unique<Constraint>(grammar); });
}

}  // namespace lathe
