// The same generator as tests/golden/seeded_weights.py, which documents it.
#include "tests/worker/family_cases.h"

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/support/gguf_writer.h"
#include "tests/support/tiny_llama.h"

namespace ebb::worker::testing {
namespace {

using ebb::testing::append_raw;
using ebb::testing::GgufWriter;
using models::WeightType;
using nlohmann::json;

constexpr uint32_t kPromptTokens = 64;

uint64_t fnv1a(const std::string& text) {
  uint64_t state = 0xcbf29ce484222325;
  for (char c : text) state = (state ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  return state;
}

std::string random_bytes(const std::string& name, uint64_t count) {
  ebb::testing::TinyRandom random(fnv1a(name));
  std::string out;
  while (out.size() < count) append_raw(out, random.next());
  out.resize(count);
  return out;
}

WeightType type_of(const std::string& name) {
  for (uint32_t i = 0; i < models::kWeightTypes; ++i) {
    const auto type = static_cast<WeightType>(i);
    if (name == models::weight_type_name(type)) return type;
  }
  EBB_CHECK(false);
}

/// Where a block has its scale and its minimum, and the ratio of the two.
struct Scale {
  uint32_t at = 0;
  int32_t minimum_at = -1;
  float factor = 0;
};

Scale scale_of(WeightType type) {
  switch (type) {
    case WeightType::kQ4_1:
      return {0, 2, -7.5f};
    case WeightType::kQ5_1:
      return {0, 2, -15.5f};
    case WeightType::kQ2_K:
      return {80, 82, 1.5f};
    case WeightType::kQ3_K:
      return {108};
    case WeightType::kQ4_K:
      return {0, 2, 7.5f};
    case WeightType::kQ5_K:
      return {0, 2, 15.5f};
    case WeightType::kQ6_K:
      return {208};
    default:
      return {0};
  }
}

struct Tensor {
  std::string name;
  WeightType type;
  std::vector<uint64_t> shape;  ///< rows first
  json fill;
  uint64_t elements() const {
    return std::accumulate(shape.begin(), shape.end(), uint64_t{1}, std::multiplies<>());
  }
};

std::string float_bytes(const Tensor& tensor, uint64_t seed) {
  std::vector<float> values;
  if (tensor.fill.is_array()) {
    values = tensor.fill.get<std::vector<float>>();
  } else {
    const std::string fill = tensor.fill;
    const int exponent = fill == "g" ? 0 : std::stoi(fill.substr(1));
    for (char c : random_bytes(std::to_string(seed) + "/" + tensor.name, tensor.elements())) {
      const float b = static_cast<int8_t>(c);
      values.push_back(fill == "g" ? (64 + std::floor(b / 8)) / 64 : std::ldexp(b, -exponent));
    }
  }
  return ebb::testing::encode_weights(tensor.type, values);
}

std::string block_bytes_of(const Tensor& tensor, uint64_t seed) {
  const uint64_t size = models::block_bytes(tensor.type);
  const Scale scale = scale_of(tensor.type);
  const int exponent = std::stoi(tensor.fill.get<std::string>().substr(1));
  std::string bytes = random_bytes(std::to_string(seed) + "/" + tensor.name,
                                   tensor.elements() / models::block_elements(tensor.type) * size);
  const auto put = [&](uint64_t at, float value) {
    const uint16_t half = ebb::testing::to_half(value);
    bytes[at] = static_cast<char>(half & 0xff);
    bytes[at + 1] = static_cast<char>(half >> 8);
  };
  for (uint64_t block = 0; block < bytes.size(); block += size) {
    const uint64_t at = block + scale.at;
    const float d = std::ldexp(8.0f + static_cast<float>(bytes[at] & 7), -exponent);
    put(at, d);
    if (scale.minimum_at >= 0) {
      put(block + static_cast<uint64_t>(scale.minimum_at), d * scale.factor);
    }
  }
  return bytes;
}

std::string bytes_of(const Tensor& tensor, uint64_t seed) {
  if (models::block_elements(tensor.type) == 1) return float_bytes(tensor, seed);
  return block_bytes_of(tensor, seed);
}

std::vector<Tensor> tensors_of(const json& description) {
  std::vector<Tensor> tensors;
  for (const json& record : description["tensors"]) {
    tensors.push_back({record[0], type_of(record[1]), record[2], record[3]});
  }
  return tensors;
}

/// One file with tensors [begin, end).
void write_safetensors(const std::string& path, std::span<const Tensor> tensors, uint64_t seed) {
  json head;
  std::string data;
  for (const Tensor& tensor : tensors) {
    const uint64_t begin = data.size();
    data += bytes_of(tensor, seed);
    head[tensor.name] = {{"dtype", models::weight_type_name(tensor.type)},
                         {"shape", tensor.shape},
                         {"data_offsets", {begin, data.size()}}};
  }
  std::string text = head.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');
  std::string out;
  append_raw(out, uint64_t{text.size()});
  GgufWriter::write_file(path, out + text + data);
}

std::string write_huggingface(const json& description, uint64_t seed, const std::string& folder) {
  GgufWriter::write_file(folder + "/config.json", description["config"].dump(2));
  const std::vector<Tensor> tensors = tensors_of(description);
  const size_t files = description["files"];
  if (files == 1) {
    write_safetensors(folder + "/model.safetensors", tensors, seed);
    return folder;
  }
  json index;
  for (size_t i = 0; i < files; ++i) {
    const size_t begin = tensors.size() * i / files, end = tensors.size() * (i + 1) / files;
    const std::string name =
        "model-0000" + std::to_string(i + 1) + "-of-0000" + std::to_string(files) + ".safetensors";
    write_safetensors(folder + "/" + name, std::span(tensors).subspan(begin, end - begin), seed);
    for (size_t t = begin; t < end; ++t) index["weight_map"][tensors[t].name] = name;
  }
  GgufWriter::write_file(folder + "/model.safetensors.index.json", index.dump(2));
  return folder;
}

std::string write_gguf(const json& description, uint64_t seed, const std::string& folder) {
  GgufWriter writer;
  for (const json& entry : description["metadata"]) {
    const std::string key = entry[0], type = entry[1];
    if (type == "str") {
      writer.put_string(key, entry[2].get<std::string>());
    } else if (type == "u32") {
      writer.put_u32(key, entry[2]);
    } else {
      EBB_CHECK(type == "f32");
      writer.put_f32(key, entry[2]);
    }
  }
  for (const Tensor& tensor : tensors_of(description)) {
    const std::vector<uint64_t> dimensions(tensor.shape.rbegin(), tensor.shape.rend());
    writer.add_encoded(tensor.name, dimensions, tensor.type, bytes_of(tensor, seed));
  }
  writer.write(folder + "/model.gguf");
  return folder + "/model.gguf";
}

}  // namespace

std::vector<FamilyCase> read_family_cases(const std::string& path) {
  std::ifstream file(path);
  EBB_CHECK(file.good());
  std::vector<FamilyCase> cases;
  const json golden = json::parse(file);
  for (const json& from : golden["cases"]) {
    FamilyCase to;
    to.name = from["name"];
    to.seed = from["seed"];
    to.description = from.dump();
    to.largest = from["largest"];
    to.best = from["best"].get<std::vector<TokenId>>();
    to.margin = from["margin"].get<std::vector<double>>();
    to.forced = from["forced"].get<std::vector<double>>();
    to.forced_f32 = from["forced_f32"].get<std::vector<double>>();
    for (const auto& [position, values] : from["whole"].items()) {
      to.whole[static_cast<uint32_t>(std::stoul(position))] = values.get<std::vector<double>>();
    }
    const size_t vocabulary = to.whole.begin()->second.size();
    for (char c : random_bytes(std::to_string(to.seed) + "/prompt", kPromptTokens)) {
      to.prompt.push_back(static_cast<TokenId>(static_cast<uint8_t>(c) % vocabulary));
    }
    cases.push_back(std::move(to));
  }
  return cases;
}

std::string write_model(const FamilyCase& of, const std::string& folder) {
  const json description = json::parse(of.description);
  if (description.contains("config")) return write_huggingface(description, of.seed, folder);
  return write_gguf(description, of.seed, folder);
}

}  // namespace ebb::worker::testing
