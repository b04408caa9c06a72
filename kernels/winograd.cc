// Winograd convolution (transforms: winograd_tile.h): the output in tiles of 2 x 2 or 4 x 4 pixels,
// a matrix product over channels at each of the 16 or 36 frequencies of a tile.
//
// Tiles are taken in chunks that are large enough to fill the micro-kernel's tiles and small enough
// for the second level cache. A chunk's inputs are transformed for all channels; then each panel of
// output channels goes through all frequencies and straight back into the output. So the
// transformed weights stream through once a chunk, in the order in which they lie.
//
// Threads take chunks of their own: nothing has to travel between cores but the edges of tiles.
// Where an image is too small for that, each thread would read all weights for a few tiles; then
// they share chunks, and each takes a part of the panels.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "core/page_array.h"
#include "kernels/layers.h"
#include "kernels/panels.h"

namespace sbcnn::kernels {
namespace {

// Frequencies lie apart by a little more than they are long, or all of them would fall into the
// same sets of the cache.
constexpr std::size_t kSkew = 16;
constexpr int kMostTiles = 56, kFewestTiles = 14;  // of a chunk
constexpr int kTasksPerThread = 2;  // when they share a chunk, so that a slower one does less
// Transformed inputs of a chunk, in floats: what the second level cache of any board has room for,
// or half as many as there are weights, for all of these stream through for every chunk.
std::size_t chunk_floats(std::size_t weights) {
  constexpr std::size_t kCached = 256 * 1024 / sizeof(float);
  return std::max(kCached, weights / 2);
}

// G of F(outputs x outputs, 3x3): frequency i of three weights g is G[i] . g.
std::vector<std::array<double, 3>> weight_transform(int outputs) {
  if (outputs == 2) {
    return {{1, 0, 0}, {0.5, 0.5, 0.5}, {0.5, -0.5, 0.5}, {0, 0, 1}};
  }
  // Row of point p: (1, p, p^2) / product of (p - q) over the other finite points q.
  const double points[] = {0, std::sqrt(0.5), -std::sqrt(0.5), std::sqrt(2), -std::sqrt(2)};
  std::vector<std::array<double, 3>> g;
  for (const double p : points) {
    double scale = 1;
    for (const double q : points) {
      scale *= p == q ? 1 : p - q;
    }
    g.push_back({1 / scale, p / scale, p * p / scale});
  }
  g.push_back({0, 0, 1});
  return g;
}

// Output channels that read the same inputs.
struct Part {
  Range inputs;
  std::vector<Panel> panels;
};

class WinogradConv {
 public:
  WinogradConv(int outputs, const KernelSpec& spec, const Weights& weights, Context context)
      : WinogradConv(outputs, spec, context) {
    weights_ = context_.weights.take(weight_size_);
    bias_ = PageArray<float>(bias_size_);
    for (const Part& part : parts_) {
      for (const Panel& panel : part.panels) {
        pack(panel, channels_read(spec), weights);
      }
    }
    context_.scratch.reserve(scratch_floats());
  }

  static KernelMemory memory(int outputs, const KernelSpec& spec, Context context) {
    const WinogradConv sized(outputs, spec, context);
    return {(sized.weight_size_ + sized.bias_size_) * sizeof(float),
            Scratch::rounded(sized.scratch_floats()) * sizeof(float)};
  }

  void operator()(Inputs inputs, Outputs outputs) const;
  std::span<const float> packed_weights() const { return {weights_.data(), weights_.size()}; }

 private:
  struct Chunk {
    int first_tile, tiles;
  };

  WinogradConv(int outputs, const KernelSpec& spec, Context context);
  void pack(const Panel&, int channels, const Weights&);
  std::size_t scratch_floats() const { return thread_floats() * std::size_t(threads()); }
  std::size_t thread_floats() const { return inputs_floats_ + products_floats_; }
  int threads() const { return context_.pool.threads(); }
  int frequencies() const { return (outputs_ + 2) * (outputs_ + 2); }
  float* transformed(int thread) const {
    return context_.scratch.data() + thread_floats() * std::size_t(thread);
  }

  float* products(int thread) const { return transformed(thread) + inputs_floats_; }

  Chunk chunk(int i) const {
    const int tiles = tile_rows_ * tile_columns_;
    const Range steps = share(steps_, i, chunks_);
    const int first = share(tiles, steps.begin, steps_).begin;
    return {first, share(tiles, steps.end - 1, steps_).end - first};
  }
  void run_together(Inputs, Outputs, const Part&, Chunk) const;
  void transform(const View<const float>& x, const Part&, Chunk, float* to) const;
  void multiply(Inputs, Outputs, const Panel&, Chunk, const float* from, float* products) const;

  int outputs_;
  Conv conv_;
  Function function_;
  Context context_;
  std::vector<Range> pieces_;
  std::vector<Part> parts_;
  int rows_, columns_, tile_rows_, tile_columns_;
  int chunks_, steps_;  // steps: of the micro-kernel, through all tiles
  int most_tiles_ = 0;  // of a chunk
  std::size_t weight_size_ = 0, bias_size_ = 0;
  std::size_t inputs_floats_ = 0, products_floats_ = 0;  // of scratch, for each thread
  WeightMemory::Block weights_;
  PageArray<float> bias_;
};

WinogradConv::WinogradConv(int outputs, const KernelSpec& spec, Context context)
    : outputs_(outputs),
      conv_(std::get<Conv>(spec.layer)),
      function_(function_of(conv_.activation)),
      context_(context),
      pieces_(pieces_of(spec)),
      rows_(spec.output.height),
      columns_(spec.output.width),
      tile_rows_((rows_ + outputs - 1) / outputs),
      tile_columns_((columns_ + outputs - 1) / outputs) {
  const std::size_t channels = std::size_t(channels_read(spec));
  const int tiles = tile_rows_ * tile_columns_;
  const std::size_t weights =
      std::size_t(frequencies()) * channels * std::size_t(spec.blocks.front().outputs.size());
  const int fit = int(chunk_floats(weights) / (std::size_t(frequencies()) * channels));
  const int most = std::clamp(fit / kFewestTiles * kFewestTiles, kFewestTiles, kMostTiles);
  chunks_ = (tiles + most - 1) / most;
  if (tiles >= kFewestTiles * threads()) {
    const int each = std::max(1, (chunks_ + (threads() - 1) / 2) / threads());  // about
    chunks_ = each * threads();
  }
  const int chunk_tiles = (tiles + chunks_ - 1) / chunks_;

  std::size_t widest = 0;
  const int lanes = context_.routines.lanes;
  for (const Block& block : spec.blocks) {
    Part part{block.inputs, cut_into_panels(context_.routines, block, pieces_, chunk_tiles, 1)};
    for (Panel& panel : part.panels) {
      panel.weights = weight_size_;
      panel.bias = bias_size_;
      weight_size_ += std::size_t(frequencies()) * segment_size(panel, lanes, int(channels));
      bias_size_ += bias_floats(panel, lanes);
      widest = std::max(widest, bias_floats(panel, lanes));
    }
    parts_.push_back(std::move(part));
  }
  bias_size_ += widest;  // zeros, for the products know no bias
  // Chunks end where a tile of the micro-kernel does.
  const Panel& panel = parts_.front().panels.front();
  steps_ = std::max(chunks_, tiles_of(context_.routines, panel, tiles));
  for (int i = 0; i < chunks_; ++i) {
    most_tiles_ = std::max(most_tiles_, chunk(i).tiles);
  }
  const auto per_frequency = [&](std::size_t floats) {
    return std::size_t(frequencies()) * (std::size_t(most_tiles_) * floats + kSkew);
  };
  const std::size_t line = kAlignment / sizeof(float);
  inputs_floats_ = (per_frequency(channels) + line - 1) / line * line;
  products_floats_ = per_frequency(widest);
}

void WinogradConv::pack(const Panel& panel, int channels, const Weights& weights) {
  const auto g = weight_transform(outputs_);
  const int n = outputs_ + 2, lanes = context_.routines.lanes;
  const std::size_t segment = segment_size(panel, lanes, channels);
  for (int o = panel.outputs.begin; o < panel.outputs.end && !weights.bias.empty(); ++o) {
    bias_.data()[panel.bias + std::size_t(o - panel.outputs.begin)] = weights.bias[std::size_t(o)];
  }
  for (int i = 0; i < n; ++i) {
    for (int j = 0; j < n; ++j) {
      const auto weight = [&](int c, int o) {
        const float* w =
            weights.weight.data() +
            (std::size_t(panel.outputs.begin + o) * std::size_t(channels) + std::size_t(c)) * 9;
        const auto& gi = g[std::size_t(i)];
        const auto& gj = g[std::size_t(j)];
        double sum = 0;
        for (std::size_t y = 0; y < 3; ++y) {
          sum += gi[y] * (gj[0] * double(w[3 * y]) + gj[1] * double(w[3 * y + 1]) +
                          gj[2] * double(w[3 * y + 2]));
        }
        return float(sum);
      };
      pack_segment(panel, lanes, channels,
                   weights_.data() + panel.weights + std::size_t(i * n + j) * segment, weight);
    }
  }
}

void WinogradConv::transform(const View<const float>& x, const Part& part, Chunk chunk,
                             float* to) const {
  WinogradInput a;
  a.input = x.at(-conv_.pads.top, -conv_.pads.left) + part.inputs.begin;
  a.row_step = std::ptrdiff_t(x.row_stride());
  a.column_step = std::ptrdiff_t(x.pixel_stride());
  a.rows = x.shape().height + conv_.pads.top + conv_.pads.bottom;
  a.columns = x.shape().width + conv_.pads.left + conv_.pads.right;
  a.channels = part.inputs.size();
  a.first_tile = chunk.first_tile;
  a.tiles = chunk.tiles;
  a.tiles_per_row = tile_columns_;
  a.output = to;
  a.frequency_step = std::ptrdiff_t(most_tiles_) * a.channels + std::ptrdiff_t(kSkew);
  (outputs_ == 2 ? context_.routines.winograd2_input : context_.routines.winograd4_input)(a);
}

// One panel of a chunk at all frequencies, and back.
void WinogradConv::multiply(Inputs inputs, Outputs outputs, const Panel& panel, Chunk chunk,
                            const float* from, float* products) const {
  const int lanes = context_.routines.lanes, channels = panel.inputs.size();
  const std::ptrdiff_t width = std::ptrdiff_t(bias_floats(panel, lanes));
  const std::ptrdiff_t apart = std::ptrdiff_t(most_tiles_) * width + std::ptrdiff_t(kSkew);
  constexpr float infinity = std::numeric_limits<float>::infinity();

  ConvStrip<float> strip{};
  strip.input = from;
  strip.input_step = channels;
  strip.segment_rows = strip.segment_columns = 1;
  strip.segment_length = channels;
  strip.weights = weights_.data() + panel.weights;
  strip.bias = bias_.data() + bias_size_ - width;
  strip.output = products;
  strip.output_step = width;
  strip.rows = 1;
  strip.pixels = chunk.tiles;
  strip.vectors = panel.vectors;
  strip.paired = panel.paired;
  strip.tail = lanes;
  strip.plain = true;
  const std::ptrdiff_t size = std::ptrdiff_t(segment_size(panel, lanes, channels));
  const int passes = tiles_of(context_.routines, panel, chunk.tiles);
  for (int f = 0; f < frequencies(); ++f) {
    strip.fetch_evenly(strip.weights + size, size, 0, passes);
    context_.routines.conv_strip(strip);
    strip.input += std::ptrdiff_t(most_tiles_) * channels + std::ptrdiff_t(kSkew);
    strip.weights += size;
    strip.output += apart;
  }

  const View<float>& out = outputs[std::size_t(panel.piece)];
  const bool clamps = function_.kind == Function::clamp;
  WinogradOutput a;
  a.input = products;
  a.input_step = width;
  a.frequency_step = apart;
  a.channels = panel.outputs.size();
  a.first_tile = chunk.first_tile;
  a.tiles = chunk.tiles;
  a.tiles_per_row = tile_columns_;
  a.bias = bias_.data() + panel.bias;
  a.residual = inputs.size() == 2 ? inputs[1].data() + panel.outputs.begin : nullptr;
  a.residual_row_step = inputs.size() == 2 ? std::ptrdiff_t(inputs[1].row_stride()) : 0;
  a.residual_column_step = inputs.size() == 2 ? std::ptrdiff_t(inputs[1].pixel_stride()) : 0;
  a.output = out.data() + panel.outputs.begin - pieces_[std::size_t(panel.piece)].begin;
  a.row_step = std::ptrdiff_t(out.row_stride());
  a.column_step = std::ptrdiff_t(out.pixel_stride());
  a.rows = rows_;
  a.columns = columns_;
  a.lower = clamps ? function_.alpha : -infinity;
  a.upper = clamps ? function_.beta : infinity;
  (outputs_ == 2 ? context_.routines.winograd2_output : context_.routines.winograd4_output)(a);
}

// All threads share a chunk: panels times tiles are cut into equal runs, panel by panel, so that
// few panels' weights are read by more than one thread. More than two threads split the transform,
// too. Two each transform all tiles: that takes no longer than to wait for each other and then to
// fetch half of the results from the other's cache.
void WinogradConv::run_together(Inputs inputs, Outputs outputs, const Part& part,
                                Chunk chunk) const {
  const auto piece = [&](Range tiles) {
    return Chunk{chunk.first_tile + tiles.begin, tiles.size()};
  };
  const auto place_of = [&](const Chunk& some, int thread) {
    const int before = some.first_tile - chunk.first_tile;
    return transformed(thread) + std::ptrdiff_t(before) * part.inputs.size();
  };
  const bool apart = threads() == 2;
  if (!apart) {
    const int parts = std::min(chunk.tiles, kTasksPerThread * threads());
    context_.pool.parallel_for(parts, [&](int i) {
      const Chunk mine = piece(share(chunk.tiles, i, parts));
      transform(inputs[0], part, mine, place_of(mine, 0));
    });
  }
  int work = 0;  // vectors times tiles
  for (const Panel& panel : part.panels) {
    work += panel.sums() * chunk.tiles;
  }
  const int tasks = apart ? threads() : kTasksPerThread * threads();
  context_.pool.parallel_for(tasks, [&](int task, int thread) {
    if (apart) {
      transform(inputs[0], part, chunk, transformed(thread));
    }
    Range mine = share(work, task, tasks);
    for (const Panel& panel : part.panels) {
      const int all = panel.sums() * chunk.tiles;
      // Cut where a tile of the micro-kernel ends.
      const int steps = tiles_of(context_.routines, panel, chunk.tiles);
      const auto cut = [&](int at) {
        const int step = (std::clamp(at, 0, all) * steps + all / 2) / all;
        return share(chunk.tiles, step, steps).begin;
      };
      const Chunk some = piece({cut(mine.begin), cut(mine.end)});
      if (some.tiles > 0) {
        multiply(inputs, outputs, panel, some, place_of(some, apart ? thread : 0),
                 products(thread));
      }
      mine = {mine.begin - all, mine.end - all};
    }
  });
}

void WinogradConv::operator()(Inputs inputs, Outputs outputs) const {
  for (const Part& part : parts_) {
    if (chunks_ >= threads()) {
      context_.pool.parallel_for(chunks_, [&](int i, int thread) {
        transform(inputs[0], part, chunk(i), transformed(thread));
        // Each thread begins at another panel, so that most weights come from memory once and
        // are in a cache that all share when the others want them.
        const int panels = int(part.panels.size()), first = share(panels, thread, threads()).begin;
        for (int k = 0; k < panels; ++k) {
          const Panel& panel = part.panels[std::size_t((first + k) % panels)];
          multiply(inputs, outputs, panel, chunk(i), transformed(thread), products(thread));
        }
      });
      continue;
    }
    for (int i = 0; i < chunks_; ++i) {
      run_together(inputs, outputs, part, chunk(i));
    }
  }
  if (function_.kind != Function::clamp) {
    for (const View<float>& out : outputs) {
      for_rows(context_, rows_, out.shape().size(), [&](int y) {
        for (int x = 0; x < columns_; ++x) {
          context_.routines.apply(function_, out.at(y, x), out.at(y, x),
                                  std::size_t(out.shape().channels));
        }
      });
    }
  }
}

}  // namespace

std::unique_ptr<ConvKernel> make_winograd(int outputs, const KernelSpec& spec,
                                          const Weights& weights, Context context) {
  const auto algorithm = outputs == 2 ? ConvAlgorithm::winograd2 : ConvAlgorithm::winograd4;
  return make_conv_kernel(name_of(algorithm), WinogradConv(outputs, spec, weights, context));
}

KernelMemory winograd_memory(int outputs, const KernelSpec& spec, Context context) {
  return WinogradConv::memory(outputs, spec, context);
}

}  // namespace sbcnn::kernels
