// What both formats' ModelFiles have in common: shape, tensors by role, pages. Internal to models/.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "models/family.h"
#include "models/model_files.h"
#include "models/tensor_table.h"

namespace ebb::models {

class OpenedModel : public ModelFiles {
 public:
  const std::string& path() const override { return path_; }
  const ModelShape& shape() const override { return shape_; }
  Result<TensorView> tensor(TensorRole role, uint32_t layer) const override;
  bool has(TensorRole role, uint32_t layer) const override { return find(role, layer) != nullptr; }
  void forget_pages(const std::byte* data, uint64_t bytes) const override;

 protected:
  OpenedModel(FileFormat format, std::string path) : format_(format), path_(std::move(path)) {}
  virtual const TensorTable& tensors() const = 0;

  FileFormat format_;
  std::string path_;
  ModelShape shape_;

 private:
  std::string name_of(TensorRole role, uint32_t layer) const;
  const TensorView* find(TensorRole role, uint32_t layer) const;
};

/// Errors: as ModelFiles::open().
Result<std::unique_ptr<ModelFiles>> open_gguf_model(const std::string& path);
Result<std::unique_ptr<ModelFiles>> open_hugging_face_model(const std::string& path);

}  // namespace ebb::models
