// The seam between code that is compiled once and code that is compiled per instruction set.
//
// One binary holds the same source for several instruction sets. If two of these object files
// both emitted, say, std::vector<float>::size(), the linker would keep one, maybe the AVX-512
// one, and a machine without AVX-512 would die in innocent code. Hence: everything per-ISA lives
// in the namespace of its ISA, includes nothing of ours but this header and others that are
// compiled per ISA, and only plain numbers and raw pointers cross over. Member functions of structs
// here are for code that is compiled once.
//
// Strides and steps count elements, which are floats unless something else is said.
#pragma once

#include <cstddef>
#include <limits>

namespace sbcnn::kernels {

// Element-wise functions. `clamp` (lower = alpha, upper = beta) is none, relu and clip in one.
struct Function {
  enum Kind : int { clamp, leaky_relu, sigmoid, hard_sigmoid, hard_swish };
  Kind kind;
  float alpha, beta;

  bool is_identity() const {
    return kind == clamp && alpha == -std::numeric_limits<float>::infinity() &&
           beta == std::numeric_limits<float>::infinity();
  }
};

// A half float (IEEE binary16), by its bits: most compilers have no name for it, and all can move
// it.
enum class Half : unsigned short {};

// Taps after which a tile fetches what it will need (tile.h).
template <class Element>
inline constexpr int kTapsPerFetch = 16 / int(sizeof(Element));

inline constexpr float kLargestHalf = 65504;
// Products that are summed up in half floats before floats take over (half_tile.h), and what their
// weights' absolute values may sum up to, so that no such sum overflows, however it is rounded.
inline constexpr int kTapsPerFold = 64;
inline constexpr float kMostWeightPerFold = 0.5f;

// A strip: rows x pixels output pixels times one panel of output channels. Inputs and weights are
// `Element`s, float or Half, everything else is floats. A panel is up to four vectors of output
// channels, and maybe a paired one (see tile.h) of up to lanes / 2 channels. Its weights lie packed
// by segment. A segment is a run of input that is contiguous in memory: a kernel row of whole
// pixels, or the channels of one pixel. Segments follow each other in the order (row of segments,
// segment); a segment's weights are [tap][vector][lane], and in a paired panel
// [two taps]([tap][vector][lane], [paired channel][tap]).
template <class Element>
struct ConvStrip {
  const Element* input;  // first tap of the first pixel
  std::ptrdiff_t input_step, input_row_step;
  int segment_rows, segment_columns, segment_length;
  std::ptrdiff_t segment_row_step, segment_column_step;

  const Element* weights;  // aligned to a vector
  const float* bias;       // vectors * lanes, aligned; then, if paired, [channel](bias, 0)
  const float* scale;      // Half: what each channel's weights were divided by, laid out as `bias`
  const float* residual;   // null if none
  std::ptrdiff_t residual_step, residual_row_step;
  float* output;
  std::ptrdiff_t output_step, output_row_step;

  bool weights_near;  // in the first level cache
  // Weights that will be wanted next. Each tile fetches its share of them, and more where the share
  // is small, into the second level cache: `upcoming_lines` lines every kTapsPerFetch taps, the
  // strip's first tile from `upcoming` on, the others `upcoming_share` elements further each.
  const Element* upcoming;
  std::ptrdiff_t upcoming_share;
  int upcoming_lines;

  int rows, pixels;  // pixels: of a row
  int vectors;       // without the paired one
  bool paired;
  int tail;           // channels of the last vector, the paired one included; nothing is written
                      // beyond them
  Function function;  // if it is a clamp; others are applied to the finished output (see `apply`)
  bool plain;         // no residual and no clamp

  // `size` weights from `from` on are wanted once `passes` tiles have read these; the strip's first
  // tile is number `pass` of them. The segments must have been set.
  void fetch_evenly(const Element* from, std::ptrdiff_t size, int pass, int passes) {
    const std::ptrdiff_t line = std::ptrdiff_t(64 / sizeof(Element));
    const std::ptrdiff_t steps =
        std::ptrdiff_t(segment_rows) * segment_columns * (segment_length / kTapsPerFetch<Element>);
    upcoming_share = (size + passes - 1) / passes;
    upcoming_lines = steps == 0 ? 0 : int((upcoming_share + line * steps - 1) / (line * steps));
    upcoming = from + upcoming_share * pass;
  }
};

// Winograd's input transform of `tiles` neighbouring tiles, counted row by row. Frequency f of tile
// i goes to output + f * frequency_step + i * channels.
struct WinogradInput {
  const float* input;  // of tile 0's first tap
  std::ptrdiff_t row_step, column_step;
  int rows, columns;  // that may be read from there on; beyond, input counts as zero
  int channels;
  int first_tile, tiles, tiles_per_row;
  float* output;
  std::ptrdiff_t frequency_step;
};

// The way back: frequency f of tile i comes from input + f * frequency_step + i * input_step. Bias,
// residual and clamp are applied, and what lies beyond rows x columns is left out.
struct WinogradOutput {
  const float* input;
  std::ptrdiff_t input_step, frequency_step;
  int channels;
  int first_tile, tiles, tiles_per_row;
  const float* bias;
  const float* residual;  // of tile 0's first pixel; null if none
  std::ptrdiff_t residual_row_step, residual_column_step;
  float* output;  // of tile 0's first pixel
  std::ptrdiff_t row_step, column_step;
  int rows, columns;  // of the output
  float lower, upper;
};

// One row of a convolution where output channel c reads input channel c alone.
// weights: [kernel_rows][kernel_columns] rows that lie weight_step apart.
struct DepthwiseRow {
  const float* input;
  std::ptrdiff_t input_step;
  int kernel_rows, kernel_columns;
  std::ptrdiff_t kernel_row_step, kernel_column_step;
  const float* weights;
  std::ptrdiff_t weight_step;
  const float* bias;
  const float* residual;
  std::ptrdiff_t residual_step;
  float* output;
  std::ptrdiff_t output_step;
  int pixels, channels;
  Function function;
};

// A window of rows x columns pixels reduced to one, channel by channel.
struct PoolPixel {
  const float* input;
  std::ptrdiff_t row_step, column_step;
  int rows, columns;
  float* output;
  int channels;
};

// What the tiles of a micro-kernel look like.
struct TileShapes {
  int lanes;  // of a vector of output channels
  // Most pixels of a tile, by vectors, of panels without and with a paired vector; 0: no such tile.
  int tile_pixels[2][5];
};

struct Routines : TileShapes {
  void (*conv_strip)(const ConvStrip<float>&);
  void (*winograd2_input)(const WinogradInput&);
  void (*winograd2_output)(const WinogradOutput&);
  void (*winograd4_input)(const WinogradInput&);
  void (*winograd4_output)(const WinogradOutput&);
  void (*depthwise_row)(const DepthwiseRow&);
  void (*max_pool)(const PoolPixel&);               // -infinity where the window is empty
  void (*sum_pool)(const PoolPixel&, float scale);  // scale * sum

  // Element-wise over n floats; y may be x, a or b.
  void (*apply)(const Function&, const float* x, float* y, std::size_t n);
  void (*scale_shift)(const float* x, const float* scale, const float* shift, float* y,
                      std::size_t n);
  void (*add)(const float* a, const float* b, float* y, std::size_t n);
  void (*mul)(const float* a, const float* b, float* y, std::size_t n);
};

// Convolution in half floats (half_tile.h).
struct HalfRoutines : TileShapes {
  void (*conv_strip)(const ConvStrip<Half>&);
  // Rounds n floats. Finite numbers and infinities beyond the range of a half become the largest
  // half, NaN stays NaN.
  void (*to_half)(const float* x, Half* y, std::size_t n);
};

namespace sse2 {
const Routines& routines();
}
namespace avx2 {
const Routines& routines();
}
namespace avx512 {
const Routines& routines();
}
namespace neon {
const Routines& routines();
}
namespace neon_fp16 {
const HalfRoutines& routines();
}

// ContractViolation for an ISA that this binary has no code for. Whether the machine can run it
// is the caller's question to available_isas().
enum class Isa;
const Routines& routines(Isa);
// Null where the ISA has none, or this machine cannot run them.
const HalfRoutines* half_routines(Isa);

}  // namespace sbcnn::kernels
