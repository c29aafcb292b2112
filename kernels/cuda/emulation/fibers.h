// Stacks that take turns on one thread: what the emulated threads of a block run on.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace ebb::emulation {

/// A stack and where it stopped. Made once, used for many bodies. Not moved: its address is known
/// to the stack itself.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// The next resume() begins `body`. The fiber must not be in the middle of another.
  void begin(const std::function<void()>* body);
  /// Runs until the body calls pause() or ends; true: it has ended.
  bool resume();
  /// Called on the fiber: back to who resumed it.
  void pause();

 private:
  static void entry(Fiber* self);
  void leave(bool for_good);

  const std::function<void()>* body_ = nullptr;
  bool ended_ = true;
  void* stack_ = nullptr;
  void* here_ = nullptr;     ///< stack pointer of the fiber while it is paused
  void* resumer_ = nullptr;  ///< stack pointer of who resumed it
  // What AddressSanitizer must be told about a stack that one leaves (null without it).
  void* fake_stack_ = nullptr;
  void* resumer_fake_stack_ = nullptr;
  const void* resumer_bottom_ = nullptr;
  size_t resumer_size_ = 0;
};

}  // namespace ebb::emulation
