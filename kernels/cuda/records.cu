// See records.h. One warp to a record. Frames go through memory of the device, so that the kernels'
// accesses are local, and over the bus in one copy of a few MiB at a time.
#include "kernels/cuda/records.h"

#include <algorithm>
#include <cstring>

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
  uint32_t* d_frames;
  uint32_t* d_bad;  ///< [records]; unpacking only
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
  uint32_t* frame = a.d_frames + which * a.frame_words();
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

/// Reads a frame twice, the second time out of the cache: nothing is written before all is checked.
__global__ void unpack_kernel(RecordArgs a) {
  __shared__ uint32_t table[kCrcTable];
  crc_fill_table(table);
  const uint32_t which = blockIdx.x * kWarps + warp_id();
  if (which >= a.records) return;
  const Record record = a.d_records[which];
  const uint32_t* frame = a.d_frames + which * a.frame_words();
  const uint32_t crc =
      sum_record(a, table, record, [&](uint32_t i) { return frame[kHeadWords + i]; });
  const bool bad = frame[0] != crc || frame[1] != record.position;
  if (lane_id() == 0) a.d_bad[which] = bad ? 1 : 0;
  if (bad) return;
  for (uint32_t i = lane_id(); i < a.payload_words(); i += kWarp) {
    *row_word(a, record, i) = frame[kHeadWords + i];
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

RecordArgs args_of(CudaContext& context, const RecordBand& band) {
  std::vector<RowMap> maps;
  for (const KvRows& layer : band.layers) maps.push_back(context.row_map(band.shape, layer));
  RecordArgs args{};
  args.d_layers = context.upload(maps);
  args.d_names = context.upload(band.names);
  args.layers = static_cast<uint32_t>(band.layers.size());
  args.row_words = band.shape.row_bytes() / 4;
  return args;
}

/// The records of one piece: what fits into a few MiB, at least one.
uint64_t piece_records(const RecordBand& band) {
  return std::max<uint64_t>(kPieceBytes / band.frame_bytes(), 1);
}

unsigned blocks_of(uint64_t records) {
  return static_cast<unsigned>((records + kWarps - 1) / kWarps);
}

}  // namespace

void pack_records(CudaContext& context, const RecordBand& band, std::byte* frames) {
  check_band(band);
  for (uint64_t done = 0; done < band.records.size() && !context.failed();) {
    const uint64_t count = std::min(band.records.size() - done, piece_records(band));
    const uint64_t bytes = count * band.frame_bytes();
    RecordArgs args = args_of(context, band);
    args.d_records = context.upload(band.records.subspan(done, count));
    args.records = static_cast<uint32_t>(count);
    args.d_frames = context.scratch_of<uint32_t>(CudaContext::kFrames, bytes / 4);
    void* stage = context.pinned(bytes);
    if (context.failed()) return;
    launch(context.shape(blocks_of(count), kWarps * kWarp), &pack_kernel, args);
    context.check_launch("packing records");
    context.check(
        cudaMemcpyAsync(stage, args.d_frames, bytes, cudaMemcpyDeviceToHost, context.stream()),
        "copying records to the host");
    context.wait("packing records");
    if (context.failed()) return;
    std::memcpy(frames + done * band.frame_bytes(), stage, bytes);
    done += count;
  }
}

std::vector<uint32_t> unpack_records(CudaContext& context, const RecordBand& band,
                                     const std::byte* frames) {
  check_band(band);
  std::vector<uint32_t> bad;
  for (uint64_t done = 0; done < band.records.size() && !context.failed();) {
    const uint64_t count = std::min(band.records.size() - done, piece_records(band));
    const uint64_t bytes = count * band.frame_bytes();
    RecordArgs args = args_of(context, band);
    args.d_records = context.upload(band.records.subspan(done, count));
    args.records = static_cast<uint32_t>(count);
    args.d_frames = context.scratch_of<uint32_t>(CudaContext::kFrames, bytes / 4);
    args.d_bad = context.scratch_of<uint32_t>(CudaContext::kSmall, count);
    auto* stage = static_cast<std::byte*>(context.pinned(bytes + count * sizeof(uint32_t)));
    if (context.failed()) return bad;
    std::memcpy(stage, frames + done * band.frame_bytes(), bytes);
    context.check(
        cudaMemcpyAsync(args.d_frames, stage, bytes, cudaMemcpyHostToDevice, context.stream()),
        "copying records to the device");
    launch(context.shape(blocks_of(count), kWarps * kWarp), &unpack_kernel, args);
    context.check_launch("unpacking records");
    auto* marks = reinterpret_cast<uint32_t*>(stage + bytes);
    context.check(cudaMemcpyAsync(marks, args.d_bad, count * sizeof(uint32_t),
                                  cudaMemcpyDeviceToHost, context.stream()),
                  "reading what was bad");
    context.wait("unpacking records");
    for (uint32_t i = 0; i < count && !context.failed(); ++i) {
      if (marks[i] != 0) bad.push_back(static_cast<uint32_t>(done) + i);
    }
    done += count;
  }
  return bad;
}

}  // namespace ebb::kernels::cuda
