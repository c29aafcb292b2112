// Every tensor operation of the model, with shapes and equation. kernels/reference is the plain
// specification (tests only); kernels/cpu is the embedded backend; a CUDA backend comes as a plugin
// behind the same interface.
//
// Pointers named `d_...` or documented as device are device memory and are never dereferenced above
// kernels/; spans of small integers (slots, positions, token ids) are host memory, read before the
// call returns. Ops enqueue in order; on the CPU they have run when they return. All on the engine
// thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "kernels/device.h"
#include "kernels/digest.h"
#include "kernels/draw.h"
#include "kernels/kv_element.h"
#include "kernels/token_gru.h"
#include "kernels/weight_format.h"

namespace ebb::kernels {

/// A (possibly strided) matrix in host memory that stays mapped as long as the Weight lives:
/// `rows` rows of `columns` elements; row r begins at data + r * row_stride.
struct WeightSource {
  WeightFormat format = WeightFormat::kF32;
  const std::byte* data = nullptr;
  uint64_t rows = 0;        ///< outputs (N)
  uint64_t columns = 0;     ///< inputs (K); a multiple of the format's block
  uint64_t row_stride = 0;  ///< bytes
};

/// A backend's own form of a weight: mapped, repacked or uploaded. Opaque above kernels/.
class Weight {
 public:
  virtual ~Weight() = default;
  virtual uint64_t rows() const = 0;
  virtual uint64_t columns() const = 0;
  /// Memory of the backend's own copy; 0: there is none, the source is read at every use. Above 0
  /// the source is not read again, and the pages of its mapping may be forgotten.
  virtual uint64_t resident_bytes() const = 0;
};

/// Decode: few rows, latency matters. Bulk: many rows, throughput matters (may use more threads).
enum class Phase { kDecode, kBulk };

/// The shape of KV rows in the arena. A row is [heads_kv][K, V][head_size] of `element`, K after
/// RoPE at the absolute position. A block is `block_tokens` rows of one layer; block b begins at
/// base + b * block_tokens * row_bytes.
struct KvShape {
  uint32_t heads_q = 0;    ///< of this rank; a multiple of heads_kv
  uint32_t heads_kv = 0;   ///< of this rank
  uint32_t head_size = 0;  ///< even, at most 256: what the kernels are made for
  uint32_t block_tokens = 0;
  KvElement element = KvElement::kBF16;
  uint32_t vector_bytes() const { return head_size * kv_element_bytes(element); }  ///< of K or V
  uint32_t row_bytes() const { return heads_kv * 2 * vector_bytes(); }
  uint64_t block_bytes() const { return uint64_t{block_tokens} * row_bytes(); }
};

/// Rows of one (sequence, layer). Slot s lives in blocks[s / block_tokens] at row s % block_tokens.
/// For a band that is wholly resident slot == position; for a hot pool any slot holds any position.
struct KvRows {
  std::byte* d_arena = nullptr;
  std::span<const uint32_t> blocks;
};

/// Rows that enter the arena: row i of k and v [slots, heads_kv, head_size], whose rows lie
/// `k_stride` and `v_stride` floats apart, goes to slots[i]. Positions are the caller's business:
/// any slots, any order.
struct AppendArgs {
  KvRows kv;
  const float* d_k = nullptr;
  uint64_t k_stride = 0;
  const float* d_v = nullptr;
  uint64_t v_stride = 0;
  std::span<const uint32_t> slots;
};

/// Who shares one index list.
enum class ListScope : uint8_t { kLayer, kKvHead, kQueryHead };

/// Attention of `rows` consecutive query positions of one sequence in one layer:
///   out[i, h] = sum_{e in S(i)} softmax_e(q[i, h] . k_e / sqrt(head_size)) v_e,  lse[i, h] = log
///   sum_e exp(logit)
/// S(i), dense (lists empty): slots [0, p], p = count - rows + i being the slot of row i itself
/// (the causal bound); with a `window`, slots (p - window, p].
/// S(i), listed: entries [0, count) of the list, in the order given (callers pass ascending
/// positions; that order, and nothing about slots, decides the bits). Listed attention takes rows
/// == 1 and no window. Empty S: out = 0, lse = -inf. Query head h reads KV head h / (heads_q /
/// heads_kv). One row over slots [a, b), by window or by a list of them, has the same bits.
struct AttendArgs {
  const float* d_q = nullptr;  ///< [rows, heads_q, head_size]
  uint32_t rows = 1;
  KvRows kv;
  uint32_t count = 0;  ///< entries of the last row
  /// slots: [count], [heads_kv, count] or [heads_q, count] by `scope`; empty: dense, or d_list
  std::span<const uint32_t> list;
  const uint32_t* d_list = nullptr;  ///< the same in device memory (make_lists), instead of `list`
  ListScope scope = ListScope::kLayer;
  /// Entries a row sees at most, its own included: dense only; 0: all up to the causal bound.
  uint32_t window = 0;
  /// Query variant: entries [0, alt_count) are scored with d_q_alt instead (as StreamingLLM wants
  /// it for its sinks); null: none.
  const float* d_q_alt = nullptr;  ///< [rows, heads_q, head_size]
  uint32_t alt_count = 0;
  float* d_out = nullptr;  ///< [rows, heads_q, head_size]
  float* d_lse = nullptr;  ///< [rows, heads_q]; null: not wanted
  /// [heads_q, count] of the LAST row, scaled, before softmax; -inf before the row's window; null:
  /// not wanted
  float* d_logits = nullptr;
  bool listed() const { return d_list != nullptr || !list.empty(); }
};

/// A list of slots in device memory, for all layers that read it: slots[i] = map[positions[i]].
/// The same `positions` in several items of a call travel once.
struct ListArgs {
  std::span<const Position> positions;
  const uint32_t* d_map = nullptr;  ///< slot of each position; null: slots are positions
  uint32_t* d_slots = nullptr;      ///< [positions.size()]
};

/// What changed in a map from positions to slots: map[positions[i]] = slots[i]; positions distinct.
struct MapArgs {
  uint32_t* d_map = nullptr;
  std::span<const Position> positions;
  std::span<const uint32_t> slots;
};

/// Digests of one (sequence, layer). Token t's lies in page t / page_tokens of `blocks` (arena
/// blocks of KvShape::block_bytes(), ids as for KvRows), at (t % page_tokens) * token_bytes.
struct DigestRows {
  std::byte* d_arena = nullptr;
  std::span<const uint32_t> blocks;
};

/// Tokens of one run of sums: run r is tokens [r * kSumTokens, (r + 1) * kSumTokens).
constexpr uint32_t kSumTokens = 64;

/// Sums of the stored K and V over runs of tokens of one (sequence, layer): a run is
/// [heads_kv][K, V][head_size] f32; run r lies in page r / page_runs of `blocks`, at
/// (r % page_runs) * run_bytes.
struct SumRows {
  std::byte* d_arena = nullptr;
  std::span<const uint32_t> blocks;
  static uint32_t run_bytes(const KvShape& shape) {
    return shape.heads_kv * 2 * shape.head_size * uint32_t{sizeof(float)};
  }
  /// Runs in one arena block; 0 where the block is too small for any: not to be used then.
  static uint32_t page_runs(const KvShape& shape) {
    return static_cast<uint32_t>(shape.block_bytes() / run_bytes(shape));
  }
};

/// Tokens of one (sequence, layer) whose digests are written: token first + i, from the stored K at
/// slots[i].
struct DigestArgs {
  KvRows kv;
  std::span<const uint32_t> slots;
  Position first = 0;
  DigestRows digests;
  /// [heads_kv, head_size]: one for all tokens of a sequence (kH3, kH2; null: 0); not read for
  /// kInt4.
  const float* d_center = nullptr;
};

/// Tokens of one (sequence, layer) that enter the sums: token first + i, whose row is at slots[i].
struct SumArgs {
  KvRows kv;
  std::span<const uint32_t> slots;
  Position first = 0;
  SumRows sums;
};

/// Logits of one query row against digests: for every token t < count and query head h
///   logits[h, t] = q[h] . x_t / sqrt(head_size),   lse[h] = log sum_t exp(logits[h, t])
/// x_t what t's digest of KV head h / (heads_q / heads_kv) stands for. Where keys were centred
/// (kH3, kH2) the centre's own product is left out: it shifts all logits of a head alike, so
/// softmax and ranks are those of the keys. count 0: lse = -inf. A query may be rounded to 8 bits
/// (16 for kInt4) on the way; a token's bits depend on its digest and on q, not on where it lies.
struct ScanArgs {
  const float* d_q = nullptr;  ///< [heads_q, head_size]
  DigestRows digests;
  uint32_t count = 0;
  float* d_logits = nullptr;  ///< [heads_q, count]
  float* d_lse = nullptr;     ///< [heads_q]
};

/// The left-out estimate: every complete run of kSumTokens tokens wholly below `length`, cnt > 0 of
/// which are not listed, enters the softmax of attention over the list as one pseudo-token per KV
/// head,
///   k = (sum K - sum over listed K) / cnt,   v likewise,   logit = q . k / sqrt(head_size) + ln
///   cnt
/// Without such a run out and lse stay as they are, bit for bit.
struct LeftOutArgs {
  const float* d_q = nullptr;  ///< [heads_q, head_size]
  KvRows kv;
  std::span<const uint32_t> slots;        ///< of the listed tokens
  std::span<const Position> positions;    ///< ascending, each once; positions[i] stands at slots[i]
  const uint32_t* d_slots = nullptr;      ///< in device memory instead of `slots`
  const Position* d_positions = nullptr;  ///< `positions` in device memory; null: nobody has it
  uint32_t length = 0;
  SumRows sums;
  float* d_out = nullptr;  ///< [heads_q, head_size]: attention over the list; then both merged
  float* d_lse = nullptr;  ///< [heads_q], likewise
};

/// Scores of which the best are wanted: the best `k` (or all, if fewer) of entries [begin, end).
struct TopKArgs {
  const float* d_scores = nullptr;  ///< [>= end]
  uint32_t begin = 0;
  uint32_t end = 0;
  uint32_t k = 0;
};

/// A candidate of a selection: order is by score descending, then position ascending.
struct Scored {
  uint32_t position = 0;
  float score = 0;
};

/// Pair i of a head at position p turns by the angle p * frequencies[i] (RoFormer,
/// arXiv:2104.09864; scalings are in the frequencies):
///   (a, b) -> magnitude * (a cos - b sin, a sin + b cos),
/// cos and sin formed in double and rounded to f32 with the magnitude applied. Once per model.
struct RopeArgs {
  std::vector<double> frequencies;  ///< [dims / 2], radians per position
  float magnitude = 1;              ///< yarn's factor; 1: a pure rotation
  bool interleaved = true;          ///< pairs (2i, 2i+1); false: (i, i + dims/2)
  uint32_t positions_max = 0;       ///< from here on (streams) angles may cost more
  /// Rotated dims of a head, the first ones; the rest pass through.
  uint32_t dims() const { return static_cast<uint32_t>(2 * frequencies.size()); }
};

struct RecordBand;  // kernels/records.h
enum class Frames;
class Transfer;

class Ops {
 public:
  virtual ~Ops() = default;

  virtual void set_phase(Phase phase) = 0;

  /// Runs `body`, in which a backend may keep what is enqueued until the host asks for a result,
  /// for submit() or for the end of the outermost body, to start it in one piece. `key` says which
  /// part of the program it is: one that enqueues much the same each time is started with less
  /// work. Nothing depends on it but that. Bodies may contain others.
  virtual void replayable(uint64_t key, const std::function<void()>& body) {
    static_cast<void>(key);
    body();
  }
  /// What is enqueued starts now: called before the host waits for something else.
  virtual void submit() {}

  /// A vector of `columns` elements (a norm's gain, a bias) is a weight of one row, in any format.
  /// Errors: kUnsupported (format), kInvalid (columns not a multiple of the block).
  virtual Result<std::unique_ptr<Weight>> load_weight(const WeightSource& source) = 0;

  /// Errors: kInvalid (no frequencies, more than 128 of them, a number that is not finite).
  virtual Result<void> prepare_rope(const RopeArgs& args) = 0;

  /// out [ids, columns] = rows `ids` of `table`. Ids outside the table are a broken invariant.
  virtual void embed(const Weight& table, std::span<const TokenId> ids, float* d_out) = 0;

  /// out [rows, columns]: x / sqrt(mean(x^2) + epsilon) * gain. out may be x. (RMSNorm,
  /// arXiv:1910.07467.)
  virtual void rms_norm(const float* d_x, uint32_t rows, const Weight& gain, float epsilon,
                        float* d_out) = 0;

  /// The same over each head by itself, in place: x [rows, heads, head_size], rows `row_stride`
  /// floats apart, gain [1, head_size] (query and key norms).
  virtual void rms_norm_heads(float* d_x, uint64_t row_stride, uint32_t rows, uint32_t heads,
                              uint32_t head_size, const Weight& gain, float epsilon) = 0;

  /// x[r, c] += bias[c] for r < rows, c < bias.columns(); rows `row_stride` floats apart, bias one
  /// row.
  virtual void add_bias(float* d_x, uint64_t row_stride, uint32_t rows, const Weight& bias) = 0;

  /// out [rows, out_stride], first w.rows() columns of each row: x [rows, w.columns()] times w
  /// transposed. f32 accumulation; each row's bits do not depend on how many rows there are while
  /// rows <= 8.
  virtual void matmul(const float* d_x, uint32_t rows, const Weight& w, float* d_out,
                      uint64_t out_stride) = 0;

  /// x += y, elementwise, `count` floats.
  virtual void add(float* d_x, const float* d_y, uint64_t count) = 0;

  /// x = 0, `count` floats.
  virtual void clear(float* d_x, uint64_t count) = 0;

  /// out [rows, width] = silu(gate) * up, with gate_up [rows, 2 * width]: gate first.
  virtual void silu_mul(const float* d_gate_up, uint32_t rows, uint32_t width, float* d_out) = 0;

  /// Rotates x [rows, heads, head_size] in place as prepare_rope said; x's rows are `row_stride`
  /// floats apart; row i stands at positions[i].
  virtual void rope(float* d_x, uint64_t row_stride, uint32_t heads, uint32_t head_size,
                    std::span<const Position> positions) = 0;

  /// Rounds k and v to the shape's element (nearest even) and stores them. One call per layer; the
  /// items (one per sequence, say) go to different slots.
  virtual void append_kv(const KvShape& shape, std::span<const AppendArgs> items) = 0;

  /// One call per layer; the items (one per sequence) are independent and may run in parallel.
  virtual void attend(const KvShape& shape, std::span<const AttendArgs> items) = 0;

  /// d_scores [count]: max over heads of exp(logits[h, e] - lse[h]) (scope layer, aggregation max;
  /// of this rank's heads).
  virtual void score_max(const float* d_logits, const float* d_lse, uint32_t heads_q,
                         uint32_t count, float* d_scores) = 0;

  /// For every item its best, best first; ties: lower position first. NaN is a broken invariant.
  /// Never sorts more than k. Waits once for all.
  virtual std::vector<std::vector<Scored>> top_k(std::span<const TopKArgs> items) = 0;

  /// Whether draw() can be called: on a backend whose logits had better stay where they are.
  virtual bool draws() const { return false; }
  /// A token for each of `rows`, from logits [rows, vocabulary] that stay as they are; kNoToken
  /// where none may come: every logit is -inf, masked or not. The filters and their order are those
  /// of docs/sampling.md; a token is another than that of sums in doubles only where `uniform`
  /// falls within 1e-9 of a border between two tokens. Waits.
  virtual std::vector<TokenId> draw(const float* d_logits, uint32_t vocabulary,
                                    std::span<const Draw> rows) {
    static_cast<void>(d_logits), static_cast<void>(vocabulary);
    return std::vector<TokenId>(rows.size(), kNoToken);
  }

  /// Merges partial attention states over disjoint entry sets into (out_a, lse_a):
  /// [rows, heads, head_size] and [rows, heads]. (FlashInfer's state algebra; arXiv:2501.01005,
  /// section 2.2.)
  virtual void merge_states(float* d_out_a, float* d_lse_a, const float* d_out_b,
                            const float* d_lse_b, uint32_t rows, uint32_t heads,
                            uint32_t head_size) = 0;

  /// center [heads_kv, head_size]: the mean of the stored K at `slots`; 0 where there are none.
  virtual void mean_key(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> slots,
                        float* d_center) = 0;

  /// As attend: one call per layer, the items are independent. The same K has the same digest,
  /// whatever else is written.
  virtual void write_digest(const KvShape& shape, const DigestShape& digest,
                            std::span<const DigestArgs> items) = 0;

  /// Adds the stored K and V of every token to its run's sums, in ascending order; a run's first
  /// token sets them. So the cutting into calls does not change the bits, but a token that is added
  /// twice counts twice. As attend: the items are independent.
  virtual void add_sums(const KvShape& shape, std::span<const SumArgs> items) = 0;

  /// As attend: one call per layer, the items are independent.
  virtual void scan_digests(const KvShape& shape, const DigestShape& digest,
                            std::span<const ScanArgs> items) = 0;

  /// As attend: one call per layer, the items are independent.
  virtual void attend_left_out(const KvShape& shape, std::span<const LeftOutArgs> items) = 0;

  /// scores[p] *= factor for every p in `positions`.
  virtual void scale_scores(float* d_scores, std::span<const Position> positions, float factor) = 0;

  /// Lists that the operations after this one read; every listed position has a slot.
  virtual void make_lists(std::span<const ListArgs> items) = 0;
  /// Of different maps.
  virtual void update_maps(std::span<const MapArgs> items) = 0;

  /// Record i of `band` to frames + i * frame_bytes(): rows as the operations before this one left
  /// them. `frames` is memory of this device, of the kind that the band names.
  virtual std::unique_ptr<Transfer> pack_records(const RecordBand& band, std::byte* frames) = 0;
  /// The rows of record i, at frames + i * frame_bytes(), to its slot in every layer: operations
  /// after this one see them. Frames whose position or checksum is not theirs are not written.
  virtual std::unique_ptr<Transfer> unpack_records(const RecordBand& band, const std::byte* frames,
                                                   Frames are) = 0;
  /// Within the arena: row from[i] to row to[i]; the two sets are disjoint.
  virtual void copy_rows(const KvShape& shape, const KvRows& kv, std::span<const uint32_t> from,
                         std::span<const uint32_t> to) = 0;

  /// Policy adore's controller on the device; null: this backend has none. Must not outlive the
  /// operations. Errors: kUnsupported, kExhausted.
  virtual Result<std::unique_ptr<TokenGru>> make_token_gru(const TokenGruWeights&) {
    return std::unique_ptr<TokenGru>();
  }
};

/// Where tensors live and what can be done with them.
struct Backend {
  std::unique_ptr<Device> device;
  std::unique_ptr<Ops> ops;
};

struct CpuOptions {
  uint32_t decode_threads = 1;
  uint32_t bulk_threads = 1;
  /// "": best present; "x86-64-v2", "avx2", "avx512" cap it (also EBB_CPU_ISA)
  std::string isa_max;
};

/// Errors: kUnsupported (a cap above what the CPU has, an unknown name: lists the known ones).
Result<Backend> make_cpu_backend(const CpuOptions& options);
/// The specification: plain loops, one thread, same results up to rounding. Linked into tests only.
Result<Backend> make_reference_backend();

}  // namespace ebb::kernels
