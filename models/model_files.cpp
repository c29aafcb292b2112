// Opens what the path names.
#include "models/model_files.h"

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "models/architecture.h"
#include "models/chat_template_files.h"
#include "models/gguf.h"

namespace ebb::models {
namespace {

/// Names of one layer's tensors in a GGUF file, behind "blk.<layer>.".
constexpr std::array<std::pair<TensorRole, const char*>, 9> kLayerNames = {{
    {TensorRole::kAttentionNorm, "attn_norm.weight"},
    {TensorRole::kQ, "attn_q.weight"},
    {TensorRole::kK, "attn_k.weight"},
    {TensorRole::kV, "attn_v.weight"},
    {TensorRole::kAttentionOut, "attn_output.weight"},
    {TensorRole::kFfnNorm, "ffn_norm.weight"},
    {TensorRole::kGate, "ffn_gate.weight"},
    {TensorRole::kUp, "ffn_up.weight"},
    {TensorRole::kDown, "ffn_down.weight"},
}};

std::string gguf_name(TensorRole role, uint32_t layer, bool tied_head) {
  if (role == TensorRole::kEmbedding) return "token_embd.weight";
  if (role == TensorRole::kOutputNorm) return "output_norm.weight";
  if (role == TensorRole::kHead) return tied_head ? "token_embd.weight" : "output.weight";
  for (const auto& [known, name] : kLayerNames)
    if (known == role) return "blk." + std::to_string(layer) + "." + name;
  return "";
}

class GgufModel : public ModelFiles {
 public:
  GgufModel(std::unique_ptr<GgufFile> file, ModelShape shape)
      : file_(std::move(file)), shape_(std::move(shape)) {}

  const std::string& path() const override { return file_->path(); }
  const ModelShape& shape() const override { return shape_; }
  Result<TensorView> tensor(TensorRole role, uint32_t layer) const override {
    return file_->tensor(gguf_name(role, layer, shape_.tied_head));
  }
  bool has(TensorRole role, uint32_t layer) const override {
    return file_->has_tensor(gguf_name(role, layer, shape_.tied_head));
  }
  Result<std::unique_ptr<Tokenizer>> tokenizer() const override { return load_tokenizer(*file_); }
  Result<std::unique_ptr<ChatTemplate>> chat_template() const override {
    return load_chat_template(*file_);
  }
  GenerationDefaults generation_defaults() const override { return {}; }
  void forget_pages(const std::byte* data, uint64_t bytes) const override {
    const auto page = static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
    const auto begin = (reinterpret_cast<uint64_t>(data) + page - 1) / page * page;
    const auto end = (reinterpret_cast<uint64_t>(data) + bytes) / page * page;
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }

 private:
  std::unique_ptr<GgufFile> file_;
  ModelShape shape_;
};

}  // namespace

Result<std::unique_ptr<ModelFiles>> ModelFiles::open(const std::string& path) {
  auto file = EBB_TRY(GgufFile::open(path));
  auto shape = EBB_TRY(read_shape(*file));
  return std::unique_ptr<ModelFiles>(
      std::make_unique<GgufModel>(std::move(file), std::move(shape)));
}

}  // namespace ebb::models
