#include "kernels/packed_floats.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>
#include <new>

#include "core/tensor.h"

namespace sbcnn::kernels {
namespace {

constexpr std::size_t kHugePage = std::size_t(2) << 20;

}  // namespace

PackedFloats::PackedFloats(std::size_t count) : count_(count) {
  const bool huge = count * sizeof(float) >= kHugePage / 2;
  const std::size_t alignment = huge ? kHugePage : kAlignment;
  const std::size_t bytes = (count * sizeof(float) + alignment - 1) / alignment * alignment;
  void* memory = std::aligned_alloc(alignment, bytes == 0 ? alignment : bytes);
  if (memory == nullptr) {
    throw std::bad_alloc();
  }
#if defined(MADV_HUGEPAGE)
  if (huge) {
    (void)::madvise(memory, bytes, MADV_HUGEPAGE);  // a wish; small pages work too
  }
#endif
  std::memset(memory, 0, bytes);
  data_.reset(static_cast<float*>(memory));
}

void PackedFloats::Free::operator()(float* p) const {
  std::free(p);
}

}  // namespace sbcnn::kernels
