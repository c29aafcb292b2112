#include "kernels/cpu/rotation.h"

#include <cmath>

#include "base/check.h"

namespace ebb::kernels::cpu {
namespace {

constexpr uint32_t kNear = 256;

}  // namespace

Rotation::Rotation(const RopeArgs& args)
    : half_(args.dims() / 2),
      interleaved_(args.interleaved),
      magnitude_(args.magnitude),
      positions_max_(args.positions_max),
      frequencies_(args.frequencies) {
  const auto fill = [&](std::vector<Point>& points, uint64_t count, double step) {
    points.reserve(count * half_);
    for (uint64_t i = 0; i < count; ++i) {
      for (const double frequency : args.frequencies) {
        const double angle = static_cast<double>(i) * step * frequency;
        points.push_back({std::cos(angle), std::sin(angle)});
      }
    }
  };
  fill(near_, kNear, 1);
  fill(far_, (uint64_t{positions_max_} + kNear - 1) / kNear, kNear);
}

void Rotation::find(Position position, Angles& angles) const {
  if (position >= positions_max_) return compute(position, angles);
  const Point* near = near_.data() + uint64_t{position % kNear} * half_;
  const Point* far = far_.data() + uint64_t{position / kNear} * half_;
  for (uint32_t i = 0; i < half_; ++i) {
    const double cosine = far[i].cosine * near[i].cosine - far[i].sine * near[i].sine;
    const double sine = far[i].sine * near[i].cosine + far[i].cosine * near[i].sine;
    angles.cosine[i] = static_cast<float>(cosine * magnitude_);
    angles.sine[i] = static_cast<float>(sine * magnitude_);
  }
}

void Rotation::compute(Position position, Angles& angles) const {
  for (uint32_t i = 0; i < half_; ++i) {
    const double angle = static_cast<double>(position) * frequencies_[i];
    angles.cosine[i] = static_cast<float>(std::cos(angle) * magnitude_);
    angles.sine[i] = static_cast<float>(std::sin(angle) * magnitude_);
  }
}

void Rotation::turn(const Angles& angles, float* head) const {
  const uint32_t step = interleaved_ ? 2 : 1;
  const uint32_t other = interleaved_ ? 1 : half_;
  for (uint32_t i = 0; i < half_; ++i) {
    const float a = head[step * i];
    const float b = head[step * i + other];
    head[step * i] = a * angles.cosine[i] - b * angles.sine[i];
    head[step * i + other] = a * angles.sine[i] + b * angles.cosine[i];
  }
}

}  // namespace ebb::kernels::cpu
