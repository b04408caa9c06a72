#include "kernels/weight_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>

#include "core/tensor.h"

namespace sbcnn::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t{2} << 20;
constexpr int kCollapse = 25;  // MADV_COLLAPSE: since Linux 6.1, named since glibc 2.37
// Addresses, not memory; more than any board has. Less will do where addresses are scarce.
constexpr std::size_t kMostReserved = std::size_t{8} << 30, kLeastReserved = std::size_t{64} << 20;

std::size_t round_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void advise(std::byte* begin, std::size_t bytes, int advice) {
  if (bytes > 0) {
    (void)::madvise(begin, bytes, advice);  // a wish; small pages work too
  }
}

}  // namespace

WeightMemory::~WeightMemory() {
  if (range_ != nullptr) {
    ::munmap(range_, reserved_);
  }
}

void WeightMemory::reserve() {
  for (reserved_ = kMostReserved; reserved_ >= kLeastReserved; reserved_ /= 2) {
    void* const memory = ::mmap(nullptr, reserved_, PROT_READ | PROT_WRITE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory != MAP_FAILED) {
      range_ = static_cast<std::byte*>(memory);
      advise(range_, reserved_, MADV_NOHUGEPAGE);  // what is used is to be what is resident
      return;
    }
  }
  throw std::bad_alloc();
}

WeightMemory::Block WeightMemory::take(std::size_t floats) {
  if (range_ == nullptr) {
    reserve();
  }
  const std::size_t bytes = round_up(std::max(floats * sizeof(float), kAlignment), kAlignment);
  if (bytes > reserved_ - used_) {
    throw std::bad_alloc();
  }
  const Piece piece{used_, used_ + bytes};
  pieces_.push_back(piece);
  used_ = piece.end;
  if (touched_ > piece.begin) {
    std::memset(range_ + piece.begin, 0, std::min(touched_, used_) - piece.begin);
  }
  use_huge_pages(piece);
  touched_ = std::max(touched_, used_);
  Block block;
  block.data_ = {reinterpret_cast<float*>(range_ + piece.begin), {this}};
  block.size_ = floats;
  return block;
}

// Huge pages that `fresh` fills alone are asked for before they are touched. Those that it shares
// with earlier pieces are merged from small ones once they are full.
void WeightMemory::use_huge_pages(const Piece& fresh) {
  const auto address = reinterpret_cast<std::uintptr_t>(range_);
  const std::size_t first = round_up(address, kHugePage) - address;  // boundary in the range
  const auto boundary_before = [&](std::size_t at) {
    return at < first ? 0 : first + (at - first) / kHugePage * kHugePage;
  };
  for (std::size_t at = std::max(merged_, first); at + kHugePage <= fresh.begin; at += kHugePage) {
    advise(range_ + at, kHugePage, MADV_HUGEPAGE);
    advise(range_ + at, kHugePage, kCollapse);
    merged_ = at + kHugePage;
  }
  const std::size_t begin =
      round_up(address + std::max(fresh.begin, touched_), kHugePage) - address;
  const std::size_t end = boundary_before(fresh.end);
  if (begin < end) {
    advise(range_ + begin, end - begin, MADV_HUGEPAGE);
  }
}

void WeightMemory::give_back(const float* data) {
  const auto begin = std::size_t(reinterpret_cast<const std::byte*>(data) - range_);
  const auto found = std::ranges::lower_bound(pieces_, begin, {}, &Piece::begin);
  found->live = false;
  while (!pieces_.empty() && !pieces_.back().live) {
    used_ = pieces_.back().begin;
    pieces_.pop_back();
  }
  const std::size_t kept = round_up(used_, std::size_t(::sysconf(_SC_PAGESIZE)));
  if (kept < touched_) {
    advise(range_ + kept, touched_ - kept, MADV_DONTNEED);
    advise(range_ + kept, touched_ - kept, MADV_NOHUGEPAGE);
    touched_ = kept;
  }
  merged_ = std::min(merged_, used_);
}

}  // namespace sbcnn::kernels
