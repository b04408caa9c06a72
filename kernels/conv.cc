// Direct convolution: implicit matrix products in tiles (see tile.h), here split into panels of
// output channels and rows of pixels.
#include <algorithm>
#include <limits>

#include "kernels/layers.h"
#include "kernels/packed_floats.h"

namespace sbcnn::kernels {
namespace {

constexpr int kMostVectors = 4;
// Panels follow each other row by row while all their weights stay in the second level cache;
// beyond, each panel walks over the whole image before the next one.
constexpr std::size_t kCachedWeights = 384 * 1024 / sizeof(float);
constexpr int kPixelsPerSpan = 56;  // pixels of a value without gaps that count as one row

// Output channels `outputs`, at most four vectors of them, computed from channels `inputs`.
struct Panel {
  Range inputs, outputs;
  int vectors = 0, tail = 0;
  std::size_t weights = 0, bias = 0;  // offsets
};

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

// Cycles that a row of `pixels` costs in tiles of `vectors`, on a core that starts two
// multiply-adds and two loads per cycle and waits four cycles for a sum: a model that only has to
// rank the tile shapes.
double row_cost(const Routines& r, int pixels, int vectors) {
  const int tiles = (pixels + r.tile_pixels[vectors] - 1) / r.tile_pixels[vectors];
  const double p = double(pixels) / tiles;
  const double arithmetic = p * vectors / 2, loads = (p + vectors) / 2, latency = 4;
  return tiles * (std::max({arithmetic, loads, latency}) + loads / 8);
}

// How many vectors wide the panels of `total` vectors are to be, for rows of `pixels`.
int choose_width(const Routines& r, int pixels, int total) {
  int best = 1;
  double best_cost = std::numeric_limits<double>::infinity();
  for (int width = 1; width <= std::min(total, kMostVectors); ++width) {
    if (r.tile_pixels[width] == 0) {
      continue;
    }
    const int rest = total % width;
    const double cost =
        total / width * row_cost(r, pixels, width) + (rest == 0 ? 0 : row_cost(r, pixels, rest));
    if (cost < best_cost) {
      best = width;
      best_cost = cost;
    }
  }
  return best;
}

class DirectConv {
 public:
  DirectConv(const KernelSpec& spec, const Weights& weights, Context context)
      : conv_(std::get<Conv>(spec.layer)),
        function_(function_of(conv_.activation)),
        context_(context) {
    cut_into_panels(spec);
    pack(spec, weights);
  }

  void operator()(Inputs inputs, View<float> output) const;

 private:
  struct Job;  // one call: views and how they are walked over

  void cut_into_panels(const KernelSpec&);
  void pack(const KernelSpec&, const Weights&);
  void run_row(const Job&, const Panel&, int y) const;

  Conv conv_;
  Function function_;
  Context context_;
  std::vector<Panel> panels_;
  PackedFloats weights_, bias_;
};

void DirectConv::cut_into_panels(const KernelSpec& spec) {
  const int lanes = context_.routines.lanes;
  const std::size_t taps = std::size_t(conv_.kernel.height) * std::size_t(conv_.kernel.width);
  const bool pointwise = taps == 1 && conv_.stride == Extent{};
  const int pixels =
      pointwise ? std::min(kPixelsPerSpan, int(spec.output.pixels())) : spec.output.width;
  std::size_t weights = 0, bias = 0;
  for (const Block& block : merge_narrow(spec.blocks, lanes)) {
    const int total = (block.outputs.size() + lanes - 1) / lanes;
    const int width = choose_width(context_.routines, pixels, total);
    for (int v = 0; v < total; v += width) {
      Panel p;
      p.vectors = std::min(width, total - v);
      p.inputs = block.inputs;
      p.outputs.begin = block.outputs.begin + v * lanes;
      p.outputs.end = std::min(p.outputs.begin + p.vectors * lanes, block.outputs.end);
      p.tail = p.outputs.size() - (p.vectors - 1) * lanes;
      p.weights = weights;
      p.bias = bias;
      bias += std::size_t(p.vectors) * std::size_t(lanes);
      weights += std::size_t(p.vectors) * std::size_t(lanes) * taps * std::size_t(p.inputs.size());
      panels_.push_back(p);
    }
  }
  weights_ = PackedFloats(weights);
  bias_ = PackedFloats(bias);
}

// [kernel row][kernel column][input channel][output channel of the panel]
void DirectConv::pack(const KernelSpec& spec, const Weights& weights) {
  const int taps = conv_.kernel.height * conv_.kernel.width;
  const int channels = channels_read(spec);
  std::vector<Range> read(std::size_t(spec.output.channels));  // input channels, by output channel
  for (const Block& b : spec.blocks) {
    std::fill(read.begin() + b.outputs.begin, read.begin() + b.outputs.end, b.inputs);
  }
  for (const Panel& panel : panels_) {
    const std::ptrdiff_t width = std::ptrdiff_t(panel.vectors) * context_.routines.lanes;
    for (int o = panel.outputs.begin; o < panel.outputs.end; ++o) {
      const std::ptrdiff_t column = o - panel.outputs.begin;
      const Range& own = read[std::size_t(o)];
      const float* from = weights.weight.data() + std::ptrdiff_t(o) * channels * taps;
      float* to = weights_.data() + panel.weights + column;
      for (int c = 0; c < channels; ++c) {
        const std::ptrdiff_t row = own.begin + c - panel.inputs.begin;
        for (int tap = 0; tap < taps; ++tap) {
          to[(std::ptrdiff_t(tap) * panel.inputs.size() + row) * width] = *from++;
        }
      }
      if (!weights.bias.empty()) {
        bias_.data()[panel.bias + std::size_t(column)] = weights.bias[std::size_t(o)];
      }
    }
  }
}

// A 1 x 1 convolution of values without gaps between rows sees one long row and cuts it into
// spans of its own; all others go by rows of the output.
struct DirectConv::Job {
  View<const float> input, residual;  // residual.data() is null if there is none
  View<float> output;
  int rows, pixels, last_pixels;  // of a row, and of the last row

  Job(const Conv& conv, Inputs inputs, View<float> out)
      : input(inputs[0]), output(out), rows(out.shape().height), pixels(out.shape().width) {
    if (inputs.size() == 2) {
      residual = inputs[1];
    }
    const auto without_gaps = [](const auto& v) {
      return v.data() == nullptr ||
             v.row_stride() == std::size_t(v.shape().width) * v.pixel_stride();
    };
    last_pixels = pixels;
    if (conv.kernel == Extent{} && conv.stride == Extent{} && conv.pads.empty() &&
        without_gaps(input) && without_gaps(output) && without_gaps(residual)) {
      const int all = int(out.shape().pixels());
      rows = (all + kPixelsPerSpan - 1) / kPixelsPerSpan;
      pixels = std::min(kPixelsPerSpan, all);
      last_pixels = all - (rows - 1) * pixels;
      reshape(input);
      reshape(output);
      if (residual.data() != nullptr) {
        reshape(residual);
      }
    }
  }

 private:
  template <class T>
  void reshape(View<T>& v) const {
    v = View<T>(v.data(), {rows, pixels, v.shape().channels}, v.pixel_stride(),
                std::size_t(pixels) * v.pixel_stride());
  }
};

void DirectConv::run_row(const Job& job, const Panel& panel, int y) const {
  const View<const float>& x = job.input;
  const int channels = panel.inputs.size();
  const bool whole_rows = conv_.dilation.width == 1 && x.pixel_stride() == std::size_t(channels);
  const int top = y * conv_.stride.height - conv_.pads.top;
  // Rows of the kernel that see nothing but border are left out.
  const Taps taps = taps_inside(top, conv_.dilation.height, conv_.kernel.height, x.shape().height);
  const std::size_t skipped = std::size_t(taps.first) * std::size_t(conv_.kernel.width) *
                              std::size_t(channels) * std::size_t(panel.vectors) *
                              std::size_t(context_.routines.lanes);
  ConvRow row;
  row.input = x.at(top + taps.first * conv_.dilation.height, -conv_.pads.left) + panel.inputs.begin;
  row.input_step = std::ptrdiff_t(x.pixel_stride()) * conv_.stride.width;
  row.segment_rows = taps.last - taps.first;
  row.segment_columns = whole_rows ? 1 : conv_.kernel.width;
  row.segment_length = whole_rows ? channels * conv_.kernel.width : channels;
  row.segment_row_step = std::ptrdiff_t(x.row_stride()) * conv_.dilation.height;
  row.segment_column_step = std::ptrdiff_t(x.pixel_stride()) * conv_.dilation.width;
  row.weights = weights_.data() + panel.weights + skipped;
  row.bias = bias_.data() + panel.bias;
  row.residual =
      job.residual.data() == nullptr ? nullptr : job.residual.at(y, 0) + panel.outputs.begin;
  row.residual_step = std::ptrdiff_t(job.residual.pixel_stride());
  row.output = job.output.at(y, 0) + panel.outputs.begin;
  row.output_step = std::ptrdiff_t(job.output.pixel_stride());
  row.pixels = y == job.rows - 1 ? job.last_pixels : job.pixels;
  row.vectors = panel.vectors;
  row.tail = panel.tail;
  row.function = function_;
  context_.routines.conv_row(row);
}

void DirectConv::operator()(Inputs inputs, View<float> output) const {
  const Job job(conv_, inputs, output);
  // A task is a group of panels times a group of rows.
  const int panels = int(panels_.size());
  const int panel_groups = weights_.size() <= kCachedWeights ? 1 : panels;
  const std::size_t work = weights_.size() * output.shape().pixels();
  const int wanted = shares(context_, job.rows * panel_groups, work);
  const int row_groups = std::min(job.rows, (wanted + panel_groups - 1) / panel_groups);
  context_.pool.parallel_for(panel_groups * row_groups, [&](int task) {
    const int first = panel_groups == 1 ? 0 : task / row_groups;
    const int last = panel_groups == 1 ? panels : first + 1;
    const int group = task % row_groups;
    const int end = int(std::int64_t(job.rows) * (group + 1) / row_groups);
    for (int y = int(std::int64_t(job.rows) * group / row_groups); y < end; ++y) {
      for (int p = first; p < last; ++p) {
        run_row(job, panels_[std::size_t(p)], y);
      }
    }
  });
}

}  // namespace

std::unique_ptr<Kernel> make_conv(const KernelSpec& spec, Weights weights, Context context) {
  return make_kernel(DirectConv(spec, weights, context));
}

}  // namespace sbcnn::kernels
