// Direct convolution: implicit matrix products in tiles (see tile.h), here split into panels of
// output channels and strips of rows.
//
// In half floats (half_tile.h), weights are packed as such, and each call first rounds its input to
// halves, in scratch memory.
#include <algorithm>
#include <cmath>
#include <type_traits>

#include "core/page_array.h"
#include "kernels/layers.h"
#include "kernels/panels.h"

namespace sbcnn::kernels {
namespace {

// Panels follow each other strip by strip while all their weights stay in the second level cache;
// beyond, each panel walks over the whole image before the next one.
constexpr std::size_t kCachedWeights = 384 * 1024 / sizeof(float);
template <class Element>
constexpr std::size_t kNearWeights = 24 * 1024 / sizeof(Element);
constexpr int kMostPasses = 32;  // over a panel; with more, fetching its weights is a small matter
template <class Element>
constexpr std::ptrdiff_t kFetchedAhead = 128 * 1024 / sizeof(Element);
constexpr int kPixelsPerSpan = 56;  // about; pixels of a value without gaps that count as one row

// Blocks narrower than a vector become one wider block whose foreign weights are zero: a vector
// has to be multiplied in any case, and so the runs of input are longer.
std::vector<Block> merge_narrow(const std::vector<Block>& blocks, int lanes) {
  std::vector<Block> merged;
  for (const Block& b : blocks) {
    if (!merged.empty() && merged.back().inputs.end == b.inputs.begin &&
        merged.back().outputs.end == b.outputs.begin &&
        b.outputs.end - merged.back().outputs.begin <= lanes) {
      merged.back().inputs.end = b.inputs.end;
      merged.back().outputs.end = b.outputs.end;
    } else {
      merged.push_back(b);
    }
  }
  return merged;
}

// Runs of contiguous input under the kernel, for one output pixel and one row of the kernel.
struct Segments {
  int columns = 1, length = 0;
};

// Floats that an array of elements takes.
template <class Element>
constexpr std::size_t floats_of(std::size_t elements) {
  return (elements * sizeof(Element) + sizeof(float) - 1) / sizeof(float);
}

// Element: what is multiplied, float or Half.
template <class Element>
class DirectConv {
 public:
  DirectConv(const KernelSpec& spec, const Weights& weights, Context context)
      : DirectConv(spec, context) {
    weights_ = context_.weights.take(floats_of<Element>(weight_size_));
    bias_ = PageArray<float>(bias_size_);
    pack(spec, weights);
    context_.scratch.reserve(scratch_floats());
  }

  static KernelMemory memory(const KernelSpec& spec, Context context) {
    const DirectConv sized(spec, context);
    return {(floats_of<Element>(sized.weight_size_) + sized.bias_size_) * sizeof(float),
            Scratch::rounded(sized.scratch_floats()) * sizeof(float)};
  }

  void operator()(Inputs inputs, Outputs outputs) const;
  std::span<const float> packed_weights() const { return {weights_.data(), weights_.size()}; }

 private:
  struct Job;  // one call: views and how they are walked over
  static constexpr bool kHalf = std::is_same_v<Element, Half>;

  DirectConv(const KernelSpec& spec, Context context)
      : conv_(std::get<Conv>(spec.layer)),
        function_(function_of(conv_.activation)),
        context_(context),
        pieces_(pieces_of(spec)),
        border_(required_border(spec.layer, spec.inputs[0])),
        input_(spec.inputs[0]),
        panels_(cut(spec)) {
    place();
  }

  // The micro-kernel.
  const auto& routines() const {
    if constexpr (kHalf) {
      return *context_.halves;
    } else {
      return context_.routines;
    }
  }
  int lanes() const { return routines().lanes; }
  static bool is_pointwise(const Conv& c) {
    return c.kernel == Extent{} && c.stride == Extent{} && c.pads.empty();
  }
  std::vector<Panel> cut(const KernelSpec&) const;
  Segments segments(const Panel&) const;
  void place();  // the panels' weights and bias
  void pack(const KernelSpec&, const Weights&);
  void pack_scale(const Panel&, const KernelSpec&, const Weights&);
  Element* pack_segment_of(const Panel&, Segments, Element* to, const auto& weight) const;
  View<const Element> elements(const View<const float>& input) const;
  void run_strip(const Job&, const Panel&, int number, Range strips) const;
  std::size_t panel_size(const Panel& p, Segments s) const {
    return std::size_t(conv_.kernel.height) * std::size_t(s.columns) *
           segment_size(p, lanes(), s.length);
  }
  Element* weights() { return reinterpret_cast<Element*>(weights_.data()); }
  const Element* weights() const { return reinterpret_cast<const Element*>(weights_.data()); }
  // Behind a panel's bias.
  std::size_t scale_of(const Panel& p) const { return p.bias + bias_floats(p, lanes()); }
  // For the inputs, unless they can be read as they are.
  std::size_t scratch_floats() const {
    return kHalf ? floats_of<Element>(with_border(input_, border_).size()) : 0;
  }

  Conv conv_;
  Function function_;
  Context context_;
  std::vector<Range> pieces_;
  Border border_;
  Shape input_;
  std::vector<Panel> panels_;
  std::size_t weight_size_ = 0, bias_size_ = 0;
  WeightMemory::Block weights_;
  PageArray<float> bias_;
};

template <class Element>
std::vector<Panel> DirectConv<Element>::cut(const KernelSpec& spec) const {
  const Conv& conv = std::get<Conv>(spec.layer);
  int pixels = spec.output.width, rows = spec.output.height;
  if (is_pointwise(conv)) {
    pixels = std::min(kPixelsPerSpan, int(spec.output.pixels()));
    rows = 1;
  }
  std::vector<Panel> panels;
  for (const Block& block : merge_narrow(spec.blocks, lanes())) {
    for (const Panel& p : cut_into_panels(routines(), block, pieces_, pixels, rows)) {
      panels.push_back(p);
    }
  }
  return panels;
}

// Whole rows of the kernel are contiguous where a panel reads all channels of neighbouring pixels.
template <class Element>
Segments DirectConv<Element>::segments(const Panel& panel) const {
  const int channels = panel.inputs.size();
  return conv_.dilation.width == 1 && channels == input_.channels
             ? Segments{1, channels * conv_.kernel.width}
             : Segments{conv_.kernel.width, channels};
}

template <class Element>
void DirectConv<Element>::place() {
  for (Panel& p : panels_) {
    p.weights = weight_size_;
    p.bias = bias_size_;
    weight_size_ += panel_size(p, segments(p));
    bias_size_ += bias_floats(p, lanes()) * (kHalf ? 2 : 1);
  }
}

template <class Element>
void DirectConv<Element>::pack(const KernelSpec& spec, const Weights& weights) {
  const int channels = channels_read(spec);
  std::vector<Range> read(std::size_t(spec.output.channels));  // input channels, by output channel
  for (const Block& b : spec.blocks) {
    std::fill(read.begin() + b.outputs.begin, read.begin() + b.outputs.end, b.inputs);
  }
  for (const Panel& panel : panels_) {
    pack_bias(panel, lanes(), weights.bias, bias_.data() + panel.bias);
    if (kHalf) {
      pack_scale(panel, spec, weights);
    }
    const Segments s = segments(panel);
    const int wide = panel.inputs.size();
    Element* to = this->weights() + panel.weights;
    for (int row = 0; row < conv_.kernel.height; ++row) {
      for (int segment = 0; segment < s.columns; ++segment) {
        to = pack_segment_of(panel, s, to, [&](int tap, int output) {
          const int o = panel.outputs.begin + output;
          const int column = segment + tap / wide;
          const int c = panel.inputs.begin + tap % wide - read[std::size_t(o)].begin;
          if (c < 0 || c >= channels) {
            return 0.0f;
          }
          const std::size_t at = (std::size_t(o) * std::size_t(channels) + std::size_t(c)) *
                                     std::size_t(conv_.kernel.height) +
                                 std::size_t(row);
          return weights.weight[at * std::size_t(conv_.kernel.width) + std::size_t(column)];
        });
      }
    }
  }
}

// The scale of an output channel is the power of two that makes its weights, divided by it, as
// large as kMostWeightPerFold allows.
template <class Element>
void DirectConv<Element>::pack_scale(const Panel& panel, const KernelSpec& spec,
                                     const Weights& weights) {
  const std::size_t taps = weights.weight.size() / std::size_t(spec.output.channels);
  for (int o = 0; o < panel.outputs.size(); ++o) {
    const float* w = weights.weight.data() + std::size_t(panel.outputs.begin + o) * taps;
    double all = 0, largest = 0;
    for (std::size_t i = 0; i < taps; ++i) {
      all += std::abs(double(w[i]));
      largest = std::max(largest, std::abs(double(w[i])));
    }
    int exponent = 0;
    std::frexp(std::min(all, kTapsPerFold * largest) / double(kMostWeightPerFold), &exponent);
    bias_.data()[scale_of(panel) + std::size_t(o)] =
        std::ldexp(1.0f, std::clamp(exponent, -125, 126));
  }
}

template <class Element>
Element* DirectConv<Element>::pack_segment_of(const Panel& panel, Segments s, Element* to,
                                              const auto& weight) const {
  if constexpr (kHalf) {
    const float* scale = bias_.data() + scale_of(panel);
    std::vector<float> packed(segment_size(panel, lanes(), s.length));
    pack_segment(panel, lanes(), s.length, packed.data(),
                 [&](int tap, int o) { return weight(tap, o) / scale[o]; });
    routines().to_half(packed.data(), to, packed.size());
    return to + packed.size();
  } else {
    return pack_segment(panel, lanes(), s.length, to, weight);
  }
}

// The input as elements, with the border of zeros that the kernel reads.
template <class Element>
View<const Element> DirectConv<Element>::elements(const View<const float>& input) const {
  if constexpr (kHalf) {
    const auto to =
        View<Half>::inside(reinterpret_cast<Half*>(context_.scratch.data()), input_, border_);
    const std::size_t row = to.row_stride();
    const int rows = input_.height + border_.top + border_.bottom;
    for_rows(context_, rows, row * std::size_t(rows), [&](int y) {
      routines().to_half(input.at(y - border_.top, -border_.left),
                         to.at(y - border_.top, -border_.left), row);
    });
    return to;
  } else {
    return input;
  }
}

// A 1 x 1 convolution of values without gaps between rows sees one long row and cuts it into
// spans of its own; all others go by rows of the output.
template <class Element>
struct DirectConv<Element>::Job {
  View<const Element> input;
  View<const float> residual;  // residual.data() is null if there is none
  Outputs outputs;
  bool flat = false;
  int rows, pixels, last_pixels;  // of a row, and of the last row
  int rows_per_strip = 1;         // two where one is too narrow to fill a tile

  Job(const Conv& conv, int most_pixels, const View<const Element>& x, Inputs inputs, Outputs out)
      : input(x),
        outputs(out),
        rows(out[0].shape().height),
        pixels(out[0].shape().width),
        last_pixels(pixels) {
    if (inputs.size() == 2) {
      residual = inputs[1];
    }
    flat = is_pointwise(conv) && without_gaps(input) && without_gaps(residual) &&
           std::ranges::all_of(out, [](const auto& v) { return without_gaps(v); });
    if (flat) {
      const int all = rows * pixels;
      pixels = std::min(all, std::max(1, kPixelsPerSpan / most_pixels) * most_pixels);
      rows = (all + pixels - 1) / pixels;
      last_pixels = all - (rows - 1) * pixels;
    } else if (pixels <= most_pixels / 2) {
      rows_per_strip = 2;
    }
  }

  // An odd first row stands alone, so that the others go in pairs.
  int strips() const { return (rows + rows_per_strip - 1) / rows_per_strip; }
  Range strip(int i) const {
    const int odd = rows_per_strip == 2 ? rows % 2 : 0;
    return {std::max(0, i * rows_per_strip - odd), (i + 1) * rows_per_strip - odd};
  }
  // The first pixel of a row, of an input or an output.
  template <class T>
  T* row_of(const View<T>& v, int y) const {
    return flat ? v.data() + std::ptrdiff_t(y) * pixels * std::ptrdiff_t(v.pixel_stride())
                : v.at(y, 0);
  }

 private:
  template <class T>
  static bool without_gaps(const View<T>& v) {
    return v.row_stride() == std::size_t(v.shape().width) * v.pixel_stride();
  }
};

// Strip number `number` of those that the thread takes the panel through.
template <class Element>
void DirectConv<Element>::run_strip(const Job& job, const Panel& panel, int number,
                                    Range strips) const {
  const Range rows = job.strip(number);
  const View<const Element>& x = job.input;
  const Segments segment = segments(panel);
  const int top = rows.begin * conv_.stride.height - conv_.pads.top;
  // Rows of the kernel that see nothing but border are left out.
  const auto inside = [&](int y) {
    return job.flat ? Taps{0, 1}
                    : taps_inside(y * conv_.stride.height - conv_.pads.top, conv_.dilation.height,
                                  conv_.kernel.height, x.shape().height);
  };
  const Taps upper = inside(rows.begin), lower = inside(rows.end - 1);
  const int first = std::min(upper.first, lower.first), last = std::max(upper.last, lower.last);
  const std::size_t skipped = std::size_t(first) * std::size_t(segment.columns) *
                              segment_size(panel, lanes(), segment.length);
  const View<float>& out = job.outputs[std::size_t(panel.piece)];
  ConvStrip<Element> strip{};
  strip.input = job.flat ? job.row_of(x, rows.begin)
                         : x.at(top + first * conv_.dilation.height, -conv_.pads.left);
  strip.input += panel.inputs.begin;
  strip.input_step = std::ptrdiff_t(x.pixel_stride()) * conv_.stride.width;
  strip.input_row_step = std::ptrdiff_t(x.row_stride()) * conv_.stride.height;
  strip.segment_rows = last - first;
  strip.segment_columns = segment.columns;
  strip.segment_length = segment.length;
  strip.segment_row_step = std::ptrdiff_t(x.row_stride()) * conv_.dilation.height;
  strip.segment_column_step = std::ptrdiff_t(x.pixel_stride()) * conv_.dilation.width;
  strip.weights = weights() + panel.weights + skipped;
  strip.bias = bias_.data() + panel.bias;
  strip.scale = kHalf ? bias_.data() + scale_of(panel) : nullptr;
  strip.residual = job.residual.data() == nullptr
                       ? nullptr
                       : job.row_of(job.residual, rows.begin) + panel.outputs.begin;
  strip.residual_step = std::ptrdiff_t(job.residual.pixel_stride());
  strip.residual_row_step = std::ptrdiff_t(job.residual.row_stride());
  strip.output =
      job.row_of(out, rows.begin) + panel.outputs.begin - pieces_[std::size_t(panel.piece)].begin;
  strip.output_step = std::ptrdiff_t(out.pixel_stride());
  strip.output_row_step = std::ptrdiff_t(out.row_stride());
  const int tiles = tiles_of(routines(), panel, job.pixels * job.rows_per_strip);
  const int passes = strips.size() * tiles;
  strip.weights_near = weight_size_ <= kNearWeights<Element>;
  if (passes <= kMostPasses) {
    // Behind the last panel lie the weights of the next layer. A single pass over a large panel
    // fetches from itself: the next panel would push it out of the cache.
    const std::ptrdiff_t size = std::ptrdiff_t(panel_size(panel, segment));
    const std::ptrdiff_t ahead = passes == 1 ? std::min(size, kFetchedAhead<Element>) : size;
    strip.fetch_evenly(weights() + panel.weights + ahead, size, (number - strips.begin) * tiles,
                       passes);
  } else if (strip.weights_near && job.flat && rows.end < job.rows) {
    // Then what is wanted next is the input of the next strip.
    const int at = int(&panel - panels_.data()), panels = int(panels_.size());
    strip.fetch_evenly(job.row_of(x, rows.end),
                       std::ptrdiff_t(job.pixels) * std::ptrdiff_t(x.pixel_stride()), at * tiles,
                       panels * tiles);
  }
  strip.rows = rows.size();
  strip.pixels = rows.end == job.rows ? job.last_pixels : job.pixels;
  strip.vectors = panel.vectors;
  strip.paired = panel.paired;
  strip.tail = panel.tail;
  strip.function = function_;
  strip.plain = job.residual.data() == nullptr && function_.is_identity();
  routines().conv_strip(strip);
  if (function_.kind != Function::clamp) {
    for (int y = 0; y < strip.rows; ++y) {
      for (int p = 0; p < strip.pixels; ++p) {
        float* pixel = strip.output + y * strip.output_row_step + p * strip.output_step;
        context_.routines.apply(function_, pixel, pixel, std::size_t(panel.outputs.size()));
      }
    }
  }
}

template <class Element>
void DirectConv<Element>::operator()(Inputs inputs, Outputs outputs) const {
  const Panel& widest = panels_.front();
  const Job job(conv_, routines().tile_pixels[widest.paired][widest.vectors], elements(inputs[0]),
                inputs, outputs);
  const int panels = int(panels_.size()), strips = job.strips();
  const std::size_t work = weight_size_ * outputs[0].shape().pixels();
  if (weights_.size() <= kCachedWeights) {
    const int groups = shares(context_, strips, work);
    context_.pool.parallel_for(groups, [&](int task) {
      const Range mine = share(strips, task, groups);
      for (int s = mine.begin; s < mine.end; ++s) {
        for (const Panel& panel : panels_) {
          run_strip(job, panel, s, mine);
        }
      }
    });
    return;
  }
  // A task is a panel, or a part of its strips where there are few panels. What a thread has for
  // its own are panels that follow each other, for their weights are fetched ahead.
  const int wanted = shares(context_, strips * panels, work);
  const int groups = std::min(strips, (wanted + panels - 1) / panels);
  context_.pool.parallel_for(panels * groups, [&](int task) {
    const Range rows = share(strips, task % groups, groups);
    for (int s = rows.begin; s < rows.end; ++s) {
      run_strip(job, panels_[std::size_t(task / groups)], s, rows);
    }
  });
}

}  // namespace

std::unique_ptr<ConvKernel> make_direct(const KernelSpec& spec, const Weights& weights,
                                        Context context) {
  if (context.halves != nullptr) {
    return make_conv_kernel("direct fp16", DirectConv<Half>(spec, weights, context));
  }
  return make_conv_kernel(name_of(ConvAlgorithm::direct),
                          DirectConv<float>(spec, weights, context));
}

KernelMemory direct_memory(const KernelSpec& spec, Context context) {
  return context.halves != nullptr ? DirectConv<Half>::memory(spec, context)
                                   : DirectConv<float>::memory(spec, context);
}

}  // namespace sbcnn::kernels
