#include "kernels/reference.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <utility>
#include <xtensor/xmath.hpp>
#include <xtensor/xtensor.hpp>

#include "kernels/spec.h"

namespace sbcnn::kernels {
namespace {

using Run = std::function<void(Inputs, View<float>)>;

template <class F>  // f(y, x, c) for every element of the shape
void for_each(const Shape& shape, F f) {
  for (int y = 0; y < shape.height; ++y) {
    for (int x = 0; x < shape.width; ++x) {
      for (int c = 0; c < shape.channels; ++c) {
        f(y, x, c);
      }
    }
  }
}

using Array = xt::xtensor<double, 3>;  // rows, columns, channels

Array load(View<const float> v) {
  const Shape s = v.shape();
  Array a({std::size_t(s.height), std::size_t(s.width), std::size_t(s.channels)});
  for_each(s, [&](int y, int x, int c) { a(y, x, c) = double(v.at(y, x)[c]); });
  return a;
}

void store(const Array& a, View<float> v) {
  for_each(v.shape(), [&](int y, int x, int c) { v.at(y, x)[c] = float(a(y, x, c)); });
}

std::vector<float> bias_or_zero(const KernelSpec& spec, Weights& weights) {
  return weights.bias.empty() ? std::vector<float>(std::size_t(spec.output.channels))
                              : std::move(weights.bias);
}

// One output element: the dot product of a window and the weights [channels][height][width] of
// its output channel.
double dot(const Conv& conv, View<const float> in, const float* weight, int y, int x) {
  const int top = y * conv.stride.height - conv.pads.top;
  const int left = x * conv.stride.width - conv.pads.left;
  const Taps rows = taps_inside(top, conv.dilation.height, conv.kernel.height, in.shape().height);
  const Taps columns = taps_inside(left, conv.dilation.width, conv.kernel.width, in.shape().width);
  const std::ptrdiff_t plane = std::ptrdiff_t(conv.kernel.height) * conv.kernel.width;
  double sum = 0;
  for (int i = rows.first; i < rows.last; ++i) {
    for (int j = columns.first; j < columns.last; ++j) {
      const float* pixel = in.at(top + i * conv.dilation.height, left + j * conv.dilation.width);
      const float* w = weight + i * conv.kernel.width + j;
      for (int c = 0; c < in.shape().channels; ++c) {
        sum += double(pixel[c]) * double(w[c * plane]);
      }
    }
  }
  return sum;
}

Run make(const Conv& conv, const KernelSpec& spec, Weights weights) {
  const std::size_t length =
      std::size_t(channels_read(spec)) * std::size_t(conv.kernel.height * conv.kernel.width);
  std::vector<float> bias = bias_or_zero(spec, weights);
  return [conv, length, blocks = spec.blocks, weight = std::move(weights.weight),
          bias = std::move(bias)](Inputs in, View<float> out) {
    for (const Block& block : blocks) {
      const View<const float> x = in[0].channels(block.inputs);
      const Shape shape{out.shape().height, out.shape().width, block.outputs.size()};
      for_each(shape, [&](int row, int column, int k) {
        const std::size_t o = std::size_t(block.outputs.begin + k);
        double sum = dot(conv, x, weight.data() + o * length, row, column) + double(bias[o]);
        if (in.size() == 2) {
          sum += double(in[1].at(row, column)[o]);
        }
        out.at(row, column)[o] = apply(conv.activation, float(sum));
      });
    }
  };
}

Run make(const Dense&, const KernelSpec& spec, Weights weights) {
  std::vector<float> bias = bias_or_zero(spec, weights);
  return [weight = std::move(weights.weight), bias = std::move(bias)](Inputs in, View<float> out) {
    const std::size_t length = std::size_t(in[0].shape().channels);
    for (std::size_t o = 0; o < bias.size(); ++o) {
      const float* row = weight.data() + o * length;
      double sum = double(bias[o]);
      for (std::size_t i = 0; i < length; ++i) {
        sum += double(row[i]) * double(in[0].data()[i]);
      }
      out.data()[o] = float(sum);
    }
  };
}

// Padding never wins, as in ONNX.
Run make(const MaxPool& pool, const KernelSpec&, Weights) {
  return [w = pool.window](Inputs in, View<float> out) {
    for_each(out.shape(), [&](int y, int x, int c) {
      const int top = y * w.stride.height - w.pads.top;
      const int left = x * w.stride.width - w.pads.left;
      const Taps rows = taps_inside(top, w.dilation.height, w.kernel.height, in[0].shape().height);
      const Taps columns = taps_inside(left, w.dilation.width, w.kernel.width, in[0].shape().width);
      float best = -std::numeric_limits<float>::infinity();
      for (int i = rows.first; i < rows.last; ++i) {
        for (int j = columns.first; j < columns.last; ++j) {
          best =
              std::max(best, in[0].at(top + i * w.dilation.height, left + j * w.dilation.width)[c]);
        }
      }
      out.at(y, x)[c] = best;
    });
  };
}

Run make(const AveragePool& pool, const KernelSpec&, Weights) {
  return [pool](Inputs in, View<float> out) {
    const Window& w = pool.window;
    for_each(out.shape(), [&](int y, int x, int c) {
      const AverageTaps taps = average_taps(pool, in[0].shape(), y, x);
      double sum = 0;
      for (int i = taps.rows.first; i < taps.rows.last; ++i) {
        for (int j = taps.columns.first; j < taps.columns.last; ++j) {
          sum += double(in[0].at(y * w.stride.height - w.pads.top + i * w.dilation.height,
                                 x * w.stride.width - w.pads.left + j * w.dilation.width)[c]);
        }
      }
      out.at(y, x)[c] = taps.divisor == 0 ? 0.0f : float(sum / taps.divisor);
    });
  };
}

Run make(const GlobalAveragePool&, const KernelSpec&, Weights) {
  return [](Inputs in, View<float> out) {
    store(xt::mean(load(in[0]), {0, 1}, xt::keep_dims), out);
  };
}

Run make(const Activate& layer, const KernelSpec&, Weights) {
  return [f = layer.activation](Inputs in, View<float> out) {
    for_each(out.shape(),
             [&](int y, int x, int c) { out.at(y, x)[c] = apply(f, in[0].at(y, x)[c]); });
  };
}

Run make(const ScaleShift&, const KernelSpec& spec, Weights weights) {
  std::vector<float> bias = bias_or_zero(spec, weights);
  return [scale = std::move(weights.weight), bias = std::move(bias)](Inputs in, View<float> out) {
    for_each(out.shape(), [&](int y, int x, int c) {
      out.at(y, x)[c] = in[0].at(y, x)[c] * scale[std::size_t(c)] + bias[std::size_t(c)];
    });
  };
}

// A second input of 1 x 1 x C is broadcast over the pixels of the first.
template <class F>
void combine(Inputs in, View<float> out, F f) {
  const bool broadcast = in[1].shape() != in[0].shape();
  for_each(out.shape(), [&](int y, int x, int c) {
    const float b = broadcast ? in[1].at(0, 0)[c] : in[1].at(y, x)[c];
    out.at(y, x)[c] = f(in[0].at(y, x)[c], b);
  });
}

// Broadcasting of a 1 x 1 x C second input is xtensor's own.
Run make(const Add& add, const KernelSpec&, Weights) {
  return [f = add.activation](Inputs in, View<float> out) {
    store(load(in[0]) + load(in[1]), out);
    for_each(out.shape(),
             [&](int y, int x, int c) { out.at(y, x)[c] = apply(f, out.at(y, x)[c]); });
  };
}

Run make(const Mul&, const KernelSpec&, Weights) {
  return [](Inputs in, View<float> out) { store(load(in[0]) * load(in[1]), out); };
}

Run make(const Concat&, const KernelSpec&, Weights) {
  return [](Inputs in, View<float> out) {
    int begin = 0;
    for (const View<const float>& part : in) {
      const Range channels{begin, begin + part.shape().channels};
      copy(part, out.channels(channels));
      begin = channels.end;
    }
  };
}

Run make(const Slice& slice, const KernelSpec& spec, Weights) {
  return [slice, blocks = spec.blocks](Inputs in, View<float> out) {
    for (const Block& block : blocks) {
      const Shape shape{out.shape().height, out.shape().width, block.outputs.size()};
      for_each(shape, [&](int y, int x, int c) {
        const float* pixel = in[0].at(slice.rows.begin + y * slice.rows.step,
                                      slice.columns.begin + x * slice.columns.step);
        out.at(y, x)[block.outputs.begin + c] = pixel[block.inputs.begin + c];
      });
    }
  };
}

Run make(const Pad& pad, const KernelSpec&, Weights) {
  return [pad](Inputs in, View<float> out) {
    const Shape s = in[0].shape();
    for_each(out.shape(), [&](int y, int x, int c) {
      const int row = y - pad.pads.top, column = x - pad.pads.left;
      const int channel = c - pad.channels_before;
      const bool inside = Range{0, s.height}.contains(row) && Range{0, s.width}.contains(column) &&
                          Range{0, s.channels}.contains(channel);
      out.at(y, x)[c] = inside ? in[0].at(row, column)[channel] : pad.value;
    });
  };
}

// In storage order: (row, column, channel). The plan names the channels of the result so.
Run make(const Flatten&, const KernelSpec& spec, Weights) {
  return [shape = spec.inputs[0]](Inputs in, View<float> out) {
    copy(in[0], View<float>(out.data(), shape));
  };
}

Run make(const ChannelShuffle&, const KernelSpec&, Weights) {
  return {};  // refused by check()
}

Run make(const Softmax&, const KernelSpec&, Weights) {
  return [](Inputs in, View<float> out) {
    const Array x = load(in[0]);
    const Array largest = xt::amax(x, {2}, xt::keep_dims);
    const Array powers = xt::exp(x - largest);
    const Array sums = xt::sum(powers, {2}, xt::keep_dims);
    store(powers / sums, out);
  };
}

class ReferenceKernel final : public Kernel {
 public:
  ReferenceKernel(Run run, std::vector<Range> pieces)
      : run_(std::move(run)), pieces_(std::move(pieces)) {}
  void run(Inputs inputs, Outputs outputs) const noexcept override {
    if (pieces_.size() == 1) {
      run_(inputs, outputs[0]);
      return;
    }
    Tensor whole({outputs[0].shape().height, outputs[0].shape().width, pieces_.back().end});
    run_(inputs, whole.view());
    for (std::size_t i = 0; i < pieces_.size(); ++i) {
      copy(whole.view().channels(pieces_[i]), outputs[i]);
    }
  }

 private:
  Run run_;
  std::vector<Range> pieces_;
};

class ReferenceFactory final : public KernelFactory {
 public:
  KernelMemory memory(const KernelSpec& spec) const override {
    const WeightShape shape = weights_of(spec);
    return {(shape.weight + shape.bias) * sizeof(float), 0};
  }
  std::unique_ptr<Kernel> make(const KernelSpec& spec, Weights weights) override {
    check(spec, weights);
    Run run = std::visit(
        [&](const auto& layer) { return kernels::make(layer, spec, std::move(weights)); },
        spec.layer);
    return std::make_unique<ReferenceKernel>(std::move(run), pieces_of(spec));
  }
};

}  // namespace

std::unique_ptr<KernelFactory> make_reference_kernels() {
  return std::make_unique<ReferenceFactory>();
}

}  // namespace sbcnn::kernels
