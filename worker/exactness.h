// Which KV of one sequence is exact: made by dense attention over exact KV. Provenance, not bit
// equality. Pure.
//
// A token's KV in layer l is made of what layers 0 to l - 1 put out. So a token is exact in its
// layers [0, e): layer 0 needs no attention, and layer l + 1 is exact when layer l read every token
// that it can see and all of those are exact in layer l.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace ebb::worker {

class Exactness {
 public:
  explicit Exactness(uint32_t layers) : layers_(layers), least_(layers) {}

  /// Tokens [length, end) were made by a step whose layers [0, dense_layers) read everything.
  void add(Position end, uint32_t dense_layers);
  /// One token was made again by a step whose layers [0, dense_layers) read everything before it.
  void remake(Position position, uint32_t dense_layers);
  /// Every token in [begin, length) is made again, densely over exact KV.
  void correct(Position begin);

  Position length() const { return length_; }
  /// Layers [0, this) of one token are exact.
  uint32_t layers_of(Position position) const;
  /// The tokens around `position` that are exact in as many layers.
  TokenRange run_at(Position position) const;
  /// True when all `tokens` are exact in all layers below `layers_end`.
  bool exact(TokenRange tokens, uint32_t layers_end) const;
  /// The first token that is not exact in every layer; length() when there is none.
  Position first_polluted() const;

 private:
  struct Run {
    Position begin;
    uint32_t layers;
  };
  size_t index_at(Position position) const;
  uint32_t layers_;
  uint32_t least_;  ///< of all tokens
  Position length_ = 0;
  std::vector<Run> runs_;  ///< ascending; each up to the next one's begin
};

}  // namespace ebb::worker
