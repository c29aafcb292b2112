#include "worker/constraints.h"

#include <algorithm>

#include "models/grammar/constraint.h"

namespace ebb::worker {
namespace {

namespace grammar = models::grammar;

/// Compiled constraints that wait for another sequence; each holds some MiB at most.
constexpr size_t kRecentMax = 8;

grammar::ConstraintKind grammar_kind(control::ConstraintKind kind) {
  switch (kind) {
    case control::ConstraintKind::kJsonObject:
      return grammar::ConstraintKind::kJsonObject;
    case control::ConstraintKind::kJsonSchema:
      return grammar::ConstraintKind::kJsonSchema;
    case control::ConstraintKind::kRegex:
      return grammar::ConstraintKind::kRegex;
    case control::ConstraintKind::kChoice:
      return grammar::ConstraintKind::kChoice;
    case control::ConstraintKind::kNone:
      break;
  }
  return grammar::ConstraintKind::kNone;
}

}  // namespace

Result<void> Constraints::set_vocabulary(const Digest& digest, const std::string& packed) {
  if (packed.empty()) {
    // No coordinator of this version sends no digest at all; tests and benches may.
    const bool known = digest == Digest{} || (has_vocabulary_ && digest == digest_);
    return known ? Result<void>() : invalid("vocabulary: missing, and this rank has another one");
  }
  if (grammar::token_table_digest(packed) != digest) {
    return invalid("vocabulary: its digest is another one");
  }
  table_ = EBB_TRY(grammar::unpack_token_table(packed));
  digest_ = digest;
  has_vocabulary_ = true;
  trie_.reset();
  recent_.clear();
  return {};
}

Result<std::shared_ptr<grammar::TokenMatcher>> Constraints::matcher(
    const control::Constraint& constraint) {
  const auto found = std::find_if(recent_.begin(), recent_.end(), [&](const Entry& entry) {
    return entry.constraint == constraint;
  });
  if (found != recent_.end()) {
    recent_.splice(recent_.begin(), recent_, found);
    return found->matcher;
  }
  if (!has_vocabulary_) return unavailable("constraint: this rank has no vocabulary");
  auto compiled =
      EBB_TRY(grammar::compile_constraint(grammar_kind(constraint.kind), constraint.source));
  if (trie_ == nullptr) trie_ = std::make_shared<const grammar::TokenTrie>(std::move(table_));
  auto matcher = std::make_shared<grammar::TokenMatcher>(
      std::make_shared<const grammar::Grammar>(std::move(compiled)), trie_);
  recent_.push_front({constraint, matcher});
  if (recent_.size() > kRecentMax) recent_.pop_back();
  return matcher;
}

}  // namespace ebb::worker
