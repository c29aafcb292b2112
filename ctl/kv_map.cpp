#include "ctl/kv_map.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/units.h"

namespace ebb::ctl {
namespace {

using nlohmann::json;

constexpr size_t kPlaces = 5;
/// `forgotten`: given up for good, as the policy wants it (streaming).
enum Place : size_t { kDevice, kHost, kSsd, kForgotten, kMissing };
constexpr std::array<const char*, kPlaces> kNames{"device", "host", "ssd", "forgotten", "missing"};
constexpr std::array<const char*, kPlaces> kGlyphs{"█", "▒", "·", "-", "!"};
constexpr std::array<const char*, kPlaces> kAsciiGlyphs{"#", "=", ".", "-", "!"};
/// Green, yellow, blue, red.
constexpr std::array<const char*, kPlaces> kColours{"\x1b[32m", "\x1b[33m", "\x1b[34m", "\x1b[2m",
                                                    "\x1b[1;31m"};
constexpr uint64_t kLengthMax = uint64_t{1} << 32;

using Counts = std::array<uint64_t, kPlaces>;

struct Band {
  std::string number;
  std::string layers;
  std::string residency;
  uint64_t record_bytes = 0;
  std::vector<Counts> buckets;
  Counts total{};
};

size_t place_of(const std::string& name) {
  for (size_t i = 0; i < kPlaces; ++i)
    if (name == kNames[i]) return i;
  return kMissing;  // a place we do not know is not one to rely on
}

/// First token of bucket `i` of `n` over `length` tokens.
uint64_t bucket_begin(uint64_t i, uint64_t n, uint64_t length) { return i * length / n; }

void add_run(Band& band, uint64_t begin, uint64_t end, size_t place, uint64_t length) {
  begin = std::min(begin, length);
  end = std::min(end, length);
  if (begin >= end) return;
  band.total[place] += end - begin;
  const uint64_t n = band.buckets.size();
  // The bucket that holds `begin`: the last whose first token is not behind it.
  uint64_t i = std::min(n - 1, (begin * n + n - 1) / length);
  while (i > 0 && bucket_begin(i, n, length) > begin) --i;
  while (i + 1 < n && bucket_begin(i + 1, n, length) <= begin) ++i;
  for (; i < n && bucket_begin(i, n, length) < end; ++i) {
    const uint64_t from = std::max(begin, bucket_begin(i, n, length));
    const uint64_t to = std::min(end, bucket_begin(i + 1, n, length));
    if (from < to) band.buckets[i][place] += to - from;
  }
}

Band read_band(const json& in, uint64_t length, size_t buckets) {
  Band band;
  band.number = std::to_string(in.at("band").get<uint64_t>());
  const auto& layers = in.at("layers");
  const auto first = layers.at(0).get<uint64_t>();
  const auto end = layers.at(1).get<uint64_t>();
  band.layers = std::to_string(first);
  if (end > first + 1) band.layers += "-" + std::to_string(end - 1);
  band.residency = in.value("residency", "");
  band.record_bytes = in.value("record_bytes", uint64_t{0});
  band.buckets.resize(buckets);
  for (const json& run : in.at("runs")) {
    const auto begin = run.at("begin").get<uint64_t>();
    const auto count = run.at("count").get<uint64_t>();
    if (begin > kLengthMax || count > kLengthMax) continue;
    add_run(band, begin, begin + count, place_of(run.at("place").get<std::string>()), length);
  }
  return band;
}

size_t shown_place(const Counts& bucket) {
  if (bucket[kMissing] > 0) return kMissing;
  return static_cast<size_t>(std::max_element(bucket.begin(), bucket.end()) - bucket.begin());
}

std::string glyph(size_t place, const MapStyle& style) {
  return style.utf8 ? kGlyphs[place] : kAsciiGlyphs[place];
}

/// The buckets as glyphs; a colour is switched once a run, not once a glyph.
std::string picture(const Band& band, const MapStyle& style) {
  std::string out;
  size_t last = kPlaces;
  for (const Counts& bucket : band.buckets) {
    const uint64_t tokens = bucket[0] + bucket[1] + bucket[2] + bucket[3];
    const size_t place = tokens == 0 ? kPlaces : shown_place(bucket);
    if (style.colour && place != last) out += place == kPlaces ? "\x1b[0m" : kColours[place];
    out += place == kPlaces ? " " : glyph(place, style);
    last = place;
  }
  return out + (style.colour ? "\x1b[0m" : "");
}

std::string share(uint64_t part, uint64_t whole) {
  if (part == 0) return "    -";
  const double percent = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  char text[16];
  // A share that is neither nothing nor everything must not print as such.
  if (percent < 0.5) return "  <1%";
  if (percent > 99.5 && part < whole) return " >99%";
  std::snprintf(text, sizeof text, "%4.0f%%", percent);
  return text;
}

std::string padded(std::string text, size_t width) {
  if (text.size() < width) text.insert(0, width - text.size(), ' ');
  return text;
}

std::string heading(const json& map, uint64_t length) {
  std::string out = "sequence " + map.value("seq", "?") + ": " + std::to_string(length) + " tokens";
  const json policy = map.value("policy", json::object());
  const std::string name = policy.value("name", "");
  if (!name.empty()) out += ", " + name;
  if (policy.value("budget", uint64_t{0}) > 0)
    out += " (budget " + std::to_string(policy.value("budget", uint64_t{0})) + ", sinks " +
           std::to_string(policy.value("sinks", uint64_t{0})) + ", window " +
           std::to_string(policy.value("window", uint64_t{0})) + ")";
  return printable(out) + "\n";
}

std::string totals(const std::vector<Band>& bands, const MapStyle& style) {
  Counts bytes{};
  for (const Band& band : bands)
    for (size_t p = 0; p < kPlaces; ++p) bytes[p] += band.total[p] * band.record_bytes;
  std::string out;
  for (size_t p = 0; p < kPlaces; ++p) {
    if (p >= kForgotten && bytes[p] == 0) continue;
    out += (out.empty() ? "" : "   ") + glyph(p, style) + " " + kNames[p] + " " +
           format_bytes(bytes[p]);
  }
  return out + "\n";
}

std::string counters_text(const json& map) {
  const json counters = map.value("counters", json::object());
  const auto at = [&](const char* key) { return counters.value(key, uint64_t{0}); };
  std::string out = "released " + std::to_string(at("released_records")) + " records; restored " +
                    std::to_string(at("restored_host_records")) + " from host, " +
                    std::to_string(at("restored_ssd_records")) + " from ssd (" +
                    format_bytes(at("restored_bytes")) + ")\n";
  if (at("selected_tokens") > 0)
    out += "selected " + std::to_string(at("selected_tokens")) + " tokens; " +
           std::to_string(at("hot_hits")) + " records found on the device\n";
  if (at("device_blocks_max") > 0)
    out += "device blocks " + std::to_string(at("device_blocks")) + " now, " +
           std::to_string(at("device_blocks_max")) + " at most\n";
  return out;
}

/// Columns beside the picture: "band layers  kind " in front, four shares behind.
constexpr size_t kFront = 18;
constexpr size_t kBehind = 22;

std::string draw(const json& map, const MapStyle& style) {
  const uint64_t length = std::min(map.at("length").get<uint64_t>(), kLengthMax);
  std::string out = heading(map, length);
  if (length == 0) return out + "no token has KV yet\n";
  const size_t room = style.width > kFront + kBehind + 10 ? style.width - kFront - kBehind : 10;
  const size_t buckets = std::min<uint64_t>({room, length, 1000});
  std::vector<Band> bands;
  bool missing = false, forgotten = false;
  for (const json& band : map.at("bands")) {
    bands.push_back(read_band(band, length, buckets));
    missing = missing || bands.back().total[kMissing] > 0;
    forgotten = forgotten || bands.back().total[kForgotten] > 0;
  }
  const std::string last = std::to_string(length - 1);
  out += "band layers  kind 0" + padded(last, std::max(buckets, last.size() + 1) - 1) +
         "  dev  host   ssd" + (forgotten ? "  gone" : "") + (missing ? "  miss" : "") + "\n";
  for (const Band& band : bands) {
    const uint64_t all = std::accumulate(band.total.begin(), band.total.end(), uint64_t{0});
    out += padded(band.number, 4) + " " + padded(band.layers, 6) + "  " +
           padded(printable(band.residency), 4) + " " + picture(band, style) +
           std::string(buckets <= last.size() ? last.size() + 1 - buckets : 0, ' ');
    for (size_t p = 0; p < kPlaces; ++p) {
      if ((p == kForgotten && !forgotten) || (p == kMissing && !missing)) continue;
      out += (p ? " " : "") + share(band.total[p], all);
    }
    out += "\n";
  }
  const uint64_t per_column = (length + buckets - 1) / buckets;
  out += "one column: " + std::to_string(per_column) + (per_column == 1 ? " token" : " tokens");
  out += "; kind all: every row on the device, hot: a bounded pool\n";
  return out + totals(bands, style) + counters_text(map);
}

}  // namespace

Result<std::string> draw_kv_map(const std::string& text, const MapStyle& style) {
  try {
    return draw(json::parse(text), style);
  } catch (const json::exception& error) {
    return corrupt("the coordinator's answer is not a KvMap: " + std::string(error.what()));
  }
}

int run_kv_map(const Terminal& terminal, const Service& service, const std::string& seq,
               Format format) {
  if (seq.find_first_not_of("0123456789") != std::string::npos)
    return report(terminal,
                  invalid("SEQ is \"" + seq + "\", expected a number as in `ebbctl seq ls`"));
  auto body = get(service.admin, "/admin/v1/kv/map" + (seq.empty() ? "" : "?seq=" + seq));
  if (!body) return report(terminal, body.error());
  auto text = format == Format::kJson
                  ? Result<std::string>(*body + "\n")
                  : draw_kv_map(*body, {terminal.width, terminal.utf8, terminal.colour});
  if (!text) return report(terminal, text.error());
  terminal.out << *text << std::flush;
  return kOk;
}

}  // namespace ebb::ctl
