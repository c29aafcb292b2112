// The format: 8 bytes with the header's length (little-endian), the header (JSON), then the data;
// offsets count from the data's begin (github.com/huggingface/safetensors, "Format").
#include "models/safetensors.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "models/safetensors_json.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

/// A header of 65 536 tensors stays far below; what is longer is not read at all.
constexpr uint64_t kHeaderBytesMax = 32ull << 20;
constexpr uint64_t kIndexBytesMax = 32ull << 20;
constexpr uint64_t kFilesMax = 4096;
constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

std::string number(uint64_t value) { return std::to_string(value); }

struct Dtype {
  std::string_view name;
  WeightType type;
};
constexpr Dtype kDtypes[] = {
    {"F32", WeightType::kF32}, {"F16", WeightType::kF16}, {"BF16", WeightType::kBF16}};

Result<WeightType> type_of(const SafetensorsEntry& entry) {
  for (const Dtype& dtype : kDtypes)
    if (dtype.name == entry.dtype) return dtype.type;
  return unsupported("tensor " + entry.name + ": dtype " + entry.dtype +
                     " is not supported (supported: F32, F16, BF16)");
}

/// The header's text, and where the data begin.
struct Parts {
  std::string_view header;
  std::span<const std::byte> data;
};

Result<Parts> split(std::span<const std::byte> file) {
  uint64_t length = 0;
  if (file.size() < sizeof length)
    return invalid("the file has " + number(file.size()) + " bytes: truncated?");
  std::memcpy(&length, file.data(), sizeof length);
  if (length > kHeaderBytesMax)
    return invalid("header: " + number(length) + " bytes exceed the limit of " +
                   number(kHeaderBytesMax) + " (or this is not a safetensors file)");
  if (length > file.size() - sizeof length)
    return invalid("header: " + number(length) + " bytes, but the file has " + number(file.size()) +
                   ": truncated?");
  const auto* text = reinterpret_cast<const char*>(file.data() + sizeof length);
  return Parts{std::string_view(text, length), file.subspan(sizeof length + length)};
}

/// The entry's matrix, its shape held against its bytes, its bytes against the file.
Result<TensorView> view_of(const SafetensorsEntry& entry, std::span<const std::byte> data,
                           uint64_t data_offset) {
  const std::string what = "tensor " + entry.name;
  TensorView view;
  view.type = EBB_TRY(type_of(entry));
  const uint64_t size = block_bytes(view.type);
  if (entry.begin > entry.end || entry.end > data.size())
    return invalid(what + ": bytes " + number(entry.begin) + " to " + number(entry.end) +
                   ", but the data have " + number(data.size()) + ": truncated?");
  view.bytes = entry.end - entry.begin;
  uint64_t elements = 1;
  for (const uint64_t extent : entry.shape) {
    if (extent == 0) return invalid(what + ": a dimension is 0");
    if (extent > view.bytes / elements)  // never above view.bytes: no overflow
      return invalid(what + ": its shape has more elements than its " + number(view.bytes) +
                     " bytes hold");
    elements *= extent;
  }
  if (elements * size != view.bytes)
    return invalid(what + ": its shape has " + number(elements) + " elements of " + number(size) +
                   " bytes, but its data have " + number(view.bytes) + " bytes");
  if ((data_offset + entry.begin) % size != 0)
    return unsupported(what + ": begins at byte " + number(data_offset + entry.begin) +
                       " of the file, which is not a multiple of " + number(size) +
                       "; save the file again with a newer safetensors library");
  view.columns = entry.shape.empty() ? 1 : entry.shape.back();
  view.rows = elements / view.columns;
  view.data = data.data() + entry.begin;
  return view;
}

/// The format wants the data covered without overlaps and holes: what nobody names could be
/// anything.
Result<void> check_cover(const std::vector<SafetensorsEntry>& entries, uint64_t data_bytes) {
  uint64_t reached = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin < reached) return invalid("tensor " + entry.name + ": overlaps another tensor");
    if (entry.begin > reached)
      return invalid("tensor " + entry.name + ": begins at byte " + number(entry.begin) +
                     " of the data, but the one before ends at " + number(reached));
    reached = entry.end;
  }
  if (reached != data_bytes)
    return invalid("the tensors end at byte " + number(reached) + " of the data, which have " +
                   number(data_bytes));
  return {};
}

bool is_file(const std::string& path) {
  struct stat status {};
  return stat(path.c_str(), &status) == 0 && S_ISREG(status.st_mode);
}

/// Maps one file and moves its tensors to `all`.
Result<void> add_file(const std::string& directory, const std::string& name,
                      SafetensorsWeights& weights, std::vector<TensorView>& all) {
  auto file = MappedFile::open(directory + "/" + name);
  if (!file) {
    Error error = file.error();
    if (error.code == Code::kNotFound) error.code = Code::kInvalid;
    return with_context(name, error);
  }
  auto tensors = parse_safetensors((*file)->bytes());
  if (!tensors) return with_context(name, tensors.error());
  for (SafetensorsTensor& tensor : *tensors) {
    weights.names.push_back(std::move(tensor.name));
    tensor.view.name = weights.names.back();
    all.push_back(tensor.view);
  }
  weights.files.push_back(*std::move(file));
  return {};
}

/// A plain name: no way out of the directory.
Result<void> check_shard_name(const std::string& name) {
  if (name.find('/') == std::string::npos && !name.starts_with('.') &&
      name.ends_with(".safetensors"))
    return {};
  return invalid("weight_map: \"" + shown_text(name) +
                 "\" is not the name of a .safetensors file in the model's directory");
}

/// The file's tensors are the `wanted` ones that the index says are in it, and no other.
Result<void> check_shard(const std::map<std::string, std::string>& index, const std::string& file,
                         size_t wanted, std::span<const TensorView> tensors) {
  std::set<std::string_view> found;
  for (const TensorView& view : tensors) {
    const auto stated = index.find(std::string(view.name));
    if (stated == index.end())
      return invalid(file + ": tensor " + std::string(view.name) + " is not in the index");
    if (stated->second != file)
      return invalid(file + ": tensor " + std::string(view.name) + " is in " + stated->second +
                     " by the index");
    found.insert(view.name);
  }
  if (found.size() == wanted) return {};
  for (const auto& [tensor, stated] : index)
    if (stated == file && !found.contains(tensor))
      return invalid(file + ": does not have tensor " + tensor + ", which the index says is there");
  return {};
}

Result<void> add_shards(const std::string& directory, SafetensorsWeights& weights,
                        std::vector<TensorView>& all) {
  const std::string text = EBB_TRY(read_small_file(directory + "/" + kIndex, kIndexBytesMax));
  const auto index = EBB_TRY(read_weight_map(text));
  std::map<std::string, size_t> files;  // and how many tensors each should have
  for (const auto& [tensor, file] : index) ++files[file];
  if (files.size() > kFilesMax)
    return invalid("weight_map: " + number(files.size()) + " files exceed the limit of " +
                   number(kFilesMax));
  for (const auto& [file, wanted] : files) EBB_TRY_VOID(check_shard_name(file));
  for (const auto& [file, wanted] : files) {
    const size_t before = all.size();
    EBB_TRY_VOID(add_file(directory, file, weights, all));
    EBB_TRY_VOID(check_shard(index, file, wanted, std::span(all).subspan(before)));
  }
  return {};
}

}  // namespace

Result<std::vector<SafetensorsTensor>> parse_safetensors(std::span<const std::byte> file) {
  const Parts parts = EBB_TRY(split(file));
  auto entries = read_safetensors_json(parts.header);
  if (!entries) return with_context("header", entries.error());
  std::stable_sort(entries->begin(), entries->end(), [](const auto& a, const auto& b) {
    return a.begin < b.begin || (a.begin == b.begin && a.end < b.end);
  });
  std::vector<SafetensorsTensor> tensors;
  for (SafetensorsEntry& entry : *entries) {
    const TensorView view = EBB_TRY(view_of(entry, parts.data, file.size() - parts.data.size()));
    tensors.push_back({entry.name, view});
  }
  EBB_TRY_VOID(check_cover(*entries, parts.data.size()));
  return tensors;
}

Result<std::map<std::string, std::string>> read_metadata(std::span<const std::byte> file) {
  const Parts parts = EBB_TRY(split(file));
  auto metadata = read_safetensors_metadata(parts.header);
  if (!metadata) return with_context("header", metadata.error());
  return metadata;
}

Result<SafetensorsWeights> open_safetensors(const std::string& directory) {
  SafetensorsWeights weights;
  std::vector<TensorView> all;
  if (is_file(directory + "/" + kSingle)) {
    EBB_TRY_VOID(add_file(directory, kSingle, weights, all));
  } else if (is_file(directory + "/" + kIndex)) {
    Result<void> added = add_shards(directory, weights, all);
    if (!added) return with_context(kIndex, added.error());
  } else if (is_file(directory + "/pytorch_model.bin") ||
             is_file(directory + "/pytorch_model.bin.index.json")) {
    return unsupported(
        "its weights are pickle files, which can run code and are not supported; "
        "save them as safetensors");
  } else {
    return invalid(std::string("has neither ") + kSingle + " nor " + kIndex);
  }
  weights.table = EBB_TRY(TensorTable::make(std::move(all)));
  return weights;
}

}  // namespace ebb::models
