// Convolution in half floats, for the instruction sets that have such arithmetic. As routines.cc,
// it includes no header of the standard library that could emit code (see routines.h).
#include "kernels/half_tile.h"
#include "kernels/packet.h"
#include "kernels/strip.h"

namespace sbcnn::kernels::SBCNN_ISA {
namespace {

struct HalfTiles {
  using Element = Half;
  template <int Rows, int Columns, int Vectors, bool Paired>
  using Tile = HalfTile<Rows, Columns, Vectors, Paired>;
  // sums + weights + one register per pixel <= 32
  static constexpr int kMostPixels[2][5] = {{0, 8, 8, 6, 5}, {}};
};

// A NaN passes through max and min.
SBCNN_INLINE float16x4_t round_to_half(Packet x) {
  return vcvt_f16_f32(min(max(x, broadcast(-kLargestHalf)), broadcast(kLargestHalf)));
}

void to_half(const float* x, Half* y, std::size_t n) {
  std::size_t i = 0;
  for (; i + kHalfLanes <= n; i += kHalfLanes) {
    const float16x8_t v =
        vcombine_f16(round_to_half(load(x + i)), round_to_half(load(x + i + kLanes)));
    __builtin_memcpy(y + i, &v, sizeof v);
  }
  for (; i < n; ++i) {
    const float16x4_t v = round_to_half(broadcast(x[i]));
    __builtin_memcpy(y + i, &v, sizeof(Half));
  }
}

constexpr HalfRoutines kRoutines = {tile_shapes<HalfTiles>(kHalfLanes), conv_strip<HalfTiles>,
                                    to_half};

}  // namespace

const HalfRoutines& routines() {
  return kRoutines;
}

}  // namespace sbcnn::kernels::SBCNN_ISA
