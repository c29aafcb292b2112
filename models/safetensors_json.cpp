#include "models/safetensors_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

namespace ebb::models {
namespace {

using Json = nlohmann::json;

constexpr size_t kTensorsMax = 65536;
constexpr size_t kNameBytesMax = 1024;
constexpr size_t kDimensionsMax = 8;
constexpr size_t kMetadataMax = 64;
constexpr size_t kIndexDepthMax = 16;
constexpr std::string_view kMetadata = "__metadata__";

/// Names go into messages and logs, so they must be something a person can read.
bool is_readable(std::string_view name) {
  return !name.empty() && name.size() <= kNameBytesMax &&
         std::all_of(name.begin(), name.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
}

/// What both readers do with the library's events. A handler that returns false ends the reading;
/// problem() then says why.
class Events {
 public:
  bool binary(Json::binary_t&) { return false; }
  bool parse_error(size_t position, const std::string&, const Json::exception&) {
    return fail("not JSON at byte " + std::to_string(position));
  }
  const std::string& problem() const { return problem_; }

 protected:
  bool fail(std::string why) {
    if (problem_.empty()) problem_ = std::move(why);
    return false;
  }
  std::string problem_;
};

/// {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ..., "__metadata__": {...}}
class HeaderEvents : public Events {
 public:
  bool null() { return unwanted("null"); }
  bool boolean(bool) { return unwanted("a boolean"); }
  bool number_integer(int64_t) { return unwanted("a negative number"); }
  bool number_float(double, const std::string& text) { return unwanted(text.c_str()); }
  bool number_unsigned(uint64_t value) {
    if (depth_ != 3) return unwanted("a number");
    if (numbers_.size() == kDimensionsMax)
      return fail(what() + " has more than " + std::to_string(kDimensionsMax) + " numbers");
    numbers_.push_back(value);
    return true;
  }
  bool string(std::string& text) {
    if (depth_ == 2 && in_metadata_) return keep_metadata(text);
    if (depth_ != 2 || field_ != kDtype) return unwanted("a string");
    if (!is_readable(text)) return fail(what() + ": dtype is not a name");
    entry_.dtype = std::move(text);
    return true;
  }
  bool start_object(size_t) {
    if (depth_ > 1) return unwanted("an object");
    if (++depth_ == 1) return true;
    fields_ = 0;
    entry_ = {.name = std::move(name_), .dtype = {}, .shape = {}};
    return true;
  }
  bool end_object() {
    if (--depth_ == 0) return true;
    if (in_metadata_) return leave_metadata();
    if (fields_ != (kDtype | kShape | kOffsets))
      return fail("tensor " + entry_.name + ": dtype, shape or data_offsets is missing");
    entries_.push_back(std::move(entry_));
    return true;
  }
  bool start_array(size_t) {
    if (depth_ != 2 || in_metadata_ || (field_ != kShape && field_ != kOffsets))
      return unwanted("a list");
    ++depth_;
    numbers_.clear();
    return true;
  }
  bool end_array() {
    --depth_;
    if (field_ == kShape) {
      entry_.shape = numbers_;
      return true;
    }
    if (numbers_.size() != 2)
      return fail("tensor " + entry_.name + ": data_offsets has " +
                  std::to_string(numbers_.size()) + " numbers, wanted 2");
    entry_.begin = numbers_[0];
    entry_.end = numbers_[1];
    return true;
  }
  bool key(std::string& name) {
    if (depth_ == 1) return begin_entry(name);
    if (in_metadata_) {
      name_ = std::move(name);
      return true;
    }
    field_ = 0;
    for (const auto& [known, bit] : kFields)
      if (name == known) field_ = bit;
    if (field_ == 0) return fail("tensor " + entry_.name + ": has a field that is not known");
    if ((fields_ & field_) != 0) return fail("tensor " + entry_.name + ": has " + name + " twice");
    fields_ |= field_;
    return true;
  }

  std::vector<SafetensorsEntry> take() { return std::move(entries_); }
  std::map<std::string, std::string> take_metadata() { return std::move(metadata_); }

 private:
  static constexpr uint32_t kDtype = 1, kShape = 2, kOffsets = 4;
  static constexpr std::pair<std::string_view, uint32_t> kFields[] = {
      {"dtype", kDtype}, {"shape", kShape}, {"data_offsets", kOffsets}};

  bool begin_entry(std::string& name) {
    in_metadata_ = name == kMetadata;
    if (in_metadata_ && seen_metadata_) return fail("__metadata__ is there twice");
    seen_metadata_ |= in_metadata_;
    if (!is_readable(name))
      return fail("tensor " + std::to_string(entries_.size()) +
                  ": its name is empty, longer than " + std::to_string(kNameBytesMax) +
                  " bytes or not printable ASCII");
    if (!in_metadata_ && entries_.size() == kTensorsMax)
      return fail("more than " + std::to_string(kTensorsMax) + " tensors");
    name_ = std::move(name);
    return true;
  }
  bool keep_metadata(std::string& text) {
    if (metadata_.size() < kMetadataMax && is_readable(name_) && is_readable(text)) {
      metadata_.try_emplace(std::move(name_), std::move(text));
    }
    return true;
  }
  bool leave_metadata() {
    in_metadata_ = false;
    return true;
  }
  std::string what() const {
    if (depth_ == 0) return "the header";
    return in_metadata_ ? std::string(kMetadata) : "tensor " + (depth_ == 1 ? name_ : entry_.name);
  }
  bool unwanted(const char* found) {
    return fail(what() + ": " + found + " where it does not belong");
  }

  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, std::string> metadata_;
  SafetensorsEntry entry_;
  std::string name_;
  std::vector<uint64_t> numbers_;
  uint32_t depth_ = 0;
  uint32_t field_ = 0;
  uint32_t fields_ = 0;
  bool in_metadata_ = false;
  bool seen_metadata_ = false;
};

/// {"metadata": {...}, "weight_map": {"tensor": "file", ...}}
class IndexEvents : public Events {
 public:
  bool null() { return scalar(); }
  bool boolean(bool) { return scalar(); }
  bool number_integer(int64_t) { return scalar(); }
  bool number_unsigned(uint64_t) { return scalar(); }
  bool number_float(double, const std::string&) { return scalar(); }
  bool string(std::string& text) {
    if (!in_map_) return scalar();
    if (!is_readable(text)) return fail("weight_map: tensor " + tensor_ + ": its file has no name");
    if (map_.size() == kTensorsMax)
      return fail("weight_map: more than " + std::to_string(kTensorsMax) + " tensors");
    if (!map_.emplace(tensor_, std::move(text)).second)
      return fail("weight_map: tensor " + tensor_ + " is there twice");
    return true;
  }
  bool start_object(size_t) { return enter(); }
  bool start_array(size_t) { return depth_ == 1 && next_is_map_ ? scalar() : enter(); }
  bool end_object() { return leave(); }
  bool end_array() { return leave(); }
  bool key(std::string& name) {
    if (depth_ == 1) {
      next_is_map_ = name == "weight_map";
      if (next_is_map_ && seen_map_) return fail("weight_map is there twice");
      seen_map_ |= next_is_map_;
    }
    if (!in_map_) return true;
    if (!is_readable(name)) return fail("weight_map: a tensor's name is not printable ASCII");
    tensor_ = std::move(name);
    return true;
  }

  bool has_map() const { return seen_map_; }
  std::map<std::string, std::string> take() { return std::move(map_); }

 private:
  bool scalar() {
    if (depth_ == 0 || in_map_ || (depth_ == 1 && next_is_map_))
      return fail(depth_ == 0 ? "not an object"
                              : "weight_map: holds something else than file names");
    return true;
  }
  bool enter() {
    if (in_map_) return scalar();
    if (depth_ == kIndexDepthMax)
      return fail("nests deeper than " + std::to_string(kIndexDepthMax) + " levels");
    in_map_ = depth_ == 1 && next_is_map_;
    ++depth_;
    return true;
  }
  bool leave() {
    in_map_ = false;
    --depth_;
    return true;
  }

  std::map<std::string, std::string> map_;
  std::string tensor_;
  size_t depth_ = 0;
  bool next_is_map_ = false;
  bool in_map_ = false;
  bool seen_map_ = false;
};

template <class Handler>
Result<void> read_events(std::string_view json, Handler& handler) {
  if (Json::sax_parse(json.begin(), json.end(), &handler)) return {};
  return invalid(handler.problem());
}

}  // namespace

Result<std::vector<SafetensorsEntry>> read_safetensors_json(std::string_view json) {
  HeaderEvents events;
  EBB_TRY_VOID(read_events(json, events));
  return events.take();
}

Result<std::map<std::string, std::string>> read_safetensors_metadata(std::string_view json) {
  HeaderEvents events;
  EBB_TRY_VOID(read_events(json, events));
  return events.take_metadata();
}

Result<std::map<std::string, std::string>> read_weight_map(std::string_view json) {
  IndexEvents events;
  EBB_TRY_VOID(read_events(json, events));
  if (!events.has_map()) return invalid("weight_map: missing");
  return events.take();
}

}  // namespace ebb::models
