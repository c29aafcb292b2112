// Controllers of policy adore with seeded random weights, as files: right by default, wrong on
// request.
#pragma once

#include <fstream>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "models/adore_controller.h"
#include "tests/support/safetensors_writer.h"
#include "tests/support/tiny_llama.h"

namespace ebb::testing {

struct AdoreFile {
  explicit AdoreFile(const std::string& model_name, uint32_t hidden, uint32_t width = 8,
                     uint64_t seed = 1)
      : metadata{{"ebb_format", "adore-controller-1"},
                 {"model_name", model_name},
                 {"hidden", std::to_string(hidden)},
                 {"width", std::to_string(width)},
                 {"buckets", "176"}} {
    TinyRandom random(seed);
    const auto add = [&](const std::string& name, std::vector<uint64_t> shape) {
      uint64_t count = 1;
      for (const uint64_t extent : shape) count *= extent;
      tensors.push_back({name, shape, models::WeightType::kF32, random.values(count, 0.3f)});
    };
    add("input.weight", {width, hidden});
    add("input.bias", {width});
    add("gru.weight_ih", {3 * uint64_t{width}, width});
    add("gru.weight_hh", {3 * uint64_t{width}, width});
    add("gru.bias_ih", {3 * uint64_t{width}});
    add("gru.bias_hh", {3 * uint64_t{width}});
    add("distance.weight", {models::kDistanceBuckets, width});
    add("head.0.weight", {width, width});
    add("head.0.bias", {width});
    add("head.1.weight", {1, width});
    add("head.1.bias", {1});
  }

  struct Tensor {
    std::string name;
    std::vector<uint64_t> shape;
    models::WeightType type;
    std::vector<float> values;
  };
  Tensor& tensor(const std::string& name) {
    for (Tensor& t : tensors) {
      if (t.name == name) return t;
    }
    EBB_CHECK(false);
  }
  std::string bytes() const {
    SafetensorsWriter writer;
    std::string members;
    for (const auto& [name, value] : metadata) {
      members += (members.empty() ? "\"" : ",\"") + name + "\":\"" + value + "\"";
    }
    writer.put("\"__metadata__\":{" + members + "}");
    for (const Tensor& t : tensors) writer.add(t.name, t.shape, t.type, t.values);
    return writer.bytes();
  }
  void write(const std::string& path) const { std::ofstream(path, std::ios::binary) << bytes(); }

  std::map<std::string, std::string> metadata;
  std::vector<Tensor> tensors;
};

}  // namespace ebb::testing
