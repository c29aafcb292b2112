// How many blocks the kernels of selection, digests and sets are started with: pure functions of
// the work and the device.
#pragma once

#include <cstdint>

namespace ebb::kernels::cuda {

/// Rows of up to `length` entries, each cut into `blocks` equal runs of one block each.
struct RowsShape {
  uint32_t blocks = 1;  ///< of each row
  uint32_t threads = 256;
};

/// Enough blocks that every multiprocessor has work and none more than a few entries a thread per
/// pass; no more than kRowBlocksMax, as a block adds up what lies before it.
constexpr uint32_t kRowBlocksMax = 1024;
RowsShape rows_shape(uint32_t rows, uint32_t length, uint32_t multiprocessors);

/// Rows up to here are chosen from by one block each: 16 entries a thread and pass, which takes
/// less time than the launches that many blocks would need.
constexpr uint32_t kShortRow = 16384;

/// Survivors that one block of the ranking orders.
constexpr uint32_t kRankEach = 32;
/// Blocks of the ranking of `k` survivors; its work is their square.
uint32_t rank_blocks(uint32_t k);

/// How a warp reads digests: `lanes` lanes (a power of two) share a record, one unit each; in a
/// step a warp reads `heads` KV heads of `tokens` neighbouring tokens, for `queries` query heads of
/// each. What is more takes further rounds over the same tokens.
struct ScanShape {
  uint32_t lanes = 1;
  uint32_t heads = 1;
  uint32_t tokens = 1;
  uint32_t queries = 1;  ///< a power of two; heads * queries is at most 32
  uint32_t head_rounds = 1;
  uint32_t query_rounds = 1;
};
struct ScanWork {
  uint32_t heads_kv = 1;
  uint32_t group = 1;        ///< query heads of a KV head
  uint32_t units = 1;        ///< of a head's digest
  uint32_t queries_max = 8;  ///< as registers allow; a power of two
};
ScanShape scan_shape(const ScanWork& work);

/// Tokens that one block scans: the same on every device, as the blocks' sums are added in order.
constexpr uint32_t kScanTokens = 512;
/// Of `count` tokens; never none.
uint32_t scan_blocks(uint32_t count);

}  // namespace ebb::kernels::cuda
