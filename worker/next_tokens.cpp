// From the model's last rows to tokens: on the device where it draws, else from logits on the host.
#include <algorithm>
#include <map>

#include "worker/observer.h"
#include "worker/step.h"

namespace ebb::worker {
namespace {

using Logits = std::span<const float>;

/// The prompt is not over: its next token comes, whatever the model says.
bool is_forced(const NextRow& row) { return row.length < row.sequence->open.prompt.size(); }

/// The sequence goes on with a token that means nothing: the coordinator ends it.
TokenId filler(const NextRow& row) { return row.sequence->open.prompt.back(); }

void record(const NextRow& row, TokenId token, Logits logits) {
  const SamplingState& sampling = *row.sequence->sampling;
  const int32_t top = row.sequence->open.sampling.logprobs;
  row.result->has_token = true;
  row.result->token.token = token;
  if (top >= 0) row.result->token = score_token(logits, token, static_cast<uint32_t>(top));
  row.result->finished = sampling.is_stop(token);
  row.result->complete = sampling.complete();
}

TokenId from_logits(const NextRow& row, Logits logits) {
  const control::SamplingParams& params = row.sequence->open.sampling;
  if (is_forced(row)) {
    const TokenId forced = row.sequence->open.prompt[row.length];
    const auto top = static_cast<uint32_t>(std::max(params.logprobs, 0));
    row.result->prompt.push_back(score_token(logits, forced, std::max(top, params.prompt_top)));
    row.result->prompt.back().rank = rank_of_token(logits, forced);
    return forced;
  }
  if (row.sequence->open.max_tokens == 0) return filler(row);  // nothing is wanted
  const auto sampled = row.sequence->sampling->sample(logits, row.length);
  if (!sampled) {
    row.result->problem = sampled.error().message;
    return filler(row);
  }
  record(row, *sampled, logits);
  return *sampled;
}

/// Rows of which the host has to see the logits.
bool wants_logits(const NextRow& row) {
  return row.observed || is_forced(row) || row.sequence->open.sampling.logprobs >= 0;
}

/// What the device finds, and what it leaves to the host. Nothing of a sequence has changed.
struct Found {
  std::vector<TokenId> drawn;          ///< by row; kNoToken: see below
  std::vector<float> logits;           ///< of rows of which the host has to see them
  std::map<size_t, size_t> logits_at;  ///< where each of these begins
  std::map<size_t, Error> problems;
};

/// Also where no token was found: why is for SamplingState::sample to say, which knows exceptions.
bool must_see(std::span<const NextRow> rows, size_t i, const Found& found) {
  const bool undrawn = found.drawn[i] == kernels::kNoToken && !found.problems.contains(i) &&
                       rows[i].sequence->open.max_tokens > 0;
  return wants_logits(rows[i]) || undrawn;
}

/// Rows [begin, end) of `rows`, whose logits are on the device.
Result<void> draw_some(StepContext& c, const float* d_logits, std::span<const NextRow> rows,
                       std::pair<size_t, size_t> range, Found& found) {
  const auto [begin, end] = range;
  const uint32_t vocabulary = c.model.shape().vocabulary;
  std::vector<kernels::Draw> draws;
  for (size_t i = begin; i < end; ++i) {
    if (wants_logits(rows[i]) || rows[i].sequence->open.max_tokens == 0) continue;
    auto draw = rows[i].sequence->sampling->draw(rows[i].length);
    if (!draw) {
      found.problems.emplace(i, std::move(draw).error());
      continue;
    }
    draw->row = static_cast<uint32_t>(i - begin);
    draws.push_back(*draw);
  }
  const std::vector<TokenId> tokens = c.backend.ops->draw(d_logits, vocabulary, draws);
  for (size_t i = 0; i < draws.size(); ++i) found.drawn[begin + draws[i].row] = tokens[i];
  for (size_t i = begin; i < end;) {
    size_t behind = i;  // neighbours come in one piece
    while (behind < end && must_see(rows, behind, found)) ++behind;
    const size_t at = found.logits.size(), count = (behind - i) * vocabulary;
    found.logits.resize(at + count);
    if (count > 0) {
      c.backend.device->copy_to_host(found.logits.data() + at, d_logits + (i - begin) * vocabulary,
                                     count * sizeof(float));
    }
    for (size_t row = i; row < behind; ++row) {
      found.logits_at[row] = at + (row - i) * vocabulary;
    }
    i = behind + 1;  // the row that ended it is not wanted
  }
  return c.backend.device->synchronize();  // no token from a device that is lost
}

/// `logits`: empty where the host has not seen them.
TokenId take(const NextRow& row, size_t i, const Found& found, Logits logits) {
  if (!logits.empty()) return from_logits(row, logits);
  if (const auto problem = found.problems.find(i); problem != found.problems.end()) {
    row.result->problem = problem->second.message;
    return filler(row);
  }
  if (found.drawn[i] == kernels::kNoToken) return filler(row);  // nothing is wanted
  row.sequence->sampling->accept(found.drawn[i]);
  record(row, found.drawn[i], {});
  return found.drawn[i];
}

void show(StepContext& c, const NextRow& row, Logits logits) {
  if (row.observed) c.observer->on_logits(row.sequence->id(), row.length, logits);
}

Result<std::vector<TokenId>> draw_on_device(StepContext& c, uint32_t first,
                                            std::span<const NextRow> rows) {
  Found found;
  found.drawn.resize(rows.size(), kernels::kNoToken);
  for (size_t begin = 0; begin < rows.size(); begin += c.model.logit_rows()) {
    const size_t end = std::min<size_t>(rows.size(), begin + c.model.logit_rows());
    const float* d_logits = EBB_TRY(c.model.logits_on_device(first + static_cast<uint32_t>(begin),
                                                             static_cast<uint32_t>(end - begin)));
    if (c.rank == 0) EBB_TRY_VOID(draw_some(c, d_logits, rows, {begin, end}, found));
  }
  std::vector<TokenId> next(rows.size());
  for (size_t i = 0; c.rank == 0 && i < rows.size(); ++i) {
    const auto at = found.logits_at.find(i);
    Logits own;
    if (at != found.logits_at.end()) {
      own = Logits(found.logits).subspan(at->second, c.model.shape().vocabulary);
    }
    next[i] = take(rows[i], i, found, own);
    show(c, rows[i], own);
  }
  return next;
}

}  // namespace

Result<std::vector<TokenId>> next_tokens(StepContext& c, uint32_t first,
                                         std::span<const NextRow> rows) {
  if (c.model.draws()) return draw_on_device(c, first, rows);
  const auto count = static_cast<uint32_t>(rows.size());
  const std::vector<float> logits = EBB_TRY(c.model.logits(first, count));
  const uint64_t vocabulary = c.model.shape().vocabulary;
  std::vector<TokenId> next(rows.size());
  for (size_t i = 0; c.rank == 0 && i < rows.size(); ++i) {
    const Logits own = Logits(logits).subspan(i * vocabulary, vocabulary);
    next[i] = from_logits(rows[i], own);
    show(c, rows[i], own);
  }
  return next;
}

}  // namespace ebb::worker
