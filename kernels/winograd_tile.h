// Winograd's transforms of one tile: 3x3 convolution of stride 1 by F(2x2, 3x3) or F(4x4, 3x3)
// (Lavin and Gray, 'Fast Algorithms for Convolutional Neural Networks', CVPR 2016, section 4).
//
// A tile of N x N inputs (N = outputs + 2) becomes N x N numbers B^T d B, one for each frequency;
// at each frequency channels are mixed by a matrix product; A^T m A brings outputs x outputs
// results back. Both transforms apply a one-dimensional one to all columns, then to all rows.
//
// F(4x4) interpolates at 0, +-sqrt(1/2), +-sqrt(2) and infinity. With the usual 0, +-1, +-2 its
// largest rounding errors are 2.5 to 4 times as large. weights transform: winograd.cc.
#pragma once

#include "kernels/packet.h"
#include "kernels/routines.h"

namespace sbcnn::kernels::SBCNN_ISA {

inline constexpr float kSqrtHalf = 0.70710678118654752f, kSqrtTwo = 1.41421356237309505f;

SBCNN_INLINE Packet subtract(Packet a, Packet b) {
  return packets::psub(a, b);
}
SBCNN_INLINE Packet multiply_add(float a, Packet b, Packet c) {
  return multiply_add(broadcast(a), b, c);
}

// t = B^T d in one dimension.
template <int Outputs>
SBCNN_INLINE void transform_input(const Packet (&d)[Outputs + 2], Packet (&t)[Outputs + 2]) {
  if constexpr (Outputs == 2) {
    t[0] = subtract(d[0], d[2]);
    t[1] = add(d[1], d[2]);
    t[2] = subtract(d[2], d[1]);
    t[3] = subtract(d[1], d[3]);
  } else {
    t[0] = multiply_add(-2.5f, d[2], add(d[0], d[4]));
    const Packet even1 = multiply_add(-2.0f, d[2], d[4]), odd1 = multiply_add(-2.0f, d[1], d[3]);
    t[1] = multiply_add(kSqrtHalf, odd1, even1);
    t[2] = multiply_add(-kSqrtHalf, odd1, even1);
    const Packet even2 = multiply_add(-0.5f, d[2], d[4]), odd2 = multiply_add(-0.5f, d[1], d[3]);
    t[3] = multiply_add(kSqrtTwo, odd2, even2);
    t[4] = multiply_add(-kSqrtTwo, odd2, even2);
    t[5] = multiply_add(-2.5f, d[3], add(d[1], d[5]));
  }
}

// y = A^T m in one dimension.
template <int Outputs>
SBCNN_INLINE void transform_output(const Packet (&m)[Outputs + 2], Packet (&y)[Outputs]) {
  if constexpr (Outputs == 2) {
    y[0] = add(add(m[0], m[1]), m[2]);
    y[1] = subtract(subtract(m[1], m[2]), m[3]);
  } else {
    const Packet sum1 = add(m[1], m[2]), difference1 = subtract(m[1], m[2]);
    const Packet sum2 = add(m[3], m[4]), difference2 = subtract(m[3], m[4]);
    y[0] = add(add(m[0], sum1), sum2);
    y[1] = multiply_add(kSqrtHalf, difference1, mul(broadcast(kSqrtTwo), difference2));
    y[2] = multiply_add(2.0f, sum2, mul(broadcast(0.5f), sum1));
    y[3] = multiply_add(kSqrtHalf / 2, difference1, multiply_add(2 * kSqrtTwo, difference2, m[5]));
  }
}

// Calls f(c, n) for the vectors of `channels` channels: n lanes that begin at c. The last vector
// overlaps the one before rather than being partial.
template <class F>
SBCNN_INLINE void for_vectors(int channels, const F& f) {
  if (channels < kLanes) {
    f(0, channels);
    return;
  }
  for (int c = 0; c < channels; c += kLanes) {
    f(c + kLanes <= channels ? c : channels - kLanes, kLanes);
  }
}
SBCNN_INLINE Packet load_some(const float* p, int n) {
  return n == kLanes ? load(p) : load(p, n);
}
SBCNN_INLINE void store_some(float* p, Packet v, int n) {
  if (n == kLanes) {
    store(p, v);
  } else {
    store(p, v, n);
  }
}

// One vector of channels. Inputs beyond `rows` x `columns` count as zero if not `Whole`.
template <int Outputs, bool Whole>
SBCNN_INLINE void transform_input_vector(const WinogradInput& a, const float* input, int rows,
                                         int columns, float* to, int n) {
  constexpr int N = Outputs + 2;
  SBCNN_UNROLL
  for (int y = 0; y < N; ++y) {
    SBCNN_UNROLL
    for (int x = 0; x < N; ++x) {
      __builtin_prefetch(to + (y * N + x) * a.frequency_step, 1);
    }
  }
  Packet columns_done[N][N];  // [column][frequency]
  SBCNN_UNROLL
  for (int x = 0; x < N; ++x) {
    Packet d[N];
    SBCNN_UNROLL
    for (int y = 0; y < N; ++y) {
      const float* p = input + y * a.row_step + x * a.column_step;
      d[y] = Whole || (y < rows && x < columns) ? load_some(p, n) : zero();
    }
    transform_input<Outputs>(d, columns_done[x]);
  }
  SBCNN_UNROLL
  for (int y = 0; y < N; ++y) {
    Packet d[N], t[N];
    SBCNN_UNROLL
    for (int x = 0; x < N; ++x) {
      d[x] = columns_done[x][y];
    }
    transform_input<Outputs>(d, t);
    SBCNN_UNROLL
    for (int x = 0; x < N; ++x) {
      store_some(to + (y * N + x) * a.frequency_step, t[x], n);
    }
  }
}

template <int Outputs>
void winograd_input(const WinogradInput& a) {
  constexpr int N = Outputs + 2;
  for (int i = 0; i < a.tiles; ++i) {
    const int row = (a.first_tile + i) / a.tiles_per_row * Outputs;
    const int column = (a.first_tile + i) % a.tiles_per_row * Outputs;
    const float* input = a.input + row * a.row_step + column * a.column_step;
    float* to = a.output + i * a.channels;
    const int rows = a.rows - row, columns = a.columns - column;
    if (rows >= N && columns >= N) {
      for_vectors(a.channels, [&](int c, int n) {
        transform_input_vector<Outputs, true>(a, input + c, N, N, to + c, n);
      });
    } else {
      for_vectors(a.channels, [&](int c, int n) {
        transform_input_vector<Outputs, false>(a, input + c, rows, columns, to + c, n);
      });
    }
  }
}

// One vector of channels; only rows x columns of the results are there to be written.
template <int Outputs>
SBCNN_INLINE void transform_output_vector(const WinogradOutput& a, const float* input,
                                          const float* bias, const float* residual, float* output,
                                          int rows, int columns, int n) {
  constexpr int N = Outputs + 2;
  SBCNN_UNROLL
  for (int y = 0; y < Outputs; ++y) {
    SBCNN_UNROLL
    for (int x = 0; x < Outputs; ++x) {
      __builtin_prefetch(output + y * a.row_step + x * a.column_step, 1);
    }
  }
  Packet columns_done[N][Outputs];
  SBCNN_UNROLL
  for (int x = 0; x < N; ++x) {
    Packet m[N];
    SBCNN_UNROLL
    for (int y = 0; y < N; ++y) {
      m[y] = load_some(input + (y * N + x) * a.frequency_step, n);
    }
    transform_output<Outputs>(m, columns_done[x]);
  }
  const Packet lower = broadcast(a.lower), upper = broadcast(a.upper), b = load_some(bias, n);
  SBCNN_UNROLL
  for (int y = 0; y < Outputs; ++y) {
    Packet m[N], t[Outputs];
    SBCNN_UNROLL
    for (int x = 0; x < N; ++x) {
      m[x] = columns_done[x][y];
    }
    transform_output<Outputs>(m, t);
    if (y >= rows) {
      continue;
    }
    SBCNN_UNROLL
    for (int x = 0; x < Outputs; ++x) {
      if (x >= columns) {
        continue;
      }
      Packet v = add(t[x], b);
      if (residual != nullptr) {
        v = add(v, load_some(residual + y * a.residual_row_step + x * a.residual_column_step, n));
      }
      v = min(max(v, lower), upper);
      store_some(output + y * a.row_step + x * a.column_step, v, n);
    }
  }
}

template <int Outputs>
void winograd_output(const WinogradOutput& a) {
  for (int i = 0; i < a.tiles; ++i) {
    const int row = (a.first_tile + i) / a.tiles_per_row * Outputs;
    const int column = (a.first_tile + i) % a.tiles_per_row * Outputs;
    const int rows = a.rows - row < Outputs ? a.rows - row : Outputs;
    const int columns = a.columns - column < Outputs ? a.columns - column : Outputs;
    const float* input = a.input + i * a.input_step;
    const std::ptrdiff_t at = row * a.residual_row_step + column * a.residual_column_step;
    const float* residual = a.residual == nullptr ? nullptr : a.residual + at;
    float* output = a.output + row * a.row_step + column * a.column_step;
    for_vectors(a.channels, [&](int c, int n) {
      transform_output_vector<Outputs>(a, input + c, a.bias + c,
                                       residual == nullptr ? nullptr : residual + c, output + c,
                                       rows, columns, n);
    });
  }
}

}  // namespace sbcnn::kernels::SBCNN_ISA
