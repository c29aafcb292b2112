// The two files of a batch: requests, one JSON object a line, and answers, one a line in the order
// in which they came. Reading checks; nothing here talks to a server.
#pragma once

#include <cstdint>
#include <fstream>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <variant>

#include "base/result.h"
#include "base/units.h"

namespace ebb::ctl {

/// Longest line of a batch file, in bytes; a longer one is an error of that line.
constexpr uint64_t kBatchLineMax = 16 * kMiB;

/// Cuts a stream into lines without ever holding more than the limit.
class LineReader {
 public:
  explicit LineReader(std::istream& in, uint64_t line_max = kBatchLineMax);
  struct Line {
    std::string text;    ///< without "\n"; empty when too long
    uint64_t bytes = 0;  ///< of the line in the file, also when too long
    bool too_long = false;
    bool ended = true;  ///< false: the file stops here without "\n"
  };
  /// Nothing: the end.
  std::optional<Line> next();

 private:
  bool fill();
  std::istream& in_;
  uint64_t line_max_;
  std::string buffer_;
  size_t at_ = 0;
};

/// One line of a batch that can be sent.
struct BatchRequest {
  uint64_t line = 0;  ///< from 1
  std::string custom_id;
  std::string url;     ///< "/v1/completions" or "/v1/chat/completions"
  std::string body;    ///< JSON
  uint64_t bytes = 0;  ///< of the line
};
/// One line that cannot.
struct BatchLineError {
  uint64_t line = 0;
  std::optional<std::string> custom_id;
  std::string code;  ///< "invalid_json", "duplicate_custom_id", ...
  std::string message;
};

/// Checks one line by itself (a duplicate is found by the caller, who knows the others).
std::variant<BatchRequest, BatchLineError> parse_batch_line(uint64_t number,
                                                            const std::string& text);

/// Output lines, without "\n". Their "id" carries the input's line number, so that it is unique
/// over resumed runs.
std::string answer_line(const BatchRequest& request, int status, const std::string& request_id,
                        const std::string& body);
std::string error_line(const BatchLineError& error);

/// custom_ids that already have a good answer in `path`. Rewrites the file (atomically) so that it
/// holds just those lines: failed and torn ones are asked again. A file that is not there: none.
/// Errors: kInvalid (cannot be written; holds lines that no batch run wrote).
Result<std::set<std::string>> resume_output(const std::string& path);

/// How much there is to do.
struct BatchSize {
  uint64_t lines = 0;  ///< that are not blank
  uint64_t bytes = 0;  ///< of these lines
};
/// Errors: kNotFound, kInvalid (a folder).
Result<BatchSize> measure_batch(const std::string& path);

}  // namespace ebb::ctl
