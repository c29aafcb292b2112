#include "models/adore_controller.h"

#include <cmath>
#include <cstring>
#include <map>

#include "models/mapped_file.h"
#include "models/safetensors.h"

namespace ebb::models {
namespace {

constexpr uint64_t kFileBytesMax = 64ull << 20;
constexpr uint32_t kHiddenMax = 1u << 16;
constexpr uint32_t kWidthMax = 1024;
constexpr const char* kFormat = "adore-controller-1";

std::string number(uint64_t value) { return std::to_string(value); }

using Metadata = std::map<std::string, std::string>;

Result<std::string> stated(const Metadata& metadata, const char* name) {
  const auto found = metadata.find(name);
  if (found == metadata.end()) return invalid(std::string("metadata ") + name + ": missing");
  return found->second;
}

Result<uint32_t> stated_number(const Metadata& metadata, const char* name, uint32_t most) {
  const std::string text = EBB_TRY(stated(metadata, name));
  uint64_t value = 0;
  for (const char c : text) {
    const bool digit = c >= '0' && c <= '9' && value <= most;
    value = digit ? 10 * value + static_cast<uint64_t>(c - '0') : uint64_t{most} + 1;
  }
  if (value >= 1 && value <= most) return static_cast<uint32_t>(value);
  return invalid(std::string("metadata ") + name + ": \"" + text + "\" is not in [1, " +
                 number(most) + "]");
}

/// The tensors of a file, each of which must be there with its shape and be taken once.
class Tensors {
 public:
  explicit Tensors(std::vector<SafetensorsTensor> tensors) {
    for (SafetensorsTensor& tensor : tensors) {
      if (!views_.emplace(tensor.name, tensor.view).second) twice_ = tensor.name;
    }
  }
  Result<std::vector<float>> take(const std::string& name, uint64_t rows, uint64_t columns) {
    const auto found = views_.find(name);
    if (found == views_.end()) return invalid("tensor " + name + ": missing");
    const TensorView view = found->second;
    views_.erase(found);
    if (view.type != WeightType::kF32) {
      return invalid("tensor " + name + ": is " + weight_type_name(view.type) + ", wanted F32");
    }
    if (view.rows != rows || view.columns != columns) {
      return invalid("tensor " + name + ": is [" + number(view.rows) + ", " + number(view.columns) +
                     "], wanted [" + number(rows) + ", " + number(columns) + "]");
    }
    std::vector<float> values(rows * columns);
    std::memcpy(values.data(), view.data, view.bytes);
    for (const float value : values) {
      if (!std::isfinite(value))
        return invalid("tensor " + name + ": has a value that is no number");
    }
    return values;
  }
  Result<void> all_taken() const {
    if (!twice_.empty()) return invalid("tensor " + twice_ + ": is there twice");
    if (views_.empty()) return {};
    return invalid("tensor " + views_.begin()->first + ": not known");
  }

 private:
  std::map<std::string, TensorView> views_;
  std::string twice_;
};

Result<AdoreController> read_file(std::span<const std::byte> bytes) {
  if (bytes.size() > kFileBytesMax) {
    return invalid("the file has " + number(bytes.size()) + " bytes, more than the limit of " +
                   number(kFileBytesMax));
  }
  Tensors tensors(EBB_TRY(parse_safetensors(bytes)));
  const Metadata metadata = EBB_TRY(read_metadata(bytes));
  const std::string format = EBB_TRY(stated(metadata, "ebb_format"));
  if (format != kFormat) {
    return invalid("metadata ebb_format: \"" + format + "\", wanted \"" + kFormat + "\"");
  }
  AdoreController out;
  out.model_name = EBB_TRY(stated(metadata, "model_name"));
  out.hidden = EBB_TRY(stated_number(metadata, "hidden", kHiddenMax));
  out.width = EBB_TRY(stated_number(metadata, "width", kWidthMax));
  const uint32_t buckets = EBB_TRY(stated_number(metadata, "buckets", kDistanceBuckets));
  if (buckets != kDistanceBuckets) {
    return invalid("metadata buckets: " + number(buckets) + ", wanted " + number(kDistanceBuckets));
  }
  const uint64_t h = out.hidden, c = out.width;
  out.input_weight = EBB_TRY(tensors.take("input.weight", c, h));
  out.input_bias = EBB_TRY(tensors.take("input.bias", 1, c));
  out.gru_weight_ih = EBB_TRY(tensors.take("gru.weight_ih", 3 * c, c));
  out.gru_weight_hh = EBB_TRY(tensors.take("gru.weight_hh", 3 * c, c));
  out.gru_bias_ih = EBB_TRY(tensors.take("gru.bias_ih", 1, 3 * c));
  out.gru_bias_hh = EBB_TRY(tensors.take("gru.bias_hh", 1, 3 * c));
  out.distance = EBB_TRY(tensors.take("distance.weight", kDistanceBuckets, c));
  out.head_weight = EBB_TRY(tensors.take("head.0.weight", c, c));
  out.head_bias = EBB_TRY(tensors.take("head.0.bias", 1, c));
  out.score_weight = EBB_TRY(tensors.take("head.1.weight", 1, c));
  out.score_bias = EBB_TRY(tensors.take("head.1.bias", 1, 1));
  EBB_TRY_VOID(tensors.all_taken());
  return out;
}

}  // namespace

Result<AdoreController> read_adore_controller(const std::string& path) {
  const auto file = MappedFile::open(path);
  if (!file) return with_context(path, file.error());
  auto controller = read_file((*file)->bytes());
  if (!controller) return with_context(path, controller.error());
  return controller;
}

Result<void> check_trained_for(const AdoreController& controller, const ModelShape& shape) {
  if (controller.model_name != shape.name) {
    return invalid("the controller is for model \"" + controller.model_name + "\", not \"" +
                   shape.name + "\"");
  }
  if (controller.hidden != shape.width) {
    return invalid("the controller reads embeddings of " + number(controller.hidden) +
                   " elements, the model's have " + number(shape.width));
  }
  return {};
}

Result<AdoreController> read_adore_controller_for(const std::string& path,
                                                  const ModelShape& shape) {
  auto controller = EBB_TRY(read_adore_controller(path));
  auto fits = check_trained_for(controller, shape);
  if (!fits) return with_context(path, fits.error());
  return controller;
}

}  // namespace ebb::models
