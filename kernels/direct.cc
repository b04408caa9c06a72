// Direct convolution: implicit matrix products in tiles (see tile.h), here split into panels of
// output channels and strips of rows.
#include <algorithm>

#include "kernels/layers.h"
#include "kernels/packed_floats.h"
#include "kernels/panels.h"

namespace sbcnn::kernels {
namespace {

// Panels follow each other strip by strip while all their weights stay in the second level cache;
// beyond, each panel walks over the whole image before the next one.
constexpr std::size_t kCachedWeights = 384 * 1024 / sizeof(float);
constexpr int kMostPasses = 32;  // over a panel; with more, fetching its weights is a small matter
constexpr std::ptrdiff_t kFetchedAhead = 128 * 1024 / sizeof(float);
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

class DirectConv {
 public:
  DirectConv(const KernelSpec& spec, const Weights& weights, Context context)
      : conv_(std::get<Conv>(spec.layer)),
        function_(function_of(conv_.activation)),
        context_(context),
        pieces_(pieces_of(spec)) {
    panels_ = cut(spec, context);
    weights_ = context_.weights.take(place(spec));
    bias_ = PackedFloats(bias_size());
    pack(spec, weights);
  }

  static std::size_t weight_bytes(const KernelSpec& spec, Context context) {
    DirectConv sized(spec, context);
    return (sized.place(spec) + sized.bias_size()) * sizeof(float);
  }

  void operator()(Inputs inputs, Outputs outputs) const;
  std::span<const float> packed_weights() const { return {weights_.data(), weights_.size()}; }

 private:
  struct Job;  // one call: views and how they are walked over

  DirectConv(const KernelSpec& spec, Context context)
      : conv_(std::get<Conv>(spec.layer)), context_(context), panels_(cut(spec, context)) {}

  static bool is_pointwise(const Conv& c) {
    return c.kernel == Extent{} && c.stride == Extent{} && c.pads.empty();
  }
  static std::vector<Panel> cut(const KernelSpec&, Context);
  Segments segments(const Panel&, int input_channels) const;
  std::size_t place(const KernelSpec&);  // the panels' weights and bias; floats of all weights
  std::size_t bias_size() const;
  void pack(const KernelSpec&, const Weights&);
  void run_strip(const Job&, const Panel&, int number, Range strips) const;
  std::size_t panel_floats(const Panel& p, Segments s) const {
    return std::size_t(conv_.kernel.height) * std::size_t(s.columns) *
           segment_floats(p, context_.routines.lanes, s.length);
  }

  Conv conv_;
  Function function_;
  Context context_;
  std::vector<Range> pieces_;
  std::vector<Panel> panels_;
  WeightMemory::Block weights_;
  PackedFloats bias_;
};

std::vector<Panel> DirectConv::cut(const KernelSpec& spec, Context context) {
  const Conv& conv = std::get<Conv>(spec.layer);
  int pixels = spec.output.width, rows = spec.output.height;
  if (is_pointwise(conv)) {
    pixels = std::min(kPixelsPerSpan, int(spec.output.pixels()));
    rows = 1;
  }
  std::vector<Panel> panels;
  for (const Block& block : merge_narrow(spec.blocks, context.routines.lanes)) {
    for (const Panel& p : cut_into_panels(context.routines, block, pieces_of(spec), pixels, rows)) {
      panels.push_back(p);
    }
  }
  return panels;
}

// Whole rows of the kernel are contiguous where a panel reads all channels of neighbouring pixels.
Segments DirectConv::segments(const Panel& panel, int input_channels) const {
  const int channels = panel.inputs.size();
  return conv_.dilation.width == 1 && channels == input_channels
             ? Segments{1, channels * conv_.kernel.width}
             : Segments{conv_.kernel.width, channels};
}

std::size_t DirectConv::place(const KernelSpec& spec) {
  const int lanes = context_.routines.lanes;
  std::size_t weights = 0, bias = 0;
  for (Panel& p : panels_) {
    const Segments s = segments(p, spec.inputs[0].channels);
    p.weights = weights;
    p.bias = bias;
    weights += panel_floats(p, s);
    bias += bias_floats(p, lanes);
  }
  return weights;
}

std::size_t DirectConv::bias_size() const {
  return panels_.back().bias + bias_floats(panels_.back(), context_.routines.lanes);
}

void DirectConv::pack(const KernelSpec& spec, const Weights& weights) {
  const int lanes = context_.routines.lanes;
  const int channels = channels_read(spec);
  std::vector<Range> read(std::size_t(spec.output.channels));  // input channels, by output channel
  for (const Block& b : spec.blocks) {
    std::fill(read.begin() + b.outputs.begin, read.begin() + b.outputs.end, b.inputs);
  }
  for (const Panel& panel : panels_) {
    pack_bias(panel, lanes, weights.bias, bias_.data() + panel.bias);
    const Segments s = segments(panel, spec.inputs[0].channels);
    const int wide = panel.inputs.size();
    float* to = weights_.data() + panel.weights;
    for (int row = 0; row < conv_.kernel.height; ++row) {
      for (int segment = 0; segment < s.columns; ++segment) {
        to = pack_segment(panel, lanes, s.length, to, [&](int tap, int output) {
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

// A 1 x 1 convolution of values without gaps between rows sees one long row and cuts it into
// spans of its own; all others go by rows of the output.
struct DirectConv::Job {
  View<const float> input, residual;  // residual.data() is null if there is none
  Outputs outputs;
  bool flat = false;
  int rows, pixels, last_pixels;  // of a row, and of the last row
  int rows_per_strip = 1;         // two where one is too narrow to fill a tile

  Job(const Conv& conv, int most_pixels, Inputs inputs, Outputs out)
      : input(inputs[0]),
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
void DirectConv::run_strip(const Job& job, const Panel& panel, int number, Range strips) const {
  const Range rows = job.strip(number);
  const View<const float>& x = job.input;
  const Segments segment = segments(panel, x.shape().channels);
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
                              segment_floats(panel, context_.routines.lanes, segment.length);
  const View<float>& out = job.outputs[std::size_t(panel.piece)];
  ConvStrip strip;
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
  strip.weights = weights_.data() + panel.weights + skipped;
  strip.bias = bias_.data() + panel.bias;
  strip.residual = job.residual.data() == nullptr
                       ? nullptr
                       : job.row_of(job.residual, rows.begin) + panel.outputs.begin;
  strip.residual_step = std::ptrdiff_t(job.residual.pixel_stride());
  strip.residual_row_step = std::ptrdiff_t(job.residual.row_stride());
  strip.output =
      job.row_of(out, rows.begin) + panel.outputs.begin - pieces_[std::size_t(panel.piece)].begin;
  strip.output_step = std::ptrdiff_t(out.pixel_stride());
  strip.output_row_step = std::ptrdiff_t(out.row_stride());
  const int tiles = tiles_of(context_.routines, panel, job.pixels * job.rows_per_strip);
  const int passes = strips.size() * tiles;
  strip.upcoming_floats = std::ptrdiff_t(panel_floats(panel, segment));
  // Behind the last panel lie the weights of the next layer. A single pass over a large panel
  // fetches from itself: the next panel would push it out of the cache.
  const std::ptrdiff_t ahead =
      passes == 1 ? std::min(strip.upcoming_floats, kFetchedAhead) : strip.upcoming_floats;
  strip.upcoming = passes <= kMostPasses ? weights_.data() + panel.weights + ahead : nullptr;
  strip.passes = passes;
  strip.pass = (number - strips.begin) * tiles;
  strip.rows = rows.size();
  strip.pixels = rows.end == job.rows ? job.last_pixels : job.pixels;
  strip.vectors = panel.vectors;
  strip.paired = panel.paired;
  strip.tail = panel.tail;
  strip.function = function_;
  strip.plain = false;
  context_.routines.conv_strip(strip);
}

void DirectConv::operator()(Inputs inputs, Outputs outputs) const {
  const Panel& widest = panels_.front();
  const Job job(conv_, context_.routines.tile_pixels[widest.paired][widest.vectors], inputs,
                outputs);
  const int panels = int(panels_.size()), strips = job.strips();
  const std::size_t work = weights_.size() * outputs[0].shape().pixels();
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
  // A task is some panels that follow each other, for their weights are fetched ahead, times some
  // strips.
  const int wanted = shares(context_, strips * panels, work);
  const int panel_groups = std::min(panels, wanted);
  const int strip_groups = std::min(strips, (wanted + panel_groups - 1) / panel_groups);
  context_.pool.parallel_for(panel_groups * strip_groups, [&](int task) {
    const Range mine = share(panels, task / strip_groups, panel_groups);
    const Range rows = share(strips, task % strip_groups, strip_groups);
    for (int p = mine.begin; p < mine.end; ++p) {
      for (int s = rows.begin; s < rows.end; ++s) {
        run_strip(job, panels_[std::size_t(p)], s, rows);
      }
    }
  });
}

}  // namespace

std::unique_ptr<ConvKernel> make_direct(const KernelSpec& spec, const Weights& weights,
                                        Context context) {
  return make_conv_kernel(ConvAlgorithm::direct, DirectConv(spec, weights, context));
}

KernelMemory direct_memory(const KernelSpec& spec, Context context) {
  return {DirectConv::weight_bytes(spec, context), 0};
}

}  // namespace sbcnn::kernels
