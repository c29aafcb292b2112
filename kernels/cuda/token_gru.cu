// See token_gru.h. Everything is enqueued by launch() and upload(), so that a decode step's graphs
// take it (replay.h); what a stretch keeps of it are addresses of device memory, and memory that is
// given back ends the stretch first.
#include "kernels/cuda/token_gru.h"

#include <algorithm>
#include <string>

#include "base/check.h"

namespace ebb::kernels::cuda {
namespace {

constexpr uint64_t kAlign = 64;  // floats

uint64_t rounded(uint64_t floats) { return (floats + kAlign - 1) / kAlign * kAlign; }

}  // namespace

/// Memory: `state_` [C], and for `capacity_` tokens their head inputs, then their scores.
class CudaTokenGru::Sequence final : public TokenGruSequence {
 public:
  explicit Sequence(CudaTokenGru& gru) : gru_(gru) { ++gru_.sequences_; }
  ~Sequence() override {
    gru_.bytes_ -= state_.size() + tokens_.size();
    --gru_.sequences_;
  }
  uint32_t length() const override { return length_; }
  std::span<const float> scores() const override { return scores_; }

  Result<void> reserve(uint32_t tokens) override {
    if (tokens <= capacity_) return {};
    if (state_.data() == nullptr) {
      state_ = EBB_TRY(gru_.allocate(width()));
      gru_.context_->clear(state_.data(), state_.size());
    }
    const uint64_t capacity = (uint64_t{tokens} + kStep - 1) / kStep * kStep;
    Buffer larger = EBB_TRY(gru_.allocate(capacity * (width() + 1)));
    gru_.device_.copy_on_device(larger.data(), tokens_.data(),
                                uint64_t{length_} * width() * sizeof(float));
    gru_.device_.copy_on_device(larger.floats() + capacity * width(), d_scores(),
                                scores_.size() * sizeof(float));
    gru_.bytes_ -= tokens_.size();
    tokens_ = std::move(larger);
    capacity_ = capacity;
    return {};
  }

  float* d_scores() const { return tokens_.floats() + capacity_ * width(); }
  /// The next tokens; from here on they are told.
  GruSequence take(const Rows& rows) {
    EBB_CHECK(uint64_t{length_} + rows.tokens <= capacity_);
    const GruSequence taken{rows.d_embeddings, rows.tokens, state_.floats(),
                            tokens_.floats() + uint64_t{length_} * width()};
    length_ += rows.tokens;
    return taken;
  }
  GruScoreRow row(uint32_t position) const { return {tokens_.floats(), position, d_scores()}; }

  std::vector<float> scores_;  ///< for the token at scores_.size(), as on the device

 private:
  uint64_t width() const { return gru_.weights_.width; }
  CudaTokenGru& gru_;
  Buffer state_;
  Buffer tokens_;
  uint64_t capacity_ = 0;
  uint32_t length_ = 0;
};

Result<std::unique_ptr<TokenGru>> CudaTokenGru::make(std::shared_ptr<CudaContext> context,
                                                     Device& device,
                                                     const TokenGruWeights& weights) {
  if (weights.width > kGruWidthMax) {
    return unsupported("a controller with a state of " + std::to_string(weights.width) +
                       " elements: the CUDA backend takes up to " + std::to_string(kGruWidthMax));
  }
  std::unique_ptr<CudaTokenGru> gru(new CudaTokenGru(std::move(context), device));
  EBB_TRY_VOID(gru->load(weights));
  return std::unique_ptr<TokenGru>(std::move(gru));
}

CudaTokenGru::~CudaTokenGru() { EBB_CHECK(sequences_ == 0); }

Result<Buffer> CudaTokenGru::allocate(uint64_t floats) {
  Buffer buffer = EBB_TRY(device_.allocate(floats * sizeof(float), MemoryKind::kDevice));
  bytes_ += buffer.size();
  return Result<Buffer>(std::move(buffer));
}

Result<void> CudaTokenGru::load(const TokenGruWeights& w) {
  const uint64_t h = w.hidden, c = w.width, buckets = w.bucket_begin.size();
  weights_.hidden = w.hidden;
  weights_.width = head_.width = w.width;
  head_.buckets = static_cast<uint32_t>(buckets);
  head_.bias = w.score_bias;
  EBB_CHECK(buckets > 1 && w.bucket_begin[0] == 0 && w.bucket_begin[1] == 1);
  EBB_CHECK(std::is_sorted(w.bucket_begin.begin(), w.bucket_begin.end()));
  struct Part {
    std::span<const float> from;
    uint64_t floats;
    const float** to;
  };
  const Part parts[] = {{w.input, c * h, &weights_.d_input},
                        {w.input_bias, c, &weights_.d_input_bias},
                        {w.from_input, 3 * c * c, &weights_.d_from_input},
                        {w.from_input_bias, 3 * c, &weights_.d_from_input_bias},
                        {w.from_state, 3 * c * c, &weights_.d_from_state},
                        {w.from_state_bias, 3 * c, &weights_.d_from_state_bias},
                        {w.head, c * c, &weights_.d_head},
                        {w.head_bias, c, &weights_.d_head_bias},
                        {w.of_bucket, buckets * c, &head_.d_of_bucket},
                        {w.score_weight, c, &head_.d_weight}};
  uint64_t floats = 0;
  for (const Part& part : parts) floats += rounded(part.floats);
  memory_ = EBB_TRY(allocate(floats));
  begins_ = EBB_TRY(allocate(buckets));
  float* at = memory_.floats();
  for (const Part& part : parts) {
    EBB_CHECK(part.from.size() == part.floats);
    device_.copy_to_device(at, part.from.data(), part.from.size_bytes());
    *part.to = at;
    at += rounded(part.floats);
  }
  static_assert(sizeof(uint32_t) == sizeof(float));
  bucket_begin_.assign(w.bucket_begin.begin(), w.bucket_begin.end());
  device_.copy_to_device(begins_.data(), bucket_begin_.data(), buckets * sizeof(uint32_t));
  head_.d_bucket_begin = static_cast<const uint32_t*>(begins_.data());
  return {};
}

std::unique_ptr<TokenGruSequence> CudaTokenGru::begin() {
  return std::make_unique<Sequence>(*this);
}

void CudaTokenGru::append(std::span<const Rows> rows) {
  std::vector<GruSequence> sequences;
  for (const Rows& each : rows) {
    if (each.tokens > 0) sequences.push_back(static_cast<Sequence&>(*each.sequence).take(each));
  }
  gru_append(*context_, weights_, sequences);
}

/// One after the other in host memory; empty after an error. Waits.
std::span<const float> CudaTokenGru::read(std::span<const Reading> readings) {
  size_t count = 0;
  for (const Reading& reading : readings) count += reading.count;
  auto* pinned = static_cast<float*>(context_->pinned(count * sizeof(float)));
  if (context_->failed()) return {};
  size_t at = 0;
  for (const Reading& reading : readings) {
    context_->check(cudaMemcpyAsync(pinned + at, reading.d_from, reading.count * sizeof(float),
                                    cudaMemcpyDeviceToHost, context_->stream()),
                    "reading token scores");
    at += reading.count;
  }
  context_->wait("token scores");
  if (context_->failed()) return {};
  return {pinned, count};
}

void CudaTokenGru::score(std::span<const At> wanted) {
  // 1. Who goes on by one position, and who begins anew.
  std::vector<Sequence*> next, anew;
  std::vector<GruScoreRow> next_rows, anew_rows;
  std::vector<Reading> readings;
  for (const At& at : wanted) {
    auto& sequence = static_cast<Sequence&>(*at.sequence);
    EBB_CHECK(at.position <= sequence.length());
    if (at.position == sequence.scores_.size()) continue;
    const bool steps = at.position == sequence.scores_.size() + 1;
    (steps ? next : anew).push_back(&sequence);
    (steps ? next_rows : anew_rows).push_back(sequence.row(at.position));
    sequence.scores_.resize(at.position);
  }
  if (next.empty() && anew.empty()) return;
  // 2. All of them.
  const size_t changes = head_.buckets - 1;
  float* d_changed = nullptr;
  if (!next.empty()) {
    d_changed = context_->scratch_of<float>(CudaContext::kScores, next.size() * changes);
    if (d_changed == nullptr) return;
    gru_next_scores(*context_, head_, next_rows, d_changed);
    readings.push_back({d_changed, next.size() * changes});
  }
  gru_scores(*context_, head_, anew_rows);
  for (const GruScoreRow& row : anew_rows) {
    if (row.length > 0) readings.push_back({row.d_scores, row.length});
  }
  // 3. To the host.
  std::span<const float> came = read(readings);
  if (came.empty()) return;
  for (Sequence* sequence : next) {
    const size_t position = sequence->scores_.size();
    for (size_t b = 1; b <= changes && bucket_begin_[b] <= position; ++b) {
      sequence->scores_[position - bucket_begin_[b]] = came[b - 1];
    }
    came = came.subspan(changes);
  }
  for (Sequence* sequence : anew) {
    std::copy_n(came.begin(), sequence->scores_.size(), sequence->scores_.begin());
    came = came.subspan(sequence->scores_.size());
  }
}

}  // namespace ebb::kernels::cuda
