// Everything that is compiled once per instruction set: rows of convolution tiles and the simple
// loops over channels. Includes no header of the standard library that could emit code (see
// routines.h).
#include "kernels/routines.h"

#include "kernels/packet.h"
#include "kernels/tile.h"
#include "kernels/winograd_tile.h"

namespace sbcnn::kernels::SBCNN_ISA {
namespace {

// --- convolution -----------------------------------------------------------------------------

// Most pixels of a tile, by [paired][vectors].
#if defined(__AVX512F__)
constexpr int kTilePixels[2][5] = {{0, 14, 14, 9, 6}, {14, 14, 9, 0, 0}};
#elif defined(__AVX__)
constexpr int kTilePixels[2][5] = {{0, 12, 6, 4, 0}, {12, 6, 4, 0, 0}};
#elif defined(__SSE2__)
constexpr int kTilePixels[2][5] = {{0, 8, 5, 3, 0}, {}};
#else
constexpr int kTilePixels[2][5] = {{0, 8, 8, 6, 5}, {}};
#endif
constexpr int kMostPixels = 14, kMostRows = 2;

using TileFunction = void (*)(const ConvStrip&, int number, int row, int column, int tiles);

template <int Rows, int Columns, int Vectors, bool Paired>
constexpr TileFunction tile_or_null() {
  if constexpr (Rows * Columns <= kTilePixels[Paired][Vectors]) {
    return conv_tiles<Rows, Columns, Vectors, Paired>;
  } else {
    return nullptr;
  }
}

struct TilesByColumns {
  TileFunction columns[kMostPixels + 1];
};

template <int Rows, int Vectors, bool Paired>
constexpr TilesByColumns tiles() {
  return {{nullptr, tile_or_null<Rows, 1, Vectors, Paired>(),
           tile_or_null<Rows, 2, Vectors, Paired>(), tile_or_null<Rows, 3, Vectors, Paired>(),
           tile_or_null<Rows, 4, Vectors, Paired>(), tile_or_null<Rows, 5, Vectors, Paired>(),
           tile_or_null<Rows, 6, Vectors, Paired>(), tile_or_null<Rows, 7, Vectors, Paired>(),
           tile_or_null<Rows, 8, Vectors, Paired>(), tile_or_null<Rows, 9, Vectors, Paired>(),
           tile_or_null<Rows, 10, Vectors, Paired>(), tile_or_null<Rows, 11, Vectors, Paired>(),
           tile_or_null<Rows, 12, Vectors, Paired>(), tile_or_null<Rows, 13, Vectors, Paired>(),
           tile_or_null<Rows, 14, Vectors, Paired>()}};
}

// By [rows - 1][paired][vectors].
constexpr TilesByColumns kTiles[kMostRows][2][5] = {
    {{{}, tiles<1, 1, false>(), tiles<1, 2, false>(), tiles<1, 3, false>(), tiles<1, 4, false>()},
     {tiles<1, 0, true>(), tiles<1, 1, true>(), tiles<1, 2, true>(), {}, {}}},
    {{{}, tiles<2, 1, false>(), tiles<2, 2, false>(), tiles<2, 3, false>(), tiles<2, 4, false>()},
     {tiles<2, 0, true>(), tiles<2, 1, true>(), tiles<2, 2, true>(), {}, {}}}};

// --- element-wise ----------------------------------------------------------------------------

template <int Kind>
SBCNN_INLINE Packet evaluate(Packet x, Packet alpha, Packet beta) {
  const Packet zeros = zero(), ones = broadcast(1.0f);
  if constexpr (Kind == Function::leaky_relu) {
    return multiply_add(min(x, zeros), alpha, max(x, zeros));
  } else if constexpr (Kind == Function::sigmoid) {
    return div(ones, add(ones, exp(mul(x, broadcast(-1.0f)))));
  } else if constexpr (Kind == Function::hard_sigmoid) {
    return min(max(multiply_add(x, alpha, beta), zeros), ones);
  } else if constexpr (Kind == Function::hard_swish) {
    const Packet gate = multiply_add(x, broadcast(1.0f / 6), broadcast(0.5f));
    return mul(x, min(max(gate, zeros), ones));
  } else {
    return min(max(x, alpha), beta);
  }
}

template <class F>  // y[i] = f(a[i], b[i]); y may be a or b
SBCNN_INLINE void for_each(const float* a, const float* b, float* y, std::size_t n, F f) {
  constexpr std::size_t lanes = kLanes;
  std::size_t i = 0;
  for (; i + lanes <= n; i += lanes) {
    store(y + i, f(load(a + i), load(b + i)));
  }
  if (i < n) {
    const int rest = int(n - i);
    store(y + i, f(load(a + i, rest), load(b + i, rest)), rest);
  }
}

template <int Kind>
void apply_kind(const Function& f, const float* x, float* y, std::size_t n) {
  const Packet alpha = broadcast(f.alpha), beta = broadcast(f.beta);
  for_each(x, x, y, n, [&](Packet v, Packet) { return evaluate<Kind>(v, alpha, beta); });
}

void apply(const Function& f, const float* x, float* y, std::size_t n) {
  switch (f.kind) {
    case Function::clamp:
      return apply_kind<Function::clamp>(f, x, y, n);
    case Function::leaky_relu:
      return apply_kind<Function::leaky_relu>(f, x, y, n);
    case Function::sigmoid:
      return apply_kind<Function::sigmoid>(f, x, y, n);
    case Function::hard_sigmoid:
      return apply_kind<Function::hard_sigmoid>(f, x, y, n);
    case Function::hard_swish:
      return apply_kind<Function::hard_swish>(f, x, y, n);
  }
}

void add_arrays(const float* a, const float* b, float* y, std::size_t n) {
  for_each(a, b, y, n, [](Packet u, Packet v) { return add(u, v); });
}

void mul_arrays(const float* a, const float* b, float* y, std::size_t n) {
  for_each(a, b, y, n, [](Packet u, Packet v) { return mul(u, v); });
}

void scale_shift(const float* x, const float* scale, const float* shift, float* y, std::size_t n) {
  mul_arrays(x, scale, y, n);
  add_arrays(y, shift, y, n);
}

// The functions that are too long for a tile's epilogue, over the finished row.
void apply_to_pixels(const Function& f, float* y, std::ptrdiff_t step, int pixels, int channels) {
  if (f.kind != Function::clamp) {
    for (int p = 0; p < pixels; ++p, y += step) {
      apply(f, y, y, std::size_t(channels));
    }
  }
}

// --- rows ------------------------------------------------------------------------------------

void conv_strip(const ConvStrip& strip) {
  const int most = kTilePixels[strip.paired][strip.vectors];
  for (int y = 0, number = 0; y < strip.rows;) {
    const int rows = strip.pixels <= most / 2 && y + 1 < strip.rows ? 2 : 1;
    const TilesByColumns& tiles = kTiles[rows - 1][strip.paired][strip.vectors];
    // Of equal width, as near as possible: some are one pixel wider than the others.
    const int count = (strip.pixels * rows + most - 1) / most;
    const int width = strip.pixels / count, wider = strip.pixels % count;
    if (wider > 0) {
      tiles.columns[width + 1](strip, number, y, 0, wider);
    }
    tiles.columns[width](strip, number + wider, y, wider * (width + 1), count - wider);
    number += count;
    y += rows;
  }
  for (int y = 0; y < strip.rows && !strip.plain; ++y) {
    apply_to_pixels(strip.function, strip.output + y * strip.output_row_step, strip.output_step,
                    strip.pixels,
                    (strip.vectors + (strip.paired ? 1 : 0) - 1) * kLanes + strip.tail);
  }
}

// `Pixels` pixels times one vector of channels that begins at `c` and has n lanes.
template <int Pixels, bool Whole>
SBCNN_INLINE void depthwise_tile(const DepthwiseRow& row, int first_pixel, int c, int n) {
  const auto get = [n](const float* p) {
    if constexpr (Whole) {
      (void)n;
      return load(p);
    } else {
      return load(p, n);
    }
  };
  Packet sum[Pixels];
  SBCNN_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    sum[p] = get(row.bias + c);
  }
  const float* weights = row.weights + c;
  const float* input = row.input + first_pixel * row.input_step + c;
  for (int i = 0; i < row.kernel_rows; ++i, input += row.kernel_row_step) {
    const float* x = input;
    for (int j = 0; j < row.kernel_columns; ++j, x += row.kernel_column_step) {
      const Packet w = get(weights);
      weights += row.weight_step;
      SBCNN_UNROLL
      for (int p = 0; p < Pixels; ++p) {
        sum[p] = multiply_add(w, get(x + p * row.input_step), sum[p]);
      }
    }
  }
  const bool clamps = row.function.kind == Function::clamp;
  SBCNN_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    Packet y = sum[p];
    if (row.residual != nullptr) {
      y = add(y, get(row.residual + (first_pixel + p) * row.residual_step + c));
    }
    if (clamps) {
      y = min(max(y, broadcast(row.function.alpha)), broadcast(row.function.beta));
    }
    float* output = row.output + (first_pixel + p) * row.output_step + c;
    if constexpr (Whole) {
      store(output, y);
    } else {
      store(output, y, n);
    }
  }
}

// The last vector of channels overlaps the one before rather than being partial.
template <int Pixels>
void depthwise_pixels(const DepthwiseRow& row, int first_pixel) {
  if (row.channels < kLanes) {
    depthwise_tile<Pixels, false>(row, first_pixel, 0, row.channels);
    return;
  }
  for (int c = 0; c < row.channels; c += kLanes) {
    const int begin = c + kLanes <= row.channels ? c : row.channels - kLanes;
    depthwise_tile<Pixels, true>(row, first_pixel, begin, kLanes);
  }
}

// Three columns of a kernel that move on by `Stride`: neighbouring outputs share inputs, so each is
// loaded once for all outputs of a group that it is part of.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kDepthwisePixels = 7;
#else
constexpr int kDepthwisePixels = 4;
#endif

template <int Pixels, int Rows, int Stride>
SBCNN_INLINE void depthwise_group(const DepthwiseRow& row, int first_pixel, int c) {
  Packet w[Rows][3];
  SBCNN_UNROLL
  for (int r = 0; r < Rows; ++r) {
    SBCNN_UNROLL
    for (int tap = 0; tap < 3; ++tap) {
      w[r][tap] = load(row.weights + (3 * r + tap) * row.weight_step + c);
    }
  }
  const Packet bias = load(row.bias + c);
  Packet sum[Pixels];
  SBCNN_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    sum[p] = bias;
    __builtin_prefetch(row.output + (first_pixel + p) * row.output_step + c, 1);
  }
  SBCNN_UNROLL
  for (int r = 0; r < Rows; ++r) {
    const float* x = row.input + first_pixel * row.input_step + r * row.kernel_row_step + c;
    SBCNN_UNROLL
    for (int i = 0; i < (Pixels - 1) * Stride + 3; ++i) {
      const Packet value = load(x + i * row.kernel_column_step);
      SBCNN_UNROLL
      for (int tap = 0; tap < 3; ++tap) {
        if (i >= tap && (i - tap) % Stride == 0 && (i - tap) / Stride < Pixels) {
          Packet& s = sum[(i - tap) / Stride];
          s = multiply_add(w[r][tap], value, s);
        }
      }
    }
  }
  const bool clamps = row.function.kind == Function::clamp;
  const Packet lower = broadcast(clamps ? row.function.alpha : -__builtin_inff());
  const Packet upper = broadcast(clamps ? row.function.beta : __builtin_inff());
  SBCNN_UNROLL
  for (int p = 0; p < Pixels; ++p) {
    Packet y = sum[p];
    if (row.residual != nullptr) {
      y = add(y, load(row.residual + (first_pixel + p) * row.residual_step + c));
    }
    store(row.output + (first_pixel + p) * row.output_step + c, min(max(y, lower), upper));
  }
}

template <int Pixels, int Rows, int Stride>
void depthwise_group(const DepthwiseRow& row, int first_pixel) {
  for (int channel = 0; channel < row.channels; channel += kLanes) {
    const int c = channel + kLanes <= row.channels ? channel : row.channels - kLanes;
    depthwise_group<Pixels, Rows, Stride>(row, first_pixel, c);
  }
}

template <int Rows, int Stride>
void depthwise_columns(const DepthwiseRow& row) {
  int p = 0;
  for (; p + kDepthwisePixels <= row.pixels; p += kDepthwisePixels) {
    depthwise_group<kDepthwisePixels, Rows, Stride>(row, p);
  }
  for (; p + 2 <= row.pixels; p += 2) {
    depthwise_group<2, Rows, Stride>(row, p);
  }
  if (p < row.pixels) {
    depthwise_group<1, Rows, Stride>(row, p);
  }
}

// The columns kernel that fits the row, or null.
void (*depthwise_columns_for(const DepthwiseRow& row))(const DepthwiseRow&) {
  const bool fits = row.kernel_columns == 3 && row.channels >= kLanes;
  for (int stride = 1; fits && stride <= 2; ++stride) {
    if (row.input_step == stride * row.kernel_column_step) {
      switch (row.kernel_rows) {
        case 2:
          return stride == 1 ? depthwise_columns<2, 1> : depthwise_columns<2, 2>;
        case 3:
          return stride == 1 ? depthwise_columns<3, 1> : depthwise_columns<3, 2>;
      }
    }
  }
  return nullptr;
}

void depthwise_row(const DepthwiseRow& row) {
  if (const auto columns = depthwise_columns_for(row)) {
    columns(row);
  } else {
    constexpr int kPixels = 4;
    int p = 0;
    for (; p + kPixels <= row.pixels; p += kPixels) {
      depthwise_pixels<kPixels>(row, p);
    }
    for (; p < row.pixels; ++p) {
      depthwise_pixels<1>(row, p);
    }
  }
  apply_to_pixels(row.function, row.output, row.output_step, row.pixels, row.channels);
}

// --- pooling ---------------------------------------------------------------------------------

template <class F>  // folds f over the window of each channel, then stores finish(result)
SBCNN_INLINE void pool(const PoolPixel& a, float start, F f, float scale) {
  const Packet factor = broadcast(scale);
  for (int c = 0; c < a.channels; c += kLanes) {
    const int n = a.channels - c < kLanes ? a.channels - c : kLanes;
    Packet result = broadcast(start);
    for (int i = 0; i < a.rows; ++i) {
      const float* x = a.input + i * a.row_step + c;
      for (int j = 0; j < a.columns; ++j, x += a.column_step) {
        result = f(result, n == kLanes ? load(x) : load(x, n));
      }
    }
    result = mul(result, factor);
    if (n == kLanes) {
      store(a.output + c, result);
    } else {
      store(a.output + c, result, n);
    }
  }
}

void max_pool(const PoolPixel& a) {
  pool(
      a, -__builtin_inff(), [](Packet best, Packet x) { return max(best, x); }, 1.0f);
}

void sum_pool(const PoolPixel& a, float scale) {
  pool(
      a, 0.0f, [](Packet sum, Packet x) { return add(sum, x); }, scale);
}

constexpr Routines kRoutines = {kLanes,
                                {{kTilePixels[0][0], kTilePixels[0][1], kTilePixels[0][2],
                                  kTilePixels[0][3], kTilePixels[0][4]},
                                 {kTilePixels[1][0], kTilePixels[1][1], kTilePixels[1][2],
                                  kTilePixels[1][3], kTilePixels[1][4]}},
                                conv_strip,
                                winograd_input<2>,
                                winograd_output<2>,
                                winograd_input<4>,
                                winograd_output<4>,
                                depthwise_row,
                                max_pool,
                                sum_pool,
                                apply,
                                scale_shift,
                                add_arrays,
                                mul_arrays};

}  // namespace

const Routines& routines() {
  return kRoutines;
}

}  // namespace sbcnn::kernels::SBCNN_ISA
