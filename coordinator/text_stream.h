// Bytes of tokens to text that a client may see: whole code points only, and never a stop string.
// Knows no tokens, no JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace ebb::coordinator {

/// One sequence's text. A stop string may span pushes; what might become one is held back until it
/// is decided. Invalid UTF-8 becomes U+FFFD, one for each maximal part of a sequence (Unicode 15,
/// section 3.9).
class TextStream {
 public:
  enum class StopText { kLeftOut, kKept };
  explicit TextStream(std::vector<std::string> stops, StopText stop_text = StopText::kLeftOut);

  /// Takes more bytes; returns the text that is now certain. Nothing after stopped().
  std::string push(std::string_view bytes);
  /// The same, but stop strings that begin in these bytes or before do not count.
  std::string pass(std::string_view bytes);
  /// No more bytes come: what was held back. An incomplete sequence becomes U+FFFD.
  std::string finish();

  /// A stop string was found: everything behind it is gone, and it too unless it is kept.
  bool stopped() const { return stopped_; }
  /// Bytes pushed that are now text: those of a stop string that is left out never count.
  uint64_t released() const { return released_; }

 private:
  enum class Tail { kMayContinue, kEnds };
  std::string release(size_t count, Tail tail);
  size_t possible_stop() const;

  std::vector<std::string> stops_;
  StopText stop_text_;
  std::string pending_;
  uint64_t released_ = 0;
  bool stopped_ = false;
};

/// Any bytes as valid UTF-8, with U+FFFD for what is not.
std::string valid_utf8(std::string_view bytes);
/// How a token is shown among log-probabilities: its text, or "bytes:\xe2\x82" when it is not whole
/// UTF-8.
std::string token_label(std::string_view bytes);
/// Code points that begin in `bytes`.
uint32_t code_points(std::string_view bytes);

}  // namespace ebb::coordinator
