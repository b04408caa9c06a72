// The convolution micro-kernel: one tile of the output, computed in registers.
//
// A tile is Rows x Columns output pixels times `Vectors` vectors of output channels. Every product
// adds  input[pixel][tap] * weight[tap][channel]  to sum[pixel][channel], so one tap loads
// `Vectors` vectors of weights and one float for each pixel, broadcast to a vector, for pixels *
// Vectors multiply-adds. A core starts about as many loads as multiply-adds at a time, and waits
// some cycles for a sum: the more pixels and vectors, the fewer loads for each multiply-add, and
// the more sums that do not wait for each other. Registers set the limit (a paired vector counts as
// one):
//
//   ISA       registers  pixels x vectors           that hold
//   AVX-512   32         14 x 2   9 x 3   6 x 4     sums, a tap's weights, one broadcast
//   AVX2      16          6 x 2   4 x 3             the same
//   SSE2      16          5 x 2   3 x 3             also a product, for there is no FMA
//   NEON      32          8 x 2   6 x 3   5 x 4     also four taps of every pixel
//
// Where the output is too narrow to fill a row of that many pixels, a tile spans two rows. Who
// picks a size: panels.cc the vectors, conv_strip (strip.h) rows and columns.
//
// Taps come in segments, runs of contiguous input (see ConvStrip): with channels last, a kernel row
// over whole pixels is one segment, unless it is grouped or dilated. That makes a convolution an
// implicit matrix product without any copy of the input. Inputs are stored with a border of zeros
// (core/tensor.h), so that the loop knows no edges.
//
// A `Paired` tile has one more vector of sums, for up to kLanes / 2 channels. It has two lanes for
// each of them, for even and for odd taps, which are multiplied in together (see broadcast_pair)
// and added when the tile is finished. 24 channels on AVX-512 then take one and a half times as
// many multiply-adds as 16, not twice as many. AVX2 and AVX-512 only.
//
// What differs by ISA in this file is how a group of taps is multiplied in: x86 broadcasts floats,
// from AVX on straight from memory; NEON loads four taps of a pixel at once and multiplies by lane.
// The rest is in packet.h.
#pragma once

#include "kernels/packet.h"
#include "kernels/routines.h"

namespace sbcnn::kernels::SBCNN_ISA {

inline constexpr int kTapsPerGroup = kTapsPerFetch<float>;
static_assert(kTapsPerGroup == 4);  // see Tile::four_taps
// Elements of a line of the cache.
template <class Element>
inline constexpr int kPerLine = 64 / sizeof(Element);
// How far ahead of their use weights are fetched from the second level cache into the first.
template <class Element>
inline constexpr int kPrefetchDistance = 4096 / sizeof(Element);

// What a tile fetches while it multiplies: its own weights from the second level cache into the
// first, and from memory into the second level its share of what is wanted next
// (ConvStrip::upcoming). If nobody did that, the first tile of a panel would wait for memory all
// the time, and the others not at all. Both may run past the end of the weights; that does no harm.
template <class Element>
struct Fetching {
  const Element* next;
  int lines_per_group;
  bool in_first_level;

  SBCNN_INLINE Fetching(const ConvStrip<Element>& strip, int tile)
      : next(strip.upcoming + strip.upcoming_share * tile),
        lines_per_group(strip.upcoming_lines),
        in_first_level(strip.weights_near) {}
  // To be called before the next `Count` weights, those at `weights`, are multiplied.
  template <int Count>
  SBCNN_INLINE void advance(const Element* weights) {
    if (!in_first_level) {
      SBCNN_UNROLL
      for (int i = 0; i < Count; i += kPerLine<Element>) {
        __builtin_prefetch(weights + kPrefetchDistance<Element> + i);
      }
    }
    for (int i = 0; i < lines_per_group; ++i, next += kPerLine<Element>) {
      __builtin_prefetch(next, 0, 2);  // to read; not into the first level
    }
  }
};

// Addresses of the pixels of a tile. x86 addresses base, base + step and base + 2 * step for free,
// so one base serves three pixels, and 14 pixels take five registers and one for the step. NEON,
// which has registers enough, shares this.
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

// Stores finished sums; unless `Plain`, adds the residual and clamps first. (No
// std::numeric_limits: see routines.h.)
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

  // The tap at offset `Tap`, into the vectors that are not paired.
  template <int Tap>
  SBCNN_INLINE void tap(const Pointers& x, const float* weights) {
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
  SBCNN_INLINE void tap_pair(const Pointers& x, const float* weights) {
    tap<Tap>(x, weights);
    const Packet w = load_aligned(weights + 2 * Vectors * kLanes);
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      kernels::SBCNN_ISA::accumulate(sum[p][Vectors], w, broadcast_pair(x[p] + Tap));
    }
    tap<Tap + 1>(x, weights + Vectors * kLanes);
  }

#if defined(__aarch64__)
  template <int Lane>
  SBCNN_INLINE void tap_of_lane(const Packet (&x)[kPixels], const float* weights) {
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

  SBCNN_INLINE void four_taps(const Pointers& x, const float* weights) {
#if defined(__aarch64__)
    static_assert(!Paired);
    Packet taps[kPixels];
    SBCNN_UNROLL
    for (int p = 0; p < kPixels; ++p) {
      taps[p] = load(x[p]);
    }
    tap_of_lane<0>(taps, weights);
    tap_of_lane<1>(taps, weights);
    tap_of_lane<2>(taps, weights);
    tap_of_lane<3>(taps, weights);
#else
    if constexpr (Paired) {
      static_assert(!Paired || kPairsTaps);
      tap_pair<0>(x, weights);
      tap_pair<2>(x, weights + (2 * Vectors + 1) * kLanes);
    } else {
      tap<0>(x, weights);
      tap<1>(x, weights + Vectors * kLanes);
      tap<2>(x, weights + 2 * Vectors * kLanes);
      tap<3>(x, weights + 3 * Vectors * kLanes);
    }
#endif
  }

  // A tap that is left over. In a paired tile it is the last of an odd segment, and its pair is
  // itself, times weights of zero: what lies behind it may be no number.
  SBCNN_INLINE void one_tap(const Pointers& x, const float* weights) {
    tap<0>(x, weights);
    if constexpr (Paired) {
      const Packet w = load_aligned(weights + Vectors * kLanes);
      SBCNN_UNROLL
      for (int p = 0; p < kPixels; ++p) {
        kernels::SBCNN_ISA::accumulate(sum[p][Vectors], w, broadcast(x[p][0]));
      }
    }
  }

  static constexpr int kWeightsPerGroup =
      (kTapsPerGroup * Vectors + (Paired ? kTapsPerGroup / 2 : 0)) * kLanes;

  // Adds one segment and returns where the weights of the next begin.
  SBCNN_INLINE const float* accumulate(Pointers x, int taps, const float* weights,
                                       Fetching<float>& fetching) {
    for (; taps >= kTapsPerGroup; taps -= kTapsPerGroup) {
      fetching.advance<kWeightsPerGroup>(weights);
      four_taps(x, weights);
      weights += kWeightsPerGroup;
      x.advance(kTapsPerGroup);
    }
    if constexpr (Paired) {
      if (taps >= 2) {
        tap_pair<0>(x, weights);
        weights += (2 * Vectors + 1) * kLanes;
        x.advance(2);
        taps -= 2;
      }
    }
    for (; taps > 0; --taps) {
      one_tap(x, weights);
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

// About the lines of the output that the tile will write, so that they are at hand when it is done.
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
// pixel (`row`, `column`). One call for many tiles: where there are few taps, a call for each would
// cost as much as its arithmetic.
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
