// The convolution micro-kernel: one tile of the output, computed in registers.
//
// A tile is Rows x Columns output pixels times `Vectors` vectors of output channels. Every product
// adds  input[pixel][tap] * weight[tap][channel]  to sum[pixel][channel], so a step over one tap
// loads `Vectors` vectors of weights and one float for each pixel, broadcast to a vector, for
// pixels * Vectors multiply-adds. The sizes follow from the registers there are:
//
//   ISA       registers  pixels x vectors
//   AVX-512   32         14 x 2   9 x 3   6 x 4     sums + weights + 1 broadcast <= 32
//   AVX2      16          6 x 2   4 x 3             16
//   SSE2      16          5 x 2   3 x 3             one more for the product: no FMA
//   NEON      32          8 x 2   6 x 3   5 x 4     sums + weights + one register per pixel
//
// Where the output is too narrow to fill a row of that many pixels, a tile spans two rows.
//
// Taps come in segments, runs of contiguous input (see ConvStrip): with channels last, a kernel row
// over whole pixels is one segment, which makes a convolution an implicit matrix product without
// any copy of the input. The border of stored zeros spares the loop all edges.
//
// A `Paired` tile has one more vector of sums, for up to kLanes / 2 channels: its lanes hold two
// taps of each channel in turns, which are multiplied in together (see broadcast_pair) and added
// when the tile is finished. 24 channels on AVX-512 then cost one vector and a half, not two.
//
// What differs by ISA is how one group of taps is multiplied in: x86 broadcasts floats straight
// from memory, NEON loads four taps of a pixel at once and multiplies by lane.
#pragma once

#include "kernels/packet.h"
#include "kernels/routines.h"

namespace sbcnn::kernels::SBCNN_ISA {

inline constexpr int kTapsPerStep = kTapsPerFetch<float>;
// Elements of a line of the cache, and how far ahead of their use weights are fetched from its
// second level into the first.
template <class Element>
inline constexpr int kPerLine = 64 / sizeof(Element);
template <class Element>
inline constexpr int kPrefetch = 4096 / sizeof(Element);

// What a tile fetches while it multiplies. Its own weights come from the second level cache into
// the first. There they came by the tiles before: the first tile to read a panel would wait for
// memory at every step, the others not at all; so all of them fetch a share of what is wanted next.
template <class Element>
struct Fetching {
  const Element* next;
  int lines_per_step;
  bool near;

  SBCNN_INLINE Fetching(const ConvStrip<Element>& strip, int tile)
      : next(strip.upcoming + strip.upcoming_share * tile),
        lines_per_step(strip.upcoming_lines),
        near(strip.weights_near) {}
  // With `WeightsPerStep` weights from `weights` on.
  template <int WeightsPerStep>
  SBCNN_INLINE void step(const Element* weights) {
    if (!near) {
      SBCNN_UNROLL
      for (int i = 0; i < WeightsPerStep; i += kPerLine<Element>) {
        __builtin_prefetch(weights + kPrefetch<Element> + i);
      }
    }
    for (int i = 0; i < lines_per_step; ++i, next += kPerLine<Element>) {
      __builtin_prefetch(next, 0, 2);
    }
  }
};

// Addresses of the pixels of a tile. x86 adds one or two times a register to a base address for
// free, so one base serves three pixels and 14 pixels fit into the 16 address registers.
template <class Element, int Rows, int Columns>
struct PixelPointers {
  static constexpr int kBasesPerRow = (Columns + 2) / 3;
  const Element* base[Rows * kBasesPerRow];
  std::ptrdiff_t step;

  SBCNN_INLINE PixelPointers(const Element* first, std::ptrdiff_t pixel_step,
                             std::ptrdiff_t row_step)
      : step(pixel_step) {
    SBCNN_UNROLL
    for (int r = 0; r < Rows; ++r) {
      SBCNN_UNROLL
      for (int i = 0; i < kBasesPerRow; ++i) {
        const Element*& b = base[r * kBasesPerRow + i];
        b = first + r * row_step + 3 * i * step;
        keep_address(b);
      }
    }
  }
  SBCNN_INLINE const Element* operator[](int pixel) const {
    const int column = pixel % Columns;
    return base[pixel / Columns * kBasesPerRow + column / 3] + (column % 3) * step;
  }
  SBCNN_INLINE void advance(int taps) {
    SBCNN_UNROLL
    for (int i = 0; i < Rows * kBasesPerRow; ++i) {
      base[i] += taps;
      keep_address(base[i]);
    }
  }
};

// What happens to sums while they are in registers. Unless `Plain`, that is residual and clamping.
template <bool Plain>
struct Epilogue {
  Packet lower, upper;

  SBCNN_INLINE explicit Epilogue(const Function& function) {
    const bool clamps = !Plain && function.kind == Function::clamp;
    lower = broadcast(clamps ? function.alpha : -__builtin_inff());
    upper = broadcast(clamps ? function.beta : __builtin_inff());
  }
  // The first n lanes of y; `residual` may be null.
  SBCNN_INLINE void store(Packet y, const float* residual, float* output, int n) const {
    if (!Plain && residual != nullptr) {
      y = add(y, n < kLanes ? load(residual, n) : load(residual));
    }
    if (!Plain) {
      y = min(max(y, lower), upper);
    }
    if (n < kLanes) {
      kernels::SBCNN_ISA::store(output, y, n);
    } else {
      kernels::SBCNN_ISA::store(output, y);
    }
  }
};

template <int Rows, int Columns, int Vectors, bool Paired>
struct Tile {
  using Element = float;
  static constexpr int kPixels = Rows * Columns;
  static constexpr int kSums = Vectors + (Paired ? 1 : 0);
  static constexpr int kChannels = kSums * kLanes;
  using Pointers = PixelPointers<Element, Rows, Columns>;

  Packet sum[kPixels][kSums];

  SBCNN_INLINE void begin(const ConvStrip<float>& strip) {
    SBCNN_UNROLL
    for (int v = 0; v < kSums; ++v) {
      const Packet b = load_aligned(strip.bias + v * kLanes);
      SBCNN_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        sum[p][v] = b;
      }
    }
  }

  // Tap number `Tap` after the pointers, into the vectors that are not paired.
  template <int Tap>
  SBCNN_INLINE void step(const Pointers& x, const float* weights) {
    if constexpr (Vectors > 0) {
      Packet w[Vectors];
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        w[v] = load_aligned(weights + v * kLanes);
      }
      SBCNN_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        const Packet value = broadcast(x[p][Tap]);
        SBCNN_UNROLL
        for (int v = 0; v < Vectors; ++v) {
          kernels::SBCNN_ISA::accumulate(sum[p][v], w[v], value);
        }
      }
    }
  }

  // Taps `Tap` and `Tap` + 1. Their weights lie together: both taps' vectors, then the paired one.
  template <int Tap>
  SBCNN_INLINE void step_pair(const Pointers& x, const float* weights) {
    step<Tap>(x, weights);
    const Packet w = load_aligned(weights + 2 * Vectors * kLanes);
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      kernels::SBCNN_ISA::accumulate(sum[p][Vectors], w, broadcast_pair(x[p] + Tap));
    }
    step<Tap + 1>(x, weights + Vectors * kLanes);
  }

#if defined(__aarch64__)
  template <int Lane>
  SBCNN_INLINE void step_lane(const Packet (&x)[kPixels], const float* weights) {
    Packet w[Vectors];
    SBCNN_UNROLL
    for (int v = 0; v < Vectors; ++v) {
      w[v] = load_aligned(weights + (Lane * Vectors + v) * kLanes);
    }
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      SBCNN_UNROLL
      for (int v = 0; v < Vectors; ++v) {
        accumulate_lane<Lane>(sum[p][v], w[v], x[p]);
      }
    }
  }
#endif

  SBCNN_INLINE void four_steps(const Pointers& x, const float* weights) {
#if defined(__aarch64__)
    Packet taps[kPixels];
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      taps[p] = load(x[p]);
    }
    step_lane<0>(taps, weights);
    step_lane<1>(taps, weights);
    step_lane<2>(taps, weights);
    step_lane<3>(taps, weights);
#else
    if constexpr (Paired) {
      step_pair<0>(x, weights);
      step_pair<2>(x, weights + (2 * Vectors + 1) * kLanes);
    } else {
      step<0>(x, weights);
      step<1>(x, weights + Vectors * kLanes);
      step<2>(x, weights + 2 * Vectors * kLanes);
      step<3>(x, weights + 3 * Vectors * kLanes);
    }
#endif
  }

  // The last tap of a segment has no neighbour: its pair is itself, times weights of zero.
  SBCNN_INLINE void last_step(const Pointers& x, const float* weights) {
    step<0>(x, weights);
    if constexpr (Paired) {
      const Packet w = load_aligned(weights + Vectors * kLanes);
      SBCNN_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        kernels::SBCNN_ISA::accumulate(sum[p][Vectors], w, broadcast(x[p][0]));
      }
    }
  }

  static constexpr int kWeightsPerStep =
      (kTapsPerStep * Vectors + (Paired ? kTapsPerStep / 2 : 0)) * kLanes;

  // Adds one segment and returns where the weights of the next begin.
  SBCNN_INLINE const float* accumulate(Pointers x, int taps, const float* weights,
                                       Fetching<float>& fetching) {
    for (; taps >= kTapsPerStep; taps -= kTapsPerStep) {
      fetching.step<kWeightsPerStep>(weights);
      four_steps(x, weights);
      weights += kWeightsPerStep;
      x.advance(kTapsPerStep);
    }
    if constexpr (Paired) {
      if (taps >= 2) {
        step_pair<0>(x, weights);
        weights += (2 * Vectors + 1) * kLanes;
        x.advance(2);
        taps -= 2;
      }
    }
    for (; taps > 0; --taps) {
      last_step(x, weights);
      weights += kSums * kLanes;
      x.advance(1);
    }
    return weights;
  }

  // `output` and `residual` are those of the tile's first pixel.
  template <bool Plain>
  SBCNN_INLINE void finish(const ConvStrip<float>& strip, const float* residual,
                           float* output) const {
    const Epilogue<Plain> epilogue(strip.function);
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      const int row = p / Columns, column = p % Columns;
      float* out = output + row * strip.output_row_step + column * strip.output_step;
      SBCNN_UNROLL
      for (int v = 0; v < kSums; ++v) {
        const float* other = residual == nullptr ? nullptr
                                                 : residual + row * strip.residual_row_step +
                                                       column * strip.residual_step + v * kLanes;
        epilogue.store(Paired && v == Vectors ? add_pairs(sum[p][v]) : sum[p][v], other,
                       out + v * kLanes, v == kSums - 1 ? strip.tail : kLanes);
      }
    }
  }
};

// The lines of the output that the tile will write, so that they are at hand when it is done.
template <int Rows, int Columns, int Channels, class Element>
SBCNN_INLINE void prefetch_output(const ConvStrip<Element>& strip, const float* output) {
  SBCNN_UNROLL
  for (int r = 0; r < Rows; ++r) {
    SBCNN_UNROLL
    for (int c = 0; c < Columns; ++c) {
      const float* pixel = output + r * strip.output_row_step + c * strip.output_step;
      SBCNN_UNROLL
      for (int i = 0; i < Channels; i += kPerLine<float>) {
        __builtin_prefetch(pixel + i, 1);
      }
    }
  }
}

// `tiles` tiles side by side, of which the first is number `number` of the strip and begins at
// pixel (`row`, `column`). Where there are few taps, calls would cost as much as they do.
template <class Tile, int Rows, int Columns>
void conv_tiles(const ConvStrip<typename Tile::Element>& strip, int number, int row, int column,
                int tiles) {
  using Element = typename Tile::Element;
  for (const int end = number + tiles; number < end; ++number, column += Columns) {
    float* output = strip.output + row * strip.output_row_step + column * strip.output_step;
    prefetch_output<Rows, Columns, Tile::kChannels>(strip, output);
    Tile tile;
    tile.begin(strip);
    Fetching<Element> fetching(strip, number);
    const Element* weights = strip.weights;
    const Element* input = strip.input + row * strip.input_row_step + column * strip.input_step;
    for (int i = 0; i < strip.segment_rows; ++i, input += strip.segment_row_step) {
      const Element* segment = input;
      for (int j = 0; j < strip.segment_columns; ++j, segment += strip.segment_column_step) {
        weights = tile.accumulate({segment, strip.input_step, strip.input_row_step},
                                  strip.segment_length, weights, fetching);
      }
    }
    if (strip.plain) {
      tile.template finish<true>(strip, nullptr, output);
    } else {
      const std::ptrdiff_t at = row * strip.residual_row_step + column * strip.residual_step;
      tile.template finish<false>(strip, strip.residual == nullptr ? nullptr : strip.residual + at,
                                  output);
    }
  }
}

}  // namespace sbcnn::kernels::SBCNN_ISA
