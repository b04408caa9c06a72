// The convolution micro-kernel: one tile of the output, computed in registers.
//
// A tile is `Pixels` neighbouring output pixels times `Vectors` vectors of output channels. Every
// product adds  input[pixel][tap] * weight[tap][channel]  to sum[pixel][channel], so a step over
// one tap loads `Vectors` vectors of weights and `Pixels` single floats, each broadcast to a
// vector, for Pixels * Vectors multiply-adds. The sizes follow from the registers there are:
//
//   ISA       registers  tiles (pixels x vectors)
//   AVX-512   32         14 x 2   9 x 3   6 x 4     sums + weights + 1 broadcast <= 32
//   AVX2      16          6 x 2   4 x 3             16
//   SSE2      16          5 x 2   3 x 3             one more for the product: no FMA
//   NEON      32          8 x 2   6 x 3   5 x 4     sums + weights + one register per pixel
//
// Taps come in segments, runs of contiguous input (see ConvRow): with channels last, a kernel row
// over whole pixels is one segment, which makes a convolution an implicit matrix product without
// any copy of the input. The border of stored zeros spares the loop all edges.
//
// What differs by ISA is how one group of taps is multiplied in: x86 broadcasts floats straight
// from memory, NEON loads four taps of a pixel at once and multiplies by lane.
#pragma once

#include "kernels/packet.h"
#include "kernels/routines.h"

namespace sbcnn::kernels::SBCNN_ISA {

inline constexpr int kTapsPerStep = 4;
// Weights stream through the loop once per tile; fetching them this far ahead hides the second
// level cache and, on the first tile, memory.
inline constexpr int kPrefetchFloats = 2048;

// Addresses of the pixels of a tile. x86 adds one or two times a register to a base address for
// free, so one base serves three pixels and 14 pixels fit into the 16 address registers.
template <int Pixels>
struct PixelPointers {
  static constexpr int kBases = (Pixels + 2) / 3;
  const float* base[kBases];
  std::ptrdiff_t step;

  SBCNN_INLINE PixelPointers(const float* first, std::ptrdiff_t pixel_step) : step(pixel_step) {
    SBCNN_UNROLL
    for (int i = 0; i < kBases; ++i) {
      base[i] = first + 3 * i * step;
      keep_address(base[i]);
    }
  }
  SBCNN_INLINE const float* operator[](int pixel) const {
    return base[pixel / 3] + (pixel % 3) * step;
  }
  SBCNN_INLINE void advance(int taps) {
    SBCNN_UNROLL
    for (int i = 0; i < kBases; ++i) {
      base[i] += taps;
      keep_address(base[i]);
    }
  }
};

template <int Pixels, int Vectors>
struct Tile {
  Packet sum[Pixels][Vectors];

  SBCNN_INLINE void clear() {
    SBCNN_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        sum[p][v] = zero();
      }
    }
  }

  // Tap number `Tap` after the pointers.
  template <int Tap>
  SBCNN_INLINE void step(const PixelPointers<Pixels>& x, const float* weights) {
    Packet w[Vectors];
    SBCNN_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      w[v] = load_aligned(weights + (Tap * Vectors + v) * kLanes);
    }
    SBCNN_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      const Packet value = broadcast(x[p][Tap]);
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        kernels::SBCNN_ISA::accumulate(sum[p][v], w[v], value);
      }
    }
  }

#if defined(__aarch64__)
  template <int Lane>
  SBCNN_INLINE void step_lane(const Packet (&x)[Pixels], const float* weights) {
    Packet w[Vectors];
    SBCNN_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      w[v] = load_aligned(weights + (Lane * Vectors + v) * kLanes);
    }
    SBCNN_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        sum[p][v] = multiply_add_lane<Lane>(w[v], x[p], sum[p][v]);
      }
    }
  }
#endif

  SBCNN_INLINE void four_steps(const PixelPointers<Pixels>& x, const float* weights) {
#if defined(__aarch64__)
    Packet taps[Pixels];
    SBCNN_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      taps[p] = load(x[p]);
    }
    step_lane<0>(taps, weights);
    step_lane<1>(taps, weights);
    step_lane<2>(taps, weights);
    step_lane<3>(taps, weights);
#else
    step<0>(x, weights);
    step<1>(x, weights);
    step<2>(x, weights);
    step<3>(x, weights);
#endif
  }

  // Adds one segment and returns where the weights of the next begin.
  SBCNN_INLINE const float* accumulate(PixelPointers<Pixels> x, int taps, const float* weights) {
    constexpr int kFloatsPerTap = Vectors * kLanes;
    for (; taps >= kTapsPerStep; taps -= kTapsPerStep) {
      SBCNN_UNROLL
      for (int i = 0; i < kTapsPerStep * kFloatsPerTap; i += 16) {
        __builtin_prefetch(weights + kPrefetchFloats + i);
      }
      four_steps(x, weights);
      weights += kTapsPerStep * kFloatsPerTap;
      x.advance(kTapsPerStep);
    }
    for (; taps > 0; --taps) {
      step<0>(x, weights);
      weights += kFloatsPerTap;
      x.advance(1);
    }
    return weights;
  }

  // Bias, residual and the clamping functions happen here, while the sums are in registers.
  SBCNN_INLINE void finish(const ConvRow& row, int first_pixel) {
    const bool clamps = row.function.kind == Function::clamp;
    const Packet lower = broadcast(clamps ? row.function.alpha : -__builtin_inff());
    const Packet upper = broadcast(clamps ? row.function.beta : __builtin_inff());
    SBCNN_UNROLL
    for (int p = 0; p < Pixels; ++p) {
      float* output = row.output + (first_pixel + p) * row.output_step;
      const float* residual =
          row.residual == nullptr ? nullptr : row.residual + (first_pixel + p) * row.residual_step;
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        const bool partial = v == Vectors - 1 && row.tail < kLanes;
        Packet y = add(sum[p][v], load_aligned(row.bias + v * kLanes));
        if (residual != nullptr) {
          y = add(y, partial ? load(residual + v * kLanes, row.tail) : load(residual + v * kLanes));
        }
        y = min(max(y, lower), upper);
        if (partial) {
          store(output + v * kLanes, y, row.tail);
        } else {
          store(output + v * kLanes, y);
        }
      }
    }
  }
};

template <int Pixels, int Vectors>
void conv_tile(const ConvRow& row, int first_pixel) {
  Tile<Pixels, Vectors> tile;
  tile.clear();
  const float* weights = row.weights;
  const float* input = row.input + first_pixel * row.input_step;
  for (int i = 0; i < row.segment_rows; ++i, input += row.segment_row_step) {
    const float* segment = input;
    for (int j = 0; j < row.segment_columns; ++j, segment += row.segment_column_step) {
      weights = tile.accumulate({segment, row.input_step}, row.segment_length, weights);
    }
  }
  tile.finish(row, first_pixel);
}

}  // namespace sbcnn::kernels::SBCNN_ISA
