// kernels/records.h on the device: records are made and checked by kernels, on streams of their own
// (one for each direction), so that the host has neither to bring rows together nor to read them,
// and a step that computes does not wait.
#pragma once

#include <memory>
#include <optional>

#include "kernels/cuda/copy_stream.h"
#include "kernels/cuda/cuda_context.h"
#include "kernels/cuda/record_shapes.h"
#include "kernels/records.h"

namespace ebb::kernels::cuda {

class RecordMover {
 public:
  explicit RecordMover(const std::shared_ptr<CudaContext>& context)
      : out_(std::make_shared<CopyStream>(context)), in_(std::make_shared<CopyStream>(context)) {}

  /// kernels/ops.h, pack_records and unpack_records. A transfer that is dropped waits.
  std::unique_ptr<Transfer> pack(const RecordBand& band, std::byte* frames);
  /// Checks what it unpacks, whoever has checked it before.
  std::unique_ptr<Transfer> unpack(const RecordBand& band, const std::byte* frames);

  /// This way over the bus from now on, whatever record_way() would choose: for measurements.
  void set_way(RecordWay way) { way_ = way; }

 private:
  RecordWay way(const RecordBand& band) const;
  std::shared_ptr<CopyStream> out_;
  std::shared_ptr<CopyStream> in_;
  std::optional<RecordWay> way_;
};

}  // namespace ebb::kernels::cuda
