// RoPE on the CPU: angles of a position, and turning one head by them. Must not know about layers
// or rows.
#pragma once

#include <vector>

#include "kernels/ops.h"

namespace ebb::kernels::cpu {

/// cos and sin of every position in little memory: a position is far * 256 + near, and the angles
/// of the two parts are added (cos(a + b) = cos a cos b - sin a sin b, in double: exact far below
/// f32's rounding). A table of all positions would take 64 MiB for a context of 128 Ki and heads of
/// 128.
class Rotation {
 public:
  Rotation() = default;
  /// `args` as check_rope wants them.
  explicit Rotation(const RopeArgs& args);

  uint32_t dims() const { return 2 * half_; }

  /// Angles of one position with the magnitude applied, for turn().
  struct Angles {
    float cosine[128];
    float sine[128];
  };
  /// From positions_max on (streams) the angles are computed, in double too.
  void find(Position position, Angles& angles) const;
  /// Turns the first dims() of one head.
  void turn(const Angles& angles, float* head) const;

 private:
  void compute(Position position, Angles& angles) const;
  struct Point {
    double cosine;
    double sine;
  };
  uint32_t half_ = 0;
  bool interleaved_ = true;
  double magnitude_ = 1;
  Position positions_max_ = 0;
  std::vector<double> frequencies_;
  std::vector<Point> near_;  ///< [256, half]
  std::vector<Point> far_;   ///< [positions_max / 256 rounded up, half]
};

}  // namespace ebb::kernels::cpu
