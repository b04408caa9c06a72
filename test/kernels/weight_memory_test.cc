#include "kernels/weight_memory.h"

#include <doctest/doctest.h>

#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace {

using sbcnn::kernels::WeightMemory;

bool zeroed(const WeightMemory::Block& block) {
  return std::all_of(block.data(), block.data() + block.size(), [](float x) { return x == 0; });
}

TEST_CASE("WeightMemory: blocks follow each other, zeroed and aligned") {
  WeightMemory memory;
  auto a = memory.take(100), b = memory.take(1), c = memory.take(3'000'000);
  CHECK(b.data() == a.data() + 112);  // 400 bytes, rounded up to lines
  CHECK(c.data() == b.data() + 16);
  for (const auto* block : {&a, &b, &c}) {
    CHECK(reinterpret_cast<std::uintptr_t>(block->data()) % 64 == 0);
    CHECK(zeroed(*block));
  }
  CHECK(memory.used() == (112 + 16 + 3'000'000) * sizeof(float));
}

TEST_CASE("WeightMemory: what is given back last is taken first, zeroed again") {
  WeightMemory memory;
  std::optional a(memory.take(1000));
  std::optional b(memory.take(2'000'000));
  std::optional c(memory.take(500));
  const float* const place = b->data();
  std::fill_n(b->data(), b->size(), 1.0f);
  std::fill_n(c->data(), c->size(), 2.0f);
  b.reset();  // c lies behind it
  CHECK(memory.used() > 2'000'000 * sizeof(float));
  c.reset();
  CHECK(memory.used() == 1008 * sizeof(float));
  const auto again = memory.take(2'100'000);
  CHECK(again.data() == place);
  CHECK(zeroed(again));
  a.reset();
  CHECK(memory.used() > 0);
}

// KiB of huge pages at [begin, end), by the kernel's account.
long huge_kib(const void* begin, const void* end) {
  std::ifstream smaps("/proc/self/smaps");
  std::string line;
  long sum = 0;
  bool inside = false;
  while (std::getline(smaps, line)) {
    unsigned long first = 0, last = 0;
    long kib = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &first, &last) == 2) {
      inside = first < reinterpret_cast<std::uintptr_t>(end) &&
               last > reinterpret_cast<std::uintptr_t>(begin);
    } else if (inside && std::sscanf(line.c_str(), "AnonHugePages: %ld kB", &kib) == 1) {
      sum += kib;
    }
  }
  return sum;
}

// Linux 6.1 can merge pages when asked to; what it needs may be short all the same, and an emulator
// may only say yes.
bool merges_pages() {
  constexpr std::size_t kHuge = std::size_t{2} << 20;
  std::unique_ptr<void, void (*)(void*)> page(std::aligned_alloc(kHuge, kHuge), std::free);
  std::memset(page.get(), 1, kHuge);
  return ::madvise(page.get(), kHuge, MADV_HUGEPAGE) == 0 &&
         ::madvise(page.get(), kHuge, 25) == 0 &&
         huge_kib(page.get(), static_cast<const char*>(page.get()) + kHuge) >= long(kHuge / 1024);
}

TEST_CASE("WeightMemory: blocks that share a huge page fill it all the same") {
  if (!merges_pages()) {
    std::puts("SKIP: huge pages of weights: this system merges none");
    return;
  }
  constexpr std::size_t kFloats = 590'000;  // 2.25 MiB: most pages are shared by two
  WeightMemory memory;
  std::vector<WeightMemory::Block> blocks;
  for (int i = 0; i < 8; ++i) {
    blocks.push_back(memory.take(kFloats));
    std::fill_n(blocks.back().data(), kFloats, float(i));
  }
  const float* const end = blocks.back().data();
  // The first and the last huge page may not be whole, and the last whole one waits for a block
  // behind it.
  CHECK(huge_kib(blocks.front().data(), end) >=
        long(7 * kFloats * sizeof(float) / 1024) - 3 * 2048);
}

TEST_CASE("WeightMemory: a block of nothing, and one beyond all memory") {
  WeightMemory memory;
  const auto none = memory.take(0);
  CHECK(none.size() == 0);
  CHECK_THROWS_AS(memory.take(std::size_t{1} << 50), std::bad_alloc);
  CHECK(zeroed(memory.take(10)));
}

TEST_CASE("WeightMemory: many blocks of a network come out as they were written") {
  WeightMemory memory;
  std::vector<WeightMemory::Block> blocks;
  for (int i = 0; i < 60; ++i) {
    blocks.push_back(memory.take(std::size_t(1) << (i % 19)));
    std::fill_n(blocks.back().data(), blocks.back().size(), float(i));
  }
  for (int i = 0; i < 60; ++i) {
    const auto& block = blocks[std::size_t(i)];
    CHECK(std::all_of(block.data(), block.data() + block.size(),
                      [&](float x) { return x == float(i); }));
  }
}

}  // namespace
