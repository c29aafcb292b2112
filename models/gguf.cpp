// GgufFile: maps a file, has it walked by gguf_cursor, then checks what only the whole shows
// (duplicates, places of tensors), and answers look-ups in place.
#include "models/gguf.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <numeric>

#include "models/gguf_cursor.h"
#include "models/gguf_parts.h"
#include "models/mapped_file.h"
#include "models/shown_text.h"

namespace ebb::models {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read in place");

constexpr uint64_t kAlignmentMax = 1ull << 20;
constexpr uint64_t kAlignmentDefault = 32;
constexpr std::string_view kAlignmentKey = "general.alignment";

std::string number(uint64_t value) { return std::to_string(value); }

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

/// An integer of any width as (negative?, magnitude); nothing for other types.
struct Integer {
  bool negative = false;
  uint64_t magnitude = 0;
};

Integer from_signed(int64_t value) {
  if (value < 0) return {true, 0 - static_cast<uint64_t>(value)};
  return {false, static_cast<uint64_t>(value)};
}

std::optional<Integer> load_integer(ValueType type, const std::byte* at) {
  switch (type) {
    case ValueType::kU8:
      return Integer{false, load<uint8_t>(at)};
    case ValueType::kU16:
      return Integer{false, load<uint16_t>(at)};
    case ValueType::kU32:
      return Integer{false, load<uint32_t>(at)};
    case ValueType::kU64:
      return Integer{false, load<uint64_t>(at)};
    case ValueType::kI8:
      return from_signed(load<int8_t>(at));
    case ValueType::kI16:
      return from_signed(load<int16_t>(at));
    case ValueType::kI32:
      return from_signed(load<int32_t>(at));
    case ValueType::kI64:
      return from_signed(load<int64_t>(at));
    default:
      return std::nullopt;
  }
}

std::string type_text(const Entry& entry) {
  if (entry.type != ValueType::kArray) return value_type_name(entry.type);
  return std::string("array of ") + value_type_name(entry.element);
}

Error wrong_type(const Entry& entry, const char* wanted) {
  return invalid("metadata " + shown_text(entry.key) + ": is of type " + type_text(entry) +
                 ", wanted " + wanted);
}

/// The bytes of a string value at `at`; lengths were checked when the file was opened.
std::string_view load_string(const std::byte* at) {
  return {reinterpret_cast<const char*>(at + sizeof(uint64_t)), load<uint64_t>(at)};
}

}  // namespace

struct GgufFile::Impl {
  std::string path;
  std::unique_ptr<MappedFile> map;
  std::span<const std::byte> bytes;
  std::vector<Entry> entries;
  std::vector<uint32_t> by_key;                  ///< indices into entries, sorted by key
  TensorTable tensors;                           ///< of all parts
  std::vector<std::unique_ptr<GgufFile>> parts;  ///< behind the first

  Result<void> parse();
  Result<void> read_metadata(GgufCursor& cursor, uint64_t keys);
  Result<uint64_t> alignment() const;
  Result<std::vector<TensorView>> place_tensors(const std::vector<TensorRow>& rows,
                                                uint64_t table_end) const;
  const Entry* find(std::string_view key) const;
  Result<Entry> get(std::string_view key) const;
};

Result<void> GgufFile::Impl::read_metadata(GgufCursor& cursor, uint64_t keys) {
  for (uint64_t i = 0; i < keys; ++i) entries.push_back(EBB_TRY(read_gguf_entry(cursor, i)));
  by_key.resize(entries.size());
  std::iota(by_key.begin(), by_key.end(), 0u);
  std::sort(by_key.begin(), by_key.end(),
            [&](uint32_t a, uint32_t b) { return entries[a].key < entries[b].key; });
  for (size_t i = 1; i < by_key.size(); ++i)
    if (entries[by_key[i - 1]].key == entries[by_key[i]].key)
      return invalid("metadata " + shown_text(entries[by_key[i]].key) + ": occurs twice");
  return {};
}

/// A binary search: a hash table would be quicker, and open to files with chosen collisions.
const Entry* GgufFile::Impl::find(std::string_view key) const {
  auto at = std::lower_bound(by_key.begin(), by_key.end(), key,
                             [&](uint32_t i, std::string_view k) { return entries[i].key < k; });
  if (at == by_key.end() || entries[*at].key != key) return nullptr;
  return &entries[*at];
}

Result<uint64_t> GgufFile::Impl::alignment() const {
  const Entry* entry = find(kAlignmentKey);
  if (entry == nullptr) return kAlignmentDefault;
  std::optional<Integer> value = load_integer(entry->type, entry->data);
  if (!value) return wrong_type(*entry, "an integer");
  if (value->negative || !std::has_single_bit(value->magnitude) || value->magnitude < 8 ||
      value->magnitude > kAlignmentMax)
    return invalid("metadata " + std::string(kAlignmentKey) + ": " + (value->negative ? "-" : "") +
                   number(value->magnitude) + " is not a power of two between 8 and " +
                   number(kAlignmentMax));
  return value->magnitude;
}

/// Turns offsets into pointers: each tensor aligned and inside the file.
Result<std::vector<TensorView>> GgufFile::Impl::place_tensors(const std::vector<TensorRow>& rows,
                                                              uint64_t table_end) const {
  const uint64_t size = bytes.size();
  std::vector<TensorView> placed;
  uint64_t align = EBB_TRY(alignment());
  uint64_t data_begin = (table_end + align - 1) / align * align;
  for (const TensorRow& row : rows) {
    std::string what = "tensor " + shown_text(row.view.name);
    if (row.offset % align != 0)
      return invalid(what + ": offset " + number(row.offset) +
                     " is not a multiple of the alignment " + number(align));
    if (row.offset > std::numeric_limits<uint64_t>::max() - data_begin - row.view.bytes)
      return invalid(what + ": offset " + number(row.offset) + " is absurd");
    uint64_t begin = data_begin + row.offset;
    if (begin + row.view.bytes > size)
      return invalid(what + ": ends at byte " + number(begin + row.view.bytes) +
                     " but the file has " + number(size) + ": truncated?");
    TensorView view = row.view;
    view.data = bytes.data() + begin;
    placed.push_back(view);
  }
  return placed;
}

Result<void> GgufFile::Impl::parse() {
  GgufCursor cursor(bytes.data(), bytes.size());
  GgufHeader header = EBB_TRY(read_gguf_header(cursor));
  EBB_TRY_VOID(read_metadata(cursor, header.keys));
  std::vector<TensorRow> rows;
  for (uint64_t i = 0; i < header.tensors; ++i)
    rows.push_back(EBB_TRY(read_gguf_tensor_row(cursor, i)));
  auto placed = EBB_TRY(place_tensors(rows, cursor.at()));
  tensors = EBB_TRY(TensorTable::make(std::move(placed)));
  return check_tensors_apart(tensors.all());
}

Result<Entry> GgufFile::Impl::get(std::string_view key) const {
  const Entry* entry = find(key);
  if (entry == nullptr) return not_found("metadata " + shown_text(key) + ": not in " + path);
  return *entry;
}

GgufFile::GgufFile() : impl_(std::make_unique<Impl>()) {}
GgufFile::~GgufFile() = default;

Result<std::unique_ptr<GgufFile>> GgufFile::open_one(const std::string& path) {
  auto map = MappedFile::open(path);
  if (!map) return with_context("model file " + path, map.error());
  auto file = EBB_TRY(parse((*map)->bytes(), path));
  file->impl_->map = *std::move(map);
  return file;
}

Result<std::unique_ptr<GgufFile>> GgufFile::open(const std::string& path) {
  auto file = EBB_TRY(open_one(path));
  Result<uint64_t> parts = part_count(*file);
  if (!parts) return with_context("model file " + path, parts.error());
  if (*parts <= 1) return file;
  const Result<void> added = file->add_parts(*parts);
  if (!added) return with_context("model file " + path, added.error());
  return file;
}

/// Metadata are those of the first part; each of the others names its number.
Result<void> GgufFile::add_parts(uint64_t count) {
  std::vector<TensorView> all(tensors().all().begin(), tensors().all().end());
  for (uint64_t part = 1; part < count; ++part) {
    const std::string name = EBB_TRY(part_path(path(), part, count));
    auto file = EBB_TRY(open_one(name));
    EBB_TRY_VOID(check_part(*file, part, count));
    const auto more = file->tensors().all();
    all.insert(all.end(), more.begin(), more.end());
    impl_->parts.push_back(std::move(file));
  }
  EBB_TRY_VOID(check_tensor_count(*this, all.size()));
  impl_->tensors = EBB_TRY(TensorTable::make(std::move(all)));
  return {};
}

Result<std::unique_ptr<GgufFile>> GgufFile::parse(std::span<const std::byte> bytes,
                                                  std::string name) {
  std::unique_ptr<GgufFile> file(new GgufFile);
  file->impl_->path = std::move(name);
  file->impl_->bytes = bytes;
  const Result<void> done = file->impl_->parse();
  if (!done) return with_context("model file " + file->impl_->path, done.error());
  return file;
}

Result<uint64_t> GgufFile::get_u64(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  std::optional<Integer> value = load_integer(entry.type, entry.data);
  if (!value) return wrong_type(entry, "an integer");
  if (value->negative)
    return invalid("metadata " + shown_text(key) + ": -" + number(value->magnitude) +
                   " is negative");
  return value->magnitude;
}

Result<double> GgufFile::get_f64(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type == ValueType::kF32) return double{load<float>(entry.data)};
  if (entry.type == ValueType::kF64) return load<double>(entry.data);
  return wrong_type(entry, "f32 or f64");
}

Result<bool> GgufFile::get_bool(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kBool) return wrong_type(entry, "bool");
  return entry.data[0] == std::byte{1};
}

Result<std::string> GgufFile::get_string(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kString) return wrong_type(entry, "string");
  return std::string(load_string(entry.data));
}

Result<std::vector<std::string_view>> GgufFile::get_strings(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kArray || entry.element != ValueType::kString)
    return wrong_type(entry, "array of string");
  std::vector<std::string_view> strings;
  strings.reserve(entry.count);
  const std::byte* at = entry.data;
  for (uint64_t i = 0; i < entry.count; ++i) {
    strings.push_back(load_string(at));
    at += sizeof(uint64_t) + strings.back().size();
  }
  return strings;
}

Result<std::vector<int32_t>> GgufFile::get_i32s(std::string_view key) const {
  constexpr uint64_t kMax = std::numeric_limits<int32_t>::max();
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kArray) return wrong_type(entry, "array of integers");
  std::vector<int32_t> values;
  for (uint64_t i = 0; i < entry.count; ++i) {
    std::optional<Integer> value =
        load_integer(entry.element, entry.data + i * value_type_bytes(entry.element));
    if (!value) return wrong_type(entry, "array of integers");
    if (value->magnitude > kMax + (value->negative ? 1 : 0))
      return invalid("metadata " + shown_text(key) + ": element " + number(i) +
                     " does not fit into 32 bits");
    int64_t magnitude = static_cast<int64_t>(value->magnitude);
    values.push_back(static_cast<int32_t>(value->negative ? -magnitude : magnitude));
  }
  return values;
}

Result<std::vector<float>> GgufFile::get_f32s(std::string_view key) const {
  Entry entry = EBB_TRY(impl_->get(key));
  if (entry.type != ValueType::kArray || entry.element != ValueType::kF32)
    return wrong_type(entry, "array of f32");
  std::vector<float> values(entry.count);
  std::memcpy(values.data(), entry.data, entry.count * sizeof(float));
  return values;
}

bool GgufFile::has(std::string_view key) const { return impl_->find(key) != nullptr; }

std::vector<std::string_view> GgufFile::keys() const {
  std::vector<std::string_view> keys;
  for (const Entry& entry : impl_->entries) keys.push_back(entry.key);
  return keys;
}

bool GgufFile::tells(std::string_view key) const {
  const Entry* entry = impl_->find(key);
  if (entry == nullptr) return false;
  switch (entry->type) {
    case ValueType::kF32:
      return load<float>(entry->data) != 0;
    case ValueType::kF64:
      return load<double>(entry->data) != 0;
    case ValueType::kBool:
      return entry->data[0] != std::byte{0};
    case ValueType::kString:
      return load<uint64_t>(entry->data) != 0;
    case ValueType::kArray:
      return entry->count != 0;
    default:
      return load_integer(entry->type, entry->data)->magnitude != 0;
  }
}

Result<TensorView> GgufFile::tensor(std::string_view name) const {
  const TensorView* view = impl_->tensors.find(name);
  if (view == nullptr) return not_found("tensor " + std::string(name) + ": not in " + path());
  return *view;
}

bool GgufFile::has_tensor(std::string_view name) const {
  return impl_->tensors.find(name) != nullptr;
}

const TensorTable& GgufFile::tensors() const { return impl_->tensors; }

const std::string& GgufFile::path() const { return impl_->path; }

std::vector<const MappedFile*> GgufFile::mappings() const {
  std::vector<const MappedFile*> all;
  if (impl_->map != nullptr) all.push_back(impl_->map.get());
  for (const auto& part : impl_->parts) all.push_back(part->impl_->map.get());
  return all;
}

}  // namespace ebb::models
