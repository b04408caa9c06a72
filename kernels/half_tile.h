// The convolution micro-kernel in half floats: tile.h with twice the lanes, for ARMv8.2's fp16.
//
// A step takes eight taps: one load brings eight taps of a pixel, and each multiplies a vector of
// weights by lane. The instruction takes lanes from the lower 16 registers alone, which hold up to
// eight pixels.
//
// A half has 11 bits, so a sum of many halves would lose what is added late. Each sum therefore
// gets at most kTapsPerFold products; then it is widened and added to a sum of floats, which lies
// in memory, for the registers are full. With N products in a run, errors of rounding come to about
// 2^-11 of the sum of their absolute values if signs are mixed, and sqrt(N) / 3 times as much if
// all have the same sign. Folding costs about one instruction in ten.
//
// Nothing overflows: the weights of a run are so small (kMostWeightPerFold) that their products
// with the largest half stay below it. `ConvStrip::scale` brings the sums back to size.
#pragma once

#include "kernels/tile.h"

namespace sbcnn::kernels::SBCNN_ISA {

using HalfPacket = float16x8_t;
inline constexpr int kHalfLanes = 8;

SBCNN_INLINE HalfPacket load(const Half* p) {
  HalfPacket v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
SBCNN_INLINE HalfPacket load_four(const Half* p) {  // into the first lanes
  float16x4_t v;
  __builtin_memcpy(&v, p, sizeof v);
  return vcombine_f16(v, vdup_n_f16(0));
}
SBCNN_INLINE HalfPacket load_one(const Half* p) {
  unsigned short v;
  __builtin_memcpy(&v, p, sizeof v);
  return vreinterpretq_f16_u16(vdupq_n_u16(v));
}

// sum += w * x[Lane]. GCC 12 makes two instructions of the intrinsic.
template <int Lane>
SBCNN_INLINE void accumulate_lane(HalfPacket& sum, HalfPacket w, HalfPacket x) {
  asm("fmla %0.8h, %1.8h, %2.h[%c3]" : "+w"(sum) : "w"(w), "x"(x), "i"(Lane));
}

template <int Rows, int Columns, int Vectors, bool Paired>
struct HalfTile {
  static_assert(!Paired);
  using Element = Half;
  static constexpr int kPixels = Rows * Columns;
  static constexpr int kChannels = Vectors * kHalfLanes;
  static constexpr int kTapsPerLoad = kTapsPerFetch<Half>;  // 8
  static constexpr int kWeightsPerStep = kTapsPerLoad * kChannels;
  using Pointers = PixelPointers<Half, Rows, Columns>;

  HalfPacket sum[kPixels][Vectors];
  int taps_in_sum = 0;
  alignas(16) float folded[kPixels][kChannels];

  SBCNN_INLINE void begin(const ConvStrip<Half>&) {
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        sum[p][v] = vdupq_n_f16(0);
        store(&folded[p][v * kHalfLanes], zero());
        store(&folded[p][v * kHalfLanes + kLanes], zero());
      }
    }
  }

  // Half `H` of the sums of vector v, with what was folded before.
  template <int H>
  SBCNN_INLINE Packet total(int p, int v) const {
    const float32x4_t fresh =
        H == 0 ? vcvt_f32_f16(vget_low_f16(sum[p][v])) : vcvt_high_f32_f16(sum[p][v]);
    return add(load_aligned(&folded[p][v * kHalfLanes + H * kLanes]), fresh);
  }

  SBCNN_INLINE void fold() {
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        store(&folded[p][v * kHalfLanes], total<0>(p, v));
        store(&folded[p][v * kHalfLanes + kLanes], total<1>(p, v));
        sum[p][v] = vdupq_n_f16(0);
      }
    }
    taps_in_sum = 0;
  }

  template <int Lane, int Taps>
  SBCNN_INLINE void steps_by_lane(const HalfPacket (&x)[kPixels], const Half* weights) {
    HalfPacket w[Vectors];
    SBCNN_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      w[v] = load(weights + Lane * kChannels + v * kHalfLanes);
    }
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        accumulate_lane<Lane>(sum[p][v], w[v], x[p]);
      }
    }
    if constexpr (Lane + 1 < Taps) {
      steps_by_lane<Lane + 1, Taps>(x, weights);
    }
  }

  // The next `Taps` taps: 8, 4 or 1.
  template <int Taps>
  SBCNN_INLINE void steps(Pointers& x, const Half*& weights) {
    HalfPacket taps[kPixels];
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      taps[p] = Taps == 8 ? load(x[p]) : Taps == 4 ? load_four(x[p]) : load_one(x[p]);
    }
    steps_by_lane<0, Taps>(taps, weights);
    weights += Taps * kChannels;
    x.advance(Taps);
  }

  // Adds one segment, in runs of at most kTapsPerFold taps, and returns where the weights of the
  // next begin.
  SBCNN_INLINE const Half* accumulate(Pointers x, int taps, const Half* weights,
                                      Fetching<Half>& fetching) {
    while (taps > 0) {
      int run = taps < kTapsPerFold ? taps : kTapsPerFold;
      if (taps_in_sum + run > kTapsPerFold) {
        fold();
      }
      taps_in_sum += run;
      taps -= run;
      for (; run >= kTapsPerLoad; run -= kTapsPerLoad) {
        fetching.advance<kWeightsPerStep>(weights);
        steps<8>(x, weights);
      }
      if (run >= 4) {
        steps<4>(x, weights);
        run -= 4;
      }
      for (; run > 0; --run) {
        steps<1>(x, weights);
      }
    }
    return weights;
  }

  template <bool Plain>
  SBCNN_INLINE void finish(const ConvStrip<Half>& strip, const float* residual,
                           float* output) const {
    const Epilogue<Plain> epilogue(strip.function);
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      const int row = p / Columns, column = p % Columns;
      float* out = output + row * strip.output_row_step + column * strip.output_step;
      const float* other = residual == nullptr ? nullptr
                                               : residual + row * strip.residual_row_step +
                                                     column * strip.residual_step;
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        if (v < Vectors - 1) {
          finish_half<0>(strip, epilogue, p, v, other, out, kLanes);
          finish_half<1>(strip, epilogue, p, v, other, out, kLanes);
        } else {
          finish_half<0>(strip, epilogue, p, v, other, out, strip.tail);
          if (strip.tail > kLanes) {
            finish_half<1>(strip, epilogue, p, v, other, out, strip.tail - kLanes);
          }
        }
      }
    }
  }

 private:
  // Scale, bias and epilogue of half `H` of a vector, of which n channels are there.
  template <int H, class Epilogue>
  SBCNN_INLINE void finish_half(const ConvStrip<Half>& strip, const Epilogue& epilogue, int p,
                                int v, const float* residual, float* output, int n) const {
    const int c = v * kHalfLanes + H * kLanes;
    const Packet y =
        multiply_add(total<H>(p, v), load_aligned(strip.scale + c), load_aligned(strip.bias + c));
    epilogue.store(y, residual == nullptr ? nullptr : residual + c, output + c, n);
  }
};

}  // namespace sbcnn::kernels::SBCNN_ISA
