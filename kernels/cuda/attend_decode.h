// Attention of rows one by one, each cut into chunks: for decode, and for KV rows of f32.
#pragma once

#include "kernels/cuda/attend_shapes.h"
#include "kernels/cuda/attend_states.h"

namespace ebb::kernels::cuda {

/// One query row; its offsets are into what was uploaded for the call.
struct AttendRow {
  const float* q = nullptr;      ///< [heads_q, head_size]
  const float* q_alt = nullptr;  ///< scores entries before alt_end
  uint32_t alt_end = 0;          ///< 0: no query variant
  uint32_t first = 0;            ///< slot of entry 0 where there is no list
  uint32_t entries = 0;
  uint32_t chunk_entries = 0;
  uint32_t chunks = 0;
  bool listed = false;
  const uint32_t* list = nullptr;  ///< in device memory; null: it is in the upload
  uint64_t list_at = 0;  ///< bytes; of KV head g, query head h: + (g * list_kv + h * list_q) * 4
  uint32_t list_kv = 0;
  uint32_t list_q = 0;
  uint64_t blocks_at = 0;  ///< bytes
  const std::byte* arena = nullptr;
  float* out = nullptr;  ///< null: only logits are wanted
  float* lse = nullptr;
  float* logits = nullptr;  ///< of entry 0; heads logits_stride apart; null: not wanted
  uint32_t logits_stride = 0;
  uint64_t state_at = 0;  ///< as in MergeRow
};

/// What a block does: chunk `chunk` of row `row`.
struct DecodeWork {
  uint32_t row;
  uint32_t chunk;
};

struct DecodeArgs {
  const std::byte* upload = nullptr;
  uint64_t rows_at = 0;  ///< AttendRow[]
  uint64_t work_at = 0;  ///< DecodeWork[]
  uint32_t works = 0;
  States states;  ///< where a row's only chunk is not all of it
  uint32_t heads_kv = 0;
  uint32_t group = 0;  ///< query heads to a KV head
  uint32_t parts = 0;  ///< blocks that share the heads of a group
  uint32_t head_size = 0;
  uint32_t block_tokens = 0;
  uint32_t row_bytes = 0;
  uint32_t vector_bytes = 0;
  float scale = 1;
};

/// One launch: a block for every work, KV head and part of its group.
void launch_decode_bf16(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args);
void launch_decode_f32(CudaContext& context, const DecodeKind& kind, const DecodeArgs& args);

}  // namespace ebb::kernels::cuda
