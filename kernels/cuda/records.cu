// See records.h. One warp to a record.
#include "kernels/cuda/records.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "kernels/cuda/crc32c.cuh"

namespace ebb::kernels::cuda {
namespace {

constexpr uint32_t kHeadWords = 2;  ///< crc, position
constexpr uint32_t kNameWords = 6;
constexpr uint32_t kWarps = 8;
constexpr uint64_t kPieceBytes = uint64_t{8} << 20;

struct RecordArgs {
  const RowMap* d_layers;
  const RecordName* d_names;
  const Record* d_records;
  uint32_t records;
  uint32_t layers;
  uint32_t row_words;
  uint32_t* frames;  ///< memory of the device, or of the host
  uint32_t* d_kept;  ///< unpacking: where a frame stays while it is checked; may be `frames`
  uint32_t* d_bad;   ///< [records]; unpacking only
  __device__ uint32_t payload_words() const { return layers * row_words; }
  __device__ uint64_t frame_words() const { return kHeadWords + uint64_t{layers} * row_words; }
};

/// Word `i` of what the checksum covers: the payload, the name, the position.
__device__ __forceinline__ uint32_t tail_word(const RecordArgs& a, const Record& record,
                                              uint32_t i) {
  return i < kNameWords ? a.d_names[record.name][i] : record.position;
}

/// The checksum of a record; `payload(i)` gives, or moves and gives, word i of it.
template <class Payload>
__device__ __forceinline__ uint32_t sum_record(const RecordArgs& a, const uint32_t* table,
                                               const Record& record, Payload payload) {
  const uint32_t own = a.payload_words(), words = own + kNameWords + 1;
  CrcLane crc(table, words);
  for (uint32_t at = lane_id(); at < words + crc.skipped(); at += kWarp) {
    if (at < crc.skipped()) continue;
    const uint32_t i = at - crc.skipped();
    crc.add(i < own ? payload(i) : tail_word(a, record, i - own), i == 0);
  }
  return crc.finish();
}

__device__ __forceinline__ uint32_t* row_word(const RecordArgs& a, const Record& record,
                                              uint32_t i) {
  std::byte* row = a.d_layers[i / a.row_words].row_to_write(record.slot);
  return reinterpret_cast<uint32_t*>(row) + i % a.row_words;
}

__global__ void pack_kernel(RecordArgs a) {
  __shared__ uint32_t table[kCrcTable];
  crc_fill_table(table);
  const uint32_t which = blockIdx.x * kWarps + warp_id();
  if (which >= a.records) return;
  const Record record = a.d_records[which];
  uint32_t* frame = a.frames + which * a.frame_words();
  const uint32_t crc = sum_record(a, table, record, [&](uint32_t i) {
    const uint32_t word = *row_word(a, record, i);
    frame[kHeadWords + i] = word;
    return word;
  });
  if (lane_id() == 0) {
    frame[0] = crc;
    frame[1] = record.position;
  }
}

/// A frame crosses the bus once: its words are kept where they are summed, and go to their rows
/// when all of it is known to be good.
__global__ void unpack_kernel(RecordArgs a) {
  __shared__ uint32_t table[kCrcTable];
  crc_fill_table(table);
  const uint32_t which = blockIdx.x * kWarps + warp_id();
  if (which >= a.records) return;
  const Record record = a.d_records[which];
  const uint32_t* frame = a.frames + which * a.frame_words();
  uint32_t* kept = a.d_kept + which * a.frame_words();
  const uint32_t crc = sum_record(a, table, record, [&](uint32_t i) {
    const uint32_t word = frame[kHeadWords + i];
    if (kept != frame) kept[kHeadWords + i] = word;
    return word;
  });
  const bool bad = frame[0] != crc || frame[1] != record.position;
  if (lane_id() == 0) a.d_bad[which] = bad ? 1 : 0;
  if (bad) return;
  __syncwarp();  // what other lanes kept
  for (uint32_t i = lane_id(); i < a.payload_words(); i += kWarp) {
    *row_word(a, record, i) = kept[kHeadWords + i];
  }
}

void check_band(const RecordBand& band) {
  EBB_CHECK(band.shape.row_bytes() % 4 == 0);
  for (const Record& record : band.records) {
    EBB_CHECK(record.name < band.names.size());
    for (const KvRows& layer : band.layers) {
      EBB_CHECK(record.slot / band.shape.block_tokens < layer.blocks.size());
    }
  }
}

/// Where in a slot what the kernels are told begins, and how much that is together.
struct SlotPlan {
  explicit SlotPlan(const RecordBand& band) {
    maps = take(band.layers.size() * sizeof(RowMap));
    for (const KvRows& layer : band.layers) blocks.push_back(take(layer.blocks.size_bytes()));
    names = take(band.names.size_bytes());
    records = take(band.records.size_bytes());
    told = bytes;
    bad = take(band.records.size() * sizeof(uint32_t));
  }
  size_t take(size_t more) {
    const size_t at = bytes;
    bytes += (more + 15) / 16 * 16;
    return at;
  }
  size_t bytes = 0;
  size_t maps = 0, names = 0, records = 0, bad = 0;
  size_t told = 0;  ///< what goes to the device; the rest comes back
  std::vector<size_t> blocks;
};

void copy(std::byte* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

/// Fills the slot and sends it to the device.
RecordArgs tell(CopyStream& stream, const CopyStream::Slot& slot, const SlotPlan& plan,
                const RecordBand& band) {
  const KvShape& shape = band.shape;
  for (size_t l = 0; l < band.layers.size(); ++l) {
    const KvRows& layer = band.layers[l];
    copy(slot.host + plan.blocks[l], layer.blocks.data(), layer.blocks.size_bytes());
    const auto* d_blocks = reinterpret_cast<const uint32_t*>(slot.device + plan.blocks[l]);
    const RowMap map{layer.d_arena,        d_blocks,     shape.block_tokens, shape.row_bytes(),
                     shape.vector_bytes(), shape.element};
    copy(slot.host + plan.maps + l * sizeof map, &map, sizeof map);
  }
  copy(slot.host + plan.names, band.names.data(), band.names.size_bytes());
  copy(slot.host + plan.records, band.records.data(), band.records.size_bytes());
  stream.context().check(
      cudaMemcpyAsync(slot.device, slot.host, plan.told, cudaMemcpyHostToDevice, stream.stream()),
      "telling which records");
  RecordArgs args{};
  args.d_layers = reinterpret_cast<const RowMap*>(slot.device + plan.maps);
  args.d_names = reinterpret_cast<const RecordName*>(slot.device + plan.names);
  args.d_records = reinterpret_cast<const Record*>(slot.device + plan.records);
  args.d_bad = reinterpret_cast<uint32_t*>(slot.device + plan.bad);
  args.layers = static_cast<uint32_t>(band.layers.size());
  args.row_words = shape.row_bytes() / 4;
  return args;
}

/// Calls body(first record, how many, byte at which their frames begin) for pieces of a few MiB,
/// at least one record each.
template <class Body>
void each_piece(const RecordBand& band, const Body& body) {
  const uint64_t most = std::max<uint64_t>(kPieceBytes / band.frame_bytes(), 1);
  for (uint64_t done = 0; done < band.records.size(); done += most) {
    body(done, std::min(band.records.size() - done, most), done * band.frame_bytes());
  }
}
uint64_t piece_bytes(const RecordBand& band) {
  const uint64_t most = std::max<uint64_t>(kPieceBytes / band.frame_bytes(), 1);
  return std::min<uint64_t>(most, band.records.size()) * band.frame_bytes();
}

Launch shape_of(const CopyStream& stream, uint64_t records) {
  return stream.shape(static_cast<unsigned>((records + kWarps - 1) / kWarps), kWarps * kWarp);
}

/// The part of `args` that begins at record `first`.
RecordArgs piece_of(RecordArgs args, uint64_t first, uint64_t count) {
  args.d_records += first;
  args.d_bad += first;
  args.records = static_cast<uint32_t>(count);
  return args;
}

class CudaTransfer final : public Transfer {
 public:
  CudaTransfer(std::shared_ptr<CopyStream> stream, CopyStream::Slot* slot, const uint32_t* bad,
               size_t count)
      : stream_(std::move(stream)), slot_(slot), bad_(bad), count_(count) {}
  ~CudaTransfer() override { (void)wait(); }

  bool done() override { return slot_ == nullptr || stream_->over(*slot_); }

  Result<std::vector<uint32_t>> wait() override {
    if (slot_ != nullptr) {
      stream_->wait(*slot_);
      for (uint32_t i = 0; i < count_ && !stream_->context().failed(); ++i) {
        if (bad_[i] != 0) refused_.push_back(i);
      }
      stream_->give_back(std::exchange(slot_, nullptr));
    }
    if (stream_->context().failed()) return stream_->context().error();
    return refused_;
  }

 private:
  const std::shared_ptr<CopyStream> stream_;
  CopyStream::Slot* slot_;  ///< null: over, or never begun
  const uint32_t* bad_;     ///< in the slot; of `count_` records
  const size_t count_;
  std::vector<uint32_t> refused_;
};

void enqueue_pack(CopyStream& stream, const RecordBand& band, const RecordArgs& told,
                  std::byte* frames, RecordWay way) {
  CudaContext& context = stream.context();
  if (way != RecordWay::kStaged) {
    RecordArgs args = piece_of(told, 0, band.records.size());
    args.frames = reinterpret_cast<uint32_t*>(frames);
    launch(shape_of(stream, args.records), &pack_kernel, args);
    return context.check(cudaGetLastError(), "packing records");
  }
  std::byte* stage = stream.scratch(piece_bytes(band));
  if (stage == nullptr) return;
  each_piece(band, [&](uint64_t first, uint64_t count, uint64_t at) {
    RecordArgs args = piece_of(told, first, count);
    args.frames = reinterpret_cast<uint32_t*>(stage);
    launch(shape_of(stream, count), &pack_kernel, args);
    context.check(cudaGetLastError(), "packing records");
    context.check(cudaMemcpyAsync(frames + at, stage, count * band.frame_bytes(),
                                  cudaMemcpyDeviceToHost, stream.stream()),
                  "copying records to the host");
  });
}

void enqueue_unpack(CopyStream& stream, const RecordBand& band, const RecordArgs& told,
                    const std::byte* frames, RecordWay way) {
  CudaContext& context = stream.context();
  const auto run = [&](uint64_t first, uint64_t count, const std::byte* from,
                       const std::byte* kept) {
    RecordArgs args = piece_of(told, first, count);
    args.frames = reinterpret_cast<uint32_t*>(const_cast<std::byte*>(from));
    args.d_kept = reinterpret_cast<uint32_t*>(const_cast<std::byte*>(kept));
    launch(shape_of(stream, count), &unpack_kernel, args);
    context.check(cudaGetLastError(), "unpacking records");
  };
  const uint64_t all = band.records.size();
  if (way == RecordWay::kLocal) return run(0, all, frames, frames);
  const bool direct = way == RecordWay::kDirect;
  std::byte* stage = stream.scratch(direct ? all * band.frame_bytes() : piece_bytes(band));
  if (stage == nullptr) return;
  if (direct) return run(0, all, frames, stage);
  each_piece(band, [&](uint64_t first, uint64_t count, uint64_t at) {
    context.check(cudaMemcpyAsync(stage, frames + at, count * band.frame_bytes(),
                                  cudaMemcpyHostToDevice, stream.stream()),
                  "copying records to the device");
    run(first, count, stage, stage);
  });
}

}  // namespace

RecordWay RecordMover::way(const RecordBand& band) const {
  const RecordWay chosen = record_way(band.records.size() * band.frame_bytes(), band.frames_in);
  return way_ && chosen != RecordWay::kLocal ? *way_ : chosen;
}

std::unique_ptr<Transfer> RecordMover::pack(const RecordBand& band, std::byte* frames) {
  check_band(band);
  if (band.records.empty()) return std::make_unique<FinishedTransfer>();
  const SlotPlan plan(band);
  CopyStream::Slot* slot = out_->begin(plan.bytes);
  if (slot != nullptr) {
    enqueue_pack(*out_, band, tell(*out_, *slot, plan, band), frames, way(band));
    out_->end(*slot);
  }
  return std::make_unique<CudaTransfer>(out_, slot, nullptr, 0);
}

std::unique_ptr<Transfer> RecordMover::unpack(const RecordBand& band, const std::byte* frames) {
  check_band(band);
  if (band.records.empty()) return std::make_unique<FinishedTransfer>();
  const SlotPlan plan(band);
  CopyStream::Slot* slot = in_->begin(plan.bytes);
  const uint32_t* bad = nullptr;
  if (slot != nullptr) {
    const RecordArgs args = tell(*in_, *slot, plan, band);
    enqueue_unpack(*in_, band, args, frames, way(band));
    std::byte* marks = slot->host + plan.bad;
    in_->context().check(cudaMemcpyAsync(marks, args.d_bad, band.records.size() * sizeof(uint32_t),
                                         cudaMemcpyDeviceToHost, in_->stream()),
                         "reading what was bad");
    in_->end(*slot);
    in_->before_context(*slot);
    bad = reinterpret_cast<const uint32_t*>(marks);
  }
  return std::make_unique<CudaTransfer>(in_, slot, bad, band.records.size());
}

}  // namespace ebb::kernels::cuda
