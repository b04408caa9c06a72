#include "core/page_array.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "core/tensor.h"

namespace sbcnn {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr std::size_t kMapped = std::size_t{64} << 10;  // from here on by pages of its own

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

std::size_t page() {
  static const auto size = std::size_t(sysconf(_SC_PAGESIZE));
  return size;
}

// Pages at a multiple of `alignment`: more are mapped than wanted, and those around it let go.
std::byte* map(std::size_t bytes, std::size_t alignment) {
  const std::size_t reserved = bytes + alignment - page();
  void* const memory =
      ::mmap(nullptr, reserved, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw std::bad_alloc();
  }
  auto* const begin = static_cast<std::byte*>(memory);
  const auto address = reinterpret_cast<std::uintptr_t>(memory);
  const std::size_t before = round_up(address, alignment) - address;
  const std::size_t after = reserved - before - bytes;
  if (before != 0) {
    ::munmap(begin, before);
  }
  if (after != 0) {
    ::munmap(begin + before + bytes, after);
  }
  return begin + before;
}

std::byte* map_zeroed(std::size_t bytes) {
  const std::size_t whole = bytes / kHugePage * kHugePage;
  std::byte* const begin = map(bytes, whole == 0 ? page() : kHugePage);
#if defined(MADV_HUGEPAGE)
  // Wishes; small pages work too.
  if (whole != 0) {
    (void)::madvise(begin, whole, MADV_HUGEPAGE);
  }
  if (whole != bytes) {
    (void)::madvise(begin + whole, bytes - whole, MADV_NOHUGEPAGE);
  }
#endif
  return begin;
}

}  // namespace

PageBlock::PageBlock(std::size_t bytes) {
  const std::size_t taken = resident(bytes);
  std::byte* memory = nullptr;
  if (taken >= kMapped) {
    memory = map_zeroed(taken);
  } else {
    memory = static_cast<std::byte*>(std::aligned_alloc(kAlignment, taken));
    if (memory == nullptr) {
      throw std::bad_alloc();
    }
    std::memset(memory, 0, taken);
  }
  data_ = {memory, FreePages{bytes}};
}

std::size_t PageBlock::resident(std::size_t bytes) {
  const std::size_t unit = bytes >= kMapped ? page() : kAlignment;
  return bytes == 0 ? unit : round_up(bytes, unit);
}

void FreePages::operator()(std::byte* memory) const {
  const std::size_t taken = PageBlock::resident(bytes);
  if (taken >= kMapped) {
    ::munmap(memory, taken);
  } else {
    std::free(memory);
  }
}

}  // namespace sbcnn
