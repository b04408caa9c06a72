#include "kernels/weight_memory.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <optional>
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
