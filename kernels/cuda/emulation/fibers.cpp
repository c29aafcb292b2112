// See fibers.h. x86-64 System V: a switch keeps the six registers that a callee must keep.
#include "kernels/cuda/emulation/fibers.h"

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if defined(__SANITIZE_ADDRESS__)
extern "C" void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, size_t size);
extern "C" void __sanitizer_finish_switch_fiber(void* fake_stack, const void** bottom,
                                                size_t* size);
#else
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

// ebb_switch_stack(void** save, void* to): pushes the kept registers, stores the stack pointer in
// *save, takes `to` as the stack pointer and pops the registers that were pushed there.
__asm__(
    ".text\n"
    ".type ebb_switch_stack,@function\n"
    "ebb_switch_stack:\n"
    "  pushq %rbp\n  pushq %rbx\n  pushq %r12\n  pushq %r13\n  pushq %r14\n  pushq %r15\n"
    "  movq %rsp, (%rdi)\n"
    "  movq %rsi, %rsp\n"
    "  popq %r15\n  popq %r14\n  popq %r13\n  popq %r12\n  popq %rbx\n  popq %rbp\n"
    "  ret\n"
    ".size ebb_switch_stack,.-ebb_switch_stack\n"
    ".type ebb_fiber_start,@function\n"
    "ebb_fiber_start:\n"
    "  movq %r12, %rdi\n"
    "  call *%r13\n"
    "  ud2\n"
    ".size ebb_fiber_start,.-ebb_fiber_start\n");
extern "C" void ebb_switch_stack(void** save, void* to);
extern "C" void ebb_fiber_start();

namespace ebb::emulation {
namespace {
constexpr size_t kStackBytes = size_t{256} << 10;  // touched pages alone cost memory
}

Fiber::Fiber() {
  stack_ = mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack_ == MAP_FAILED) {
    std::fputs("emulation: no memory for a fiber's stack\n", stderr);
    std::abort();
  }
}

Fiber::~Fiber() { munmap(stack_, kStackBytes); }

void Fiber::begin(const std::function<void()>* body) {
  body_ = body;
  ended_ = false;
  fake_stack_ = nullptr;
  auto* top = reinterpret_cast<void**>(static_cast<std::byte*>(stack_) + kStackBytes);
  // What the first switch pops, lowest address first: r15, r14, r13, r12, rbx, rbp, where to
  // return. Behind it two words, so that the stack is aligned to 16 bytes before the start's call,
  // as compiled code counts on where it stores vectors.
  void** frame = top - 9;
  frame[0] = frame[1] = nullptr;
  frame[2] = reinterpret_cast<void*>(&Fiber::entry);
  frame[3] = this;
  frame[4] = frame[5] = nullptr;
  frame[6] = reinterpret_cast<void*>(&ebb_fiber_start);
  frame[7] = frame[8] = nullptr;
  here_ = frame;
}

bool Fiber::resume() {
  __sanitizer_start_switch_fiber(&resumer_fake_stack_, stack_, kStackBytes);
  ebb_switch_stack(&resumer_, here_);
  __sanitizer_finish_switch_fiber(resumer_fake_stack_, nullptr, nullptr);
  return ended_;
}

void Fiber::pause() { leave(false); }

void Fiber::leave(bool for_good) {
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fake_stack_, resumer_bottom_, resumer_size_);
  ebb_switch_stack(&here_, resumer_);
  __sanitizer_finish_switch_fiber(fake_stack_, &resumer_bottom_, &resumer_size_);
}

void Fiber::entry(Fiber* self) {
  __sanitizer_finish_switch_fiber(nullptr, &self->resumer_bottom_, &self->resumer_size_);
  (*self->body_)();
  self->ended_ = true;
  self->leave(true);
}

}  // namespace ebb::emulation
