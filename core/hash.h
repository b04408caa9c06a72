// FNV-1a, 64 bits wide: tells things apart that nobody forges.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace sbcnn {

class Hasher {
 public:
  void add(std::int64_t v) {
    for (int i = 0; i < 8; ++i) {
      add_byte(std::uint64_t(v) >> (8 * i) & 0xff);
    }
  }
  void add(std::span<const std::byte> bytes) {  // and how many
    add(std::int64_t(bytes.size()));
    for (const std::byte b : bytes) {
      add_byte(std::uint64_t(b));
    }
  }
  std::uint64_t value() const { return state_; }

 private:
  void add_byte(std::uint64_t b) { state_ = (state_ ^ b) * 0x100000001b3ULL; }

  std::uint64_t state_ = 0xcbf29ce484222325ULL;
};

}  // namespace sbcnn
