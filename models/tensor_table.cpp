#include "models/tensor_table.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <string>

#include "models/shown_text.h"

namespace ebb::models {

Result<TensorTable> TensorTable::make(std::vector<TensorView> tensors) {
  TensorTable table;
  table.tensors_ = std::move(tensors);
  table.by_name_.resize(table.tensors_.size());
  std::iota(table.by_name_.begin(), table.by_name_.end(), 0u);
  const auto name = [&](uint32_t i) { return table.tensors_[i].name; };
  std::sort(table.by_name_.begin(), table.by_name_.end(),
            [&](uint32_t a, uint32_t b) { return name(a) < name(b); });
  for (size_t i = 1; i < table.by_name_.size(); ++i)
    if (name(table.by_name_[i - 1]) == name(table.by_name_[i]))
      return invalid("tensor " + shown_text(name(table.by_name_[i])) + ": occurs twice");
  return table;
}

bool TensorTable::all_of(WeightType type) const {
  return std::all_of(tensors_.begin(), tensors_.end(),
                     [type](const TensorView& tensor) { return tensor.type == type; });
}

const TensorView* TensorTable::find(std::string_view name) const {
  auto at = std::lower_bound(by_name_.begin(), by_name_.end(), name,
                             [&](uint32_t i, std::string_view w) { return tensors_[i].name < w; });
  if (at == by_name_.end() || tensors_[*at].name != name) return nullptr;
  return &tensors_[*at];
}

Result<void> check_tensors_apart(std::span<const TensorView> tensors) {
  std::vector<const TensorView*> by_place;
  for (const TensorView& view : tensors) by_place.push_back(&view);
  std::sort(by_place.begin(), by_place.end(), [](const TensorView* a, const TensorView* b) {
    return std::less<>()(a->data, b->data);
  });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const TensorView& left = *by_place[i - 1];
    const TensorView& right = *by_place[i];
    if (std::less<>()(right.data, left.data + left.bytes))
      return invalid("tensor " + shown_text(right.name) + ": overlaps tensor " +
                     shown_text(left.name));
  }
  return {};
}

}  // namespace ebb::models
