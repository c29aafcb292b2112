#include "models/opened_model.h"

#include "models/mapped_file.h"

namespace ebb::models {
std::string OpenedModel::name_of(TensorRole role, uint32_t layer) const {
  const bool shared = role == TensorRole::kHead && shape_.tied_head;
  return tensor_rule(shared ? TensorRole::kEmbedding : role).name(format_, layer);
}

const TensorView* OpenedModel::find(TensorRole role, uint32_t layer) const {
  return tensors().find(name_of(role, layer));
}

Result<TensorView> OpenedModel::tensor(TensorRole role, uint32_t layer) const {
  const TensorView* view = find(role, layer);
  if (view == nullptr) return not_found("tensor " + name_of(role, layer) + ": not in " + path_);
  return *view;
}

void OpenedModel::forget_pages(const std::byte* data, uint64_t bytes) const {
  forget_mapped_pages(data, bytes);
}

}  // namespace ebb::models
