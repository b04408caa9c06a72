// While it lives, this thread treats denormal numbers as zero: arithmetic on them is many times
// slower, and nothing of a network hangs on numbers below 1e-38.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace sbcnn::kernels {

class FlushToZero {
 public:
  FlushToZero() : before_(read()) { write(before_ | kFlush); }
  ~FlushToZero() { write(before_); }
  FlushToZero(const FlushToZero&) = delete;
  FlushToZero& operator=(const FlushToZero&) = delete;

 private:
#if defined(__x86_64__)
  using Control = std::uint32_t;
  static constexpr Control kFlush = 0x8040;  // results and operands
  static Control read() {
    return _mm_getcsr();
  }
  static void write(Control c) {
    _mm_setcsr(c);
  }
#elif defined(__aarch64__)
  using Control = std::uint64_t;
  static constexpr Control kFlush = Control(1) << 24;
  static Control read() {
    Control c = 0;
    asm volatile("mrs %0, fpcr" : "=r"(c));
    return c;
  }
  static void write(Control c) {
    asm volatile("msr fpcr, %0" : : "r"(c));
  }
#endif
  Control before_;
};

}  // namespace sbcnn::kernels
