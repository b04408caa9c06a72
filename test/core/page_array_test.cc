#include "core/page_array.h"

#include <doctest/doctest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "core/tensor.h"

using namespace sbcnn;

namespace {

// Pages of a mapped range that are in memory; -1 if some of it is not mapped.
std::ptrdiff_t resident_pages(void* begin, std::size_t bytes) {
  const auto page = std::size_t(sysconf(_SC_PAGESIZE));
  std::vector<unsigned char> flags((bytes + page - 1) / page);
  if (mincore(begin, bytes, flags.data()) != 0) {
    return -1;
  }
  return std::ranges::count_if(flags, [](unsigned char f) { return (f & 1) != 0; });
}

bool aligned(const void* p, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(p) % alignment == 0;
}

}  // namespace

TEST_CASE("page array: zeroed, aligned, writable to its end") {
  for (const std::size_t count :
       {1u, 7u, 1000u, 16383u, 16384u, 16385u, 524287u, 524288u, 1400001u}) {
    PageArray<float> a(count);
    REQUIRE(a.size() == count);
    CHECK(aligned(a.data(), kAlignment));
    CHECK((count < 524288 || aligned(a.data(), std::size_t{2} << 20)));
    CHECK(std::all_of(a.data(), a.data() + count, [](float x) { return x == 0; }));
    std::fill_n(a.data(), count, 1.0f);
    CHECK(PageBlock::resident(count * sizeof(float)) >= count * sizeof(float));
  }
}

TEST_CASE("page array: empty ones, and moving") {
  PageArray<float> none;
  CHECK(none.data() == nullptr);
  CHECK(PageArray<float>(0).size() == 0);
  PageArray<float> a(100000);
  a.data()[99999] = 5;
  none = std::move(a);
  CHECK(none.data()[99999] == 5);
  none = {};
  CHECK(none.size() == 0);
}

TEST_CASE("page array: resident as far as it is touched, and gone when it is freed") {
  const std::size_t bytes = (std::size_t{33} << 20) + 100;  // far from whole huge pages
  const auto page = std::size_t(sysconf(_SC_PAGESIZE));
  PageArray<char> a(bytes);
  char* const begin = a.data();
  CHECK(PageBlock::resident(bytes) == (bytes + page - 1) / page * page);
  CHECK(resident_pages(begin + (std::size_t{32} << 20), std::size_t{1} << 20) == 0);
  std::fill_n(begin, bytes, char(1));
  CHECK(std::size_t(resident_pages(begin, bytes)) * page == PageBlock::resident(bytes));
  a = {};
  CHECK(resident_pages(begin, bytes) == -1);
}
