// Every layer of the fast kernels against the reference, on every instruction set of this
// machine, with one, two and three threads, in views with and without gaps.
#include "kernels/fast.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <sstream>
#include <tuple>

#include "kernels/reference.h"
#include "test/kernels/support.h"

namespace {

using namespace sbcnn;
using namespace sbcnn::test;
using Kind = Activation::Kind;

using kernels::ConvAlgorithm;
using kernels::Precision;

struct Variant {
  kernels::Isa isa;
  Precision precision;
  int threads;
  ConvAlgorithm algorithm;  // of every Conv that it applies to
  std::unique_ptr<KernelFactory> factory;

  std::string name() const {
    return std::string(kernels::name_of(isa)) + " " + std::string(name_of(precision)) + " " +
           std::string(name_of(algorithm)) + " " + std::to_string(threads) + " threads";
  }
  // Whether it multiplies half floats in this layer.
  bool in_halves(const Layer& layer) const {
    return precision == Precision::fp16 &&
           (std::holds_alternative<Conv>(layer) || std::holds_alternative<Dense>(layer));
  }
};
constexpr ConvAlgorithm kAlgorithms[] = {ConvAlgorithm::direct, ConvAlgorithm::winograd2,
                                         ConvAlgorithm::winograd4, ConvAlgorithm::depthwise};

std::vector<Variant>& variants() {
  static std::vector<Variant> all = [] {
    std::vector<Variant> v;
    for (const kernels::Isa isa : kernels::available_isas()) {
      for (const ConvAlgorithm algorithm : kAlgorithms) {
        for (const Precision precision : {Precision::fp32, Precision::fp16}) {
          // All but direct convolution computes in floats, whatever the precision.
          if (!supports(isa, precision) ||
              (precision == Precision::fp16 && algorithm != ConvAlgorithm::direct)) {
            continue;
          }
          for (const int threads : {1, 2, 3}) {
            kernels::KernelOptions options{threads, isa, precision};
            options.algorithm = algorithm;
            v.push_back({isa, precision, threads, algorithm, kernels::make_kernels(options)});
          }
        }
      }
    }
    return v;
  }();
  return all;
}

Layer without_activation(Layer layer) {
  if (auto* conv = std::get_if<Conv>(&layer)) {
    conv->activation = {};
  }
  return layer;
}

// Largest sum of absolute addends behind each output: rounding errors are in proportion to it.
std::vector<float> magnitudes(const KernelSpec& spec, Weights weights,
                              std::vector<Canvas>& inputs) {
  KernelSpec plain = spec;
  plain.layer = without_activation(spec.layer);
  make_absolute(weights.weight);
  make_absolute(weights.bias);
  std::vector<Tensor> absolute;
  std::vector<View<const float>> views;
  for (Canvas& canvas : inputs) {
    absolute.emplace_back(canvas.view().shape());
    copy(canvas.view(), absolute.back().view());
    for (float& x : absolute.back().view().flat()) {
      x = std::abs(x);
    }
  }
  for (const Tensor& t : absolute) {
    views.push_back(t.view());
  }
  Tensor out(spec.output);
  kernels::make_reference_kernels()->make(plain, std::move(weights))->run(views, out.view());
  const auto flat = out.view().flat();
  return {flat.begin(), flat.end()};
}

// Difference from the reference that is allowed where the addends' absolute values sum up to
// `magnitude`.
//
// Half floats: rounding is off by up to u = 2^-11, 0.4 u in the mean square. That happens to the
// factors of each product, and to the sum after each of N <= 64 products. Sums that only grow are
// worst: their errors come to 0.4 u sqrt(N / 3) < 2 u of the magnitude in the mean square. Four
// times as much, 2^-8, covers the largest of many. Factors below 2^-14 are off by up to 2^-25.
float tolerance(bool in_halves, float magnitude) {
  return in_halves ? 0x1p-8f * std::abs(magnitude) + 1e-5f : 1e-5f * std::abs(magnitude) + 1e-6f;
}

std::string describe(const KernelSpec& spec) {
  std::ostringstream s;
  s << name_of(spec.layer);
  for (const Shape& i : spec.inputs) {
    s << " " << i.height << "x" << i.width << "x" << i.channels;
  }
  s << " -> " << spec.output.height << "x" << spec.output.width << "x" << spec.output.channels;
  if (const auto* c = std::get_if<Conv>(&spec.layer)) {
    s << " kernel " << c->kernel.height << "x" << c->kernel.width << " stride " << c->stride.height
      << "," << c->stride.width << " dilation " << c->dilation.height << "," << c->dilation.width
      << " blocks " << spec.blocks.size() << " activation " << int(c->activation.kind);
  }
  return s.str();
}

// Runs one layer everywhere and compares. Reports at most one failure per variant.
void compare(const KernelSpec& spec, const Weights& weights, int margin, Numbers& numbers,
             float scale = 1) {
  std::vector<Canvas> inputs;
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const Border border = i == 0 ? required_border(spec.layer, spec.inputs[0]) : Border{};
    const bool dense = i == 0 && std::holds_alternative<Conv>(spec.layer);  // see ports.h
    inputs.emplace_back(spec.inputs[i], border, dense ? 0 : margin);
    fill(inputs.back().view(), numbers, scale);
  }
  std::vector<View<const float>> views;
  for (Canvas& canvas : inputs) {
    views.push_back(canvas.view());
  }
  Canvas expected(spec.output, {}, margin);
  kernels::make_reference_kernels()->make(spec, weights)->run(views, expected.view());
  const std::vector<float> want = expected.values();
  const std::vector<float> magnitude = magnitudes(spec, weights, inputs);

  const bool conv = std::holds_alternative<Conv>(spec.layer);
  std::map<std::tuple<kernels::Isa, Precision, ConvAlgorithm>, std::vector<float>> one_thread;
  for (Variant& variant : variants()) {
    if (conv ? !applies(variant.algorithm, spec) : variant.algorithm != ConvAlgorithm::direct) {
      continue;
    }
    Canvas output(spec.output, {}, margin);
    variant.factory->make(spec, weights)->run(views, output.view());
    const std::vector<float> got = output.values();
    std::size_t wrong = 0, first = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      const float allowed = tolerance(variant.in_halves(spec.layer), magnitude[i]);
      if (got[i] != want[i] && !(std::abs(got[i] - want[i]) <= allowed)) {
        first = wrong == 0 ? i : first;
        ++wrong;
      }
    }
    INFO(describe(spec), ", ", variant.name(), ", margin ", margin, ", element ", first, ": ",
         got[first], " for ", want[first]);
    CHECK(wrong == 0);
    CHECK(output.surroundings_untouched());
    const auto [same, inserted] =
        one_thread.try_emplace({variant.isa, variant.precision, variant.algorithm}, got);
    CHECK(std::memcmp(same->second.data(), got.data(), got.size() * sizeof(float)) == 0);
  }
}

constexpr int kChannels[] = {1, 3, 5, 8, 13, 16, 24, 27, 33, 64};
constexpr Extent kSizes[] = {{1, 1}, {1, 7}, {7, 1}, {5, 9}, {14, 14}};
constexpr Extent kKernels[] = {{1, 1}, {2, 2}, {3, 3}, {1, 3}, {3, 1}, {5, 5}, {7, 7}};
const Activation kActivations[] = {
    {Kind::none, 0, 0},          {Kind::relu, 0, 0},    {Kind::clip, -0.5f, 0.75f},
    {Kind::leaky_relu, 0.1f, 0}, {Kind::sigmoid, 0, 0}, {Kind::hard_sigmoid, 0.2f, 0.5f},
    {Kind::hard_swish, 0, 0},
};

// `groups` equal blocks; no block if the layer does not fit the size.
void compare_conv(Conv conv, Extent size, int inputs, int groups, bool bias, bool residual,
                  int margin, Numbers& numbers) {
  const Shape in{size.height, size.width, inputs};
  const int height = window_count(in.height, conv.kernel.height, conv.stride.height,
                                  conv.dilation.height, conv.pads.top, conv.pads.bottom, false);
  const int width = window_count(in.width, conv.kernel.width, conv.stride.width,
                                 conv.dilation.width, conv.pads.left, conv.pads.right, false);
  if (height <= 0 || width <= 0) {
    return;
  }
  KernelSpec spec;
  conv.groups = groups;
  spec.layer = conv;
  spec.inputs = {in};
  spec.output = {height, width, conv.outputs};
  if (residual) {
    spec.inputs.push_back(spec.output);
  }
  const int read = inputs / groups, written = conv.outputs / groups;
  for (int g = 0; g < groups; ++g) {
    spec.blocks.push_back({{g * read, (g + 1) * read}, {g * written, (g + 1) * written}});
  }
  const std::size_t outputs = std::size_t(conv.outputs);
  Weights weights{numbers.many(outputs * std::size_t(read) *
                               std::size_t(conv.kernel.height * conv.kernel.width)),
                  numbers.many(bias ? outputs : 0)};
  compare(spec, weights, margin, numbers);
}

// Pads up to the kernel's reach, different on each side.
Border some_pads(const Conv& conv, Numbers& numbers) {
  const int reach_y = (conv.kernel.height - 1) * conv.dilation.height;
  const int reach_x = (conv.kernel.width - 1) * conv.dilation.width;
  return {numbers.below(reach_y + 1), numbers.below(reach_x + 1), numbers.below(reach_y + 1),
          numbers.below(reach_x + 1)};
}

void conv_grid(Extent kernel) {
  Numbers numbers(std::uint32_t(100 * kernel.height + kernel.width));
  int turn = 0;
  for (const Extent size : kSizes) {
    for (const int channels : kChannels) {
      if (kernel.height * kernel.width * channels > 1000 && size.width > 9) {
        continue;  // minutes in the reference
      }
      for (const Extent stride : {Extent{1, 1}, Extent{2, 2}, Extent{1, 3}}) {
        Conv conv;
        conv.outputs = kChannels[(turn * 7 + 3) % 10];
        conv.kernel = kernel;
        conv.stride = stride;
        conv.dilation = turn % 3 == 2 ? Extent{2, 1 + turn % 2} : Extent{1, 1};
        conv.pads = turn % 4 == 3 ? Border{} : some_pads(conv, numbers);
        conv.activation = kActivations[turn % 7];
        compare_conv(conv, size, channels, 1, turn % 2 == 0, turn % 5 < 2, turn % 3 == 1 ? 2 : 0,
                     numbers);
        ++turn;
      }
    }
  }
}

TEST_CASE("fast Conv 1x1") {
  conv_grid({1, 1});
}
TEST_CASE("fast Conv 2x2") {
  conv_grid({2, 2});
}
TEST_CASE("fast Conv 3x3") {
  conv_grid({3, 3});
}
TEST_CASE("fast Conv 1x3") {
  conv_grid({1, 3});
}
TEST_CASE("fast Conv 3x1") {
  conv_grid({3, 1});
}
TEST_CASE("fast Conv 5x5") {
  conv_grid({5, 5});
}
TEST_CASE("fast Conv 7x7") {
  conv_grid({7, 7});
}

TEST_CASE("fast Conv: bias, residual and every activation, together and apart") {
  Numbers numbers(7);
  for (const Activation& activation : kActivations) {
    for (const bool bias : {false, true}) {
      for (const bool residual : {false, true}) {
        Conv conv;
        conv.outputs = 21;
        conv.kernel = {3, 3};
        conv.pads = {1, 1, 1, 1};
        conv.activation = activation;
        compare_conv(conv, {6, 7}, 5, 1, bias, residual, 0, numbers);
        conv.outputs = 20;
        compare_conv(conv, {6, 7}, 20, 20, bias, residual, 1, numbers);  // depthwise
      }
    }
  }
}

TEST_CASE("fast Conv: blocks of groups") {
  Numbers numbers(8);
  for (const int groups : {2, 4, 8}) {
    for (const int read : {1, 2, 3, 4, 6, 16, 20}) {
      for (const int written : {1, 2, 4, 5, 16, 20}) {
        Conv conv;
        conv.outputs = groups * written;
        conv.kernel = read % 2 == 0 ? Extent{3, 3} : Extent{1, 1};
        conv.pads = read % 2 == 0 ? Border{1, 1, 1, 1} : Border{};
        conv.activation = kActivations[read % 3];
        compare_conv(conv, {5, 6}, groups * read, groups, true, written % 2 == 0, read % 2,
                     numbers);
      }
    }
  }
}

TEST_CASE("fast Conv: blocks in any order, that overlap or leave inputs out") {
  Numbers numbers(9);
  Conv conv;
  conv.outputs = 9;
  conv.kernel = {3, 3};
  conv.pads = {1, 1, 1, 1};
  KernelSpec spec{
      conv, {{4, 5, 8}}, {4, 5, 9}, {{{4, 7}, {3, 5}}, {{0, 3}, {5, 9}}, {{2, 5}, {0, 3}}}};
  compare(spec, {numbers.many(9 * 3 * 9), numbers.many(9)}, 0, numbers);
  // One channel each, but crossed: not depthwise.
  conv.outputs = 2;
  spec = {conv, {{4, 5, 2}}, {4, 5, 2}, {{{1, 2}, {0, 1}}, {{0, 1}, {1, 2}}}};
  compare(spec, {numbers.many(2 * 9), {}}, 0, numbers);
}

TEST_CASE("fast Conv: depthwise") {
  Numbers numbers(10);
  int turn = 0;
  for (const Extent kernel : kKernels) {
    for (const int channels : kChannels) {
      for (const Extent size : kSizes) {
        Conv conv;
        conv.outputs = channels;
        conv.kernel = kernel;
        conv.stride = turn % 2 == 0 ? Extent{1, 1} : Extent{2, 3};
        conv.dilation = turn % 5 == 4 ? Extent{2, 3} : Extent{1, 1};
        conv.pads = some_pads(conv, numbers);
        conv.activation = kActivations[turn % 7];
        compare_conv(conv, size, channels, channels, turn % 2 == 0, turn % 3 == 0, turn % 4 == 1,
                     numbers);
        ++turn;
      }
    }
  }
}

TEST_CASE("fast Conv: shapes of ResNet that use every tile") {
  Numbers numbers(11);
  Conv conv;
  conv.kernel = {3, 3};
  conv.pads = {1, 1, 1, 1};
  conv.activation = {Kind::relu, 0, 0};
  for (const int outputs : {16, 32, 48, 64, 80, 128}) {
    for (int width = 1; width <= 29; ++width) {
      conv.outputs = outputs;
      compare_conv(conv, {2, width}, 8, 1, true, width % 2 == 0, 0, numbers);
    }
  }
  // More weights than the limit up to which panels share a row.
  conv.outputs = 160;
  compare_conv(conv, {7, 7}, 96, 1, true, true, 0, numbers);
}

TEST_CASE("fast Conv: 1x1 over a value without gaps is one long row") {
  Numbers numbers(12);
  for (const Extent size :
       {Extent{1, 55}, Extent{8, 7}, Extent{3, 19}, Extent{13, 13}, Extent{17, 33}}) {
    for (const bool residual : {false, true}) {
      const Shape shape{size.height, size.width, 20};
      Conv conv;
      conv.outputs = 20;
      const Weights weights{numbers.many(400), numbers.many(20)};
      Tensor x(shape), r(shape), want(shape);
      fill(x.view(), numbers);
      fill(r.view(), numbers);
      std::vector<View<const float>> views{std::as_const(x).view()};
      KernelSpec spec{conv, {shape}, shape, {{{0, 20}, {0, 20}}}};
      if (residual) {
        views.push_back(std::as_const(r).view());
        spec.inputs.push_back(shape);
      }
      kernels::make_reference_kernels()->make(spec, weights)->run(views, want.view());
      for (Variant& variant : variants()) {
        Tensor got(shape);
        variant.factory->make(spec, weights)->run(views, got.view());
        float worst = 0;
        for (std::size_t i = 0; i < shape.size(); ++i) {
          worst = std::max(worst, std::abs(got.view().flat()[i] - want.view().flat()[i]));
        }
        CHECK(worst < (variant.in_halves(conv) ? tolerance(true, 20) : 1e-5f));
      }
    }
  }
}

TEST_CASE("fast Dense") {
  Numbers numbers(13);
  for (const int inputs : {1, 7, 64, 515}) {
    for (const int outputs : {1, 10, 33, 257, 1000}) {
      const KernelSpec spec{Dense{outputs}, {{1, 1, inputs}}, {1, 1, outputs}, {}};
      const std::size_t weights = std::size_t(inputs) * std::size_t(outputs);
      compare(spec, {numbers.many(weights), {}}, 0, numbers);
      compare(spec, {numbers.many(weights), numbers.many(std::size_t(outputs))}, 3, numbers);
    }
  }
}

// Dense floats amid others that nobody may write to: a message for one peer.
class Message {
 public:
  explicit Message(Shape shape)
      : shape_(shape),
        memory_(shape.size() + 2 * kGuard, std::numeric_limits<float>::quiet_NaN()) {}
  View<float> view() { return {memory_.data() + kGuard, shape_}; }
  bool surroundings_untouched() const {
    const auto untouched = [](float x) { return std::isnan(x); };
    const auto begin = memory_.begin();
    return std::all_of(begin, begin + kGuard, untouched) &&
           std::all_of(memory_.end() - kGuard, memory_.end(), untouched);
  }

 private:
  static constexpr int kGuard = 64;
  Shape shape_;
  std::vector<float> memory_;
};

// One output per piece: dense all of them, or each with gaps of another kind.
class Pieces {
 public:
  Pieces(const KernelSpec& spec, bool dense) : spec_(spec) {
    messages_.reserve(spec.pieces.size());
    canvases_.reserve(spec.pieces.size());
    for (const Range& piece : spec.pieces) {
      const Shape shape{spec.output.height, spec.output.width, piece.size()};
      const int turn = int(views_.size()) % 3;
      if (dense || turn == 0) {
        views_.push_back(messages_.emplace_back(shape).view());
      } else {
        views_.push_back(canvases_.emplace_back(shape, Border{}, turn == 1 ? 0 : 3).view());
      }
    }
  }
  std::span<const View<float>> views() const { return views_; }
  std::vector<float> values() const {
    Tensor whole(spec_.output);
    for (std::size_t i = 0; i < views_.size(); ++i) {
      copy(views_[i], whole.view().channels(spec_.pieces[i]));
    }
    const auto flat = whole.view().flat();
    return {flat.begin(), flat.end()};
  }
  bool surroundings_untouched() {
    return std::ranges::all_of(messages_, &Message::surroundings_untouched) &&
           std::ranges::all_of(canvases_, &Canvas::surroundings_untouched);
  }

 private:
  KernelSpec spec_;
  std::vector<Message> messages_;
  std::vector<Canvas> canvases_;
  std::vector<View<float>> views_;
};

// Widths of `sizes` in turn, until all channels are covered.
std::vector<Range> cut_into_pieces(int channels, const std::vector<int>& sizes) {
  std::vector<Range> pieces;
  for (int begin = 0; begin < channels;) {
    const int end = std::min(channels, begin + sizes[pieces.size() % sizes.size()]);
    pieces.push_back({begin, end});
    begin = end;
  }
  return pieces;
}

// The output in pieces, by all kernels, against the reference's whole one.
void compare_in_pieces(KernelSpec spec, const Weights& weights, const std::vector<int>& sizes,
                       Numbers& numbers) {
  std::vector<Canvas> canvases;
  std::vector<Tensor> inputs;
  std::vector<View<const float>> views;
  inputs.reserve(spec.inputs.size());
  for (std::size_t i = 0; i < spec.inputs.size(); ++i) {
    const Border border = i == 0 ? required_border(spec.layer, spec.inputs[0]) : Border{};
    canvases.emplace_back(spec.inputs[i], Border{}, 0);
    fill(canvases.back().view(), numbers);
    copy(canvases.back().view(), inputs.emplace_back(spec.inputs[i], border).view());
    views.push_back(std::as_const(inputs.back()).view());
  }
  Tensor whole(spec.output);
  kernels::make_reference_kernels()->make(spec, weights)->run(views, whole.view());
  const auto want = whole.view().flat();
  const std::vector<float> magnitude = magnitudes(spec, weights, canvases);
  spec.pieces = cut_into_pieces(spec.output.channels, sizes);

  const auto check = [&](const Kernel& kernel, bool dense, bool halves, const std::string& name) {
    Pieces output(spec, dense);
    kernel.run(views, output.views());
    const std::vector<float> got = output.values();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < want.size(); ++i) {
      const bool near = std::abs(got[i] - want[i]) <= tolerance(halves, magnitude[i]);
      wrong += near ? 0 : 1;
    }
    INFO(describe(spec), ", ", name, ", pieces ", spec.pieces.size(), ", dense ", dense);
    CHECK(wrong == 0);
    CHECK(output.surroundings_untouched());
  };
  const bool conv = std::holds_alternative<Conv>(spec.layer);
  for (const bool dense : {true, false}) {
    check(*kernels::make_reference_kernels()->make(spec, weights), dense, false, "reference");
    for (Variant& variant : variants()) {
      if (conv ? applies(variant.algorithm, spec) : variant.algorithm == ConvAlgorithm::direct) {
        check(*variant.factory->make(spec, weights), dense, variant.in_halves(spec.layer),
              variant.name());
      }
    }
  }
}

const std::vector<int> kPieces[] = {{1, 7, 8}, {16, 3, 24}, {33}};

TEST_CASE("fast Conv: outputs in pieces, with every activation and a residual") {
  Numbers numbers(30);
  struct Case {
    Extent kernel;
    int inputs, outputs, groups;
  };
  for (const Case& c : {Case{{3, 3}, 5, 45, 1}, Case{{3, 3}, 8, 44, 4}, Case{{1, 1}, 12, 45, 1},
                        Case{{1, 1}, 6, 66, 2}, Case{{3, 3}, 44, 44, 44}}) {
    for (const Activation& activation : kActivations) {
      for (const bool residual : {false, true}) {
        const int pad = c.kernel.height / 2;
        const Conv conv{c.outputs, c.kernel, {}, {}, {pad, pad, pad, pad}, c.groups, activation};
        const Extent size = residual ? Extent{6, 7} : Extent{21, 19};  // for several threads
        KernelSpec spec{
            conv, {{size.height, size.width, c.inputs}}, {size.height, size.width, c.outputs}, {}};
        if (residual) {
          spec.inputs.push_back(spec.output);
        }
        const int read = c.inputs / c.groups, written = c.outputs / c.groups;
        for (int g = 0; g < c.groups; ++g) {
          spec.blocks.push_back({{g * read, (g + 1) * read}, {g * written, (g + 1) * written}});
        }
        const std::size_t taps = std::size_t(c.kernel.height * c.kernel.width);
        const Weights weights{numbers.many(std::size_t(c.outputs) * std::size_t(read) * taps),
                              numbers.many(std::size_t(c.outputs))};
        for (const std::vector<int>& sizes : kPieces) {
          compare_in_pieces(spec, weights, sizes, numbers);
        }
      }
    }
  }
}

TEST_CASE("fast Dense: outputs in pieces") {
  Numbers numbers(31);
  for (const int outputs : {1, 10, 77}) {
    const KernelSpec spec{Dense{outputs}, {{1, 1, 37}}, {1, 1, outputs}, {}};
    const std::size_t n = std::size_t(outputs);
    for (const std::vector<int>& sizes : kPieces) {
      compare_in_pieces(spec, {numbers.many(37 * n), numbers.many(n)}, sizes, numbers);
    }
  }
}

TEST_CASE("pieces of other layers, or that do not cover the output in order, are refused") {
  const auto refused = [](KernelSpec spec, const Weights& weights, std::vector<Range> pieces) {
    spec.pieces = std::move(pieces);
    CHECK_THROWS_AS(variants()[0].factory->make(spec, weights), ContractViolation);
    CHECK_THROWS_AS(kernels::make_reference_kernels()->make(spec, weights), ContractViolation);
  };
  refused({MaxPool{}, {{4, 4, 8}}, {4, 4, 8}, {}}, {}, {{0, 8}});
  refused({Add{}, {{4, 4, 8}, {4, 4, 8}}, {4, 4, 8}, {}}, {}, {{0, 3}, {3, 8}});
  const KernelSpec dense{Dense{8}, {{1, 1, 2}}, {1, 1, 8}, {}};
  const Weights weights{std::vector<float>(16), {}};
  for (const std::vector<Range>& pieces :
       std::vector<std::vector<Range>>{{{0, 3}},
                                       {{3, 8}},
                                       {{0, 3}, {4, 8}},
                                       {{0, 5}, {4, 8}},
                                       {{0, 9}},
                                       {{4, 8}, {0, 4}},
                                       {{0, 4}, {4, 4}, {4, 8}}}) {
    refused(dense, weights, pieces);
  }
}

TEST_CASE("fast MaxPool and AveragePool") {
  Numbers numbers(14);
  int turn = 0;
  for (const Extent kernel : {Extent{2, 2}, Extent{3, 3}, Extent{1, 3}, Extent{5, 2}}) {
    for (const Extent size : {Extent{5, 9}, Extent{14, 14}, Extent{7, 6}}) {
      for (const int channels : kChannels) {
        Window w{kernel,
                 turn % 2 == 0 ? Extent{2, 2} : Extent{1, 3},
                 turn % 3 == 2 ? Extent{1, 2} : Extent{1, 1},
                 {},
                 turn % 4 < 2};
        w.pads = {numbers.below(kernel.height), numbers.below(kernel.width),
                  numbers.below(kernel.height), numbers.below(kernel.width)};
        const Shape in{size.height, size.width, channels};
        for (const Layer& layer :
             {Layer{MaxPool{w}}, Layer{AveragePool{w, false}}, Layer{AveragePool{w, true}}}) {
          const Shape inputs[] = {in};
          compare({layer, {in}, output_shape(layer, inputs), {}}, {}, turn % 2, numbers);
        }
        ++turn;
      }
    }
  }
}

TEST_CASE("fast pooling: windows that see nothing but padding") {
  Numbers numbers(21);
  const Window w{{1, 1}, {1, 1}, {1, 1}, {1, 2, 0, 1}, false};
  for (const Layer& layer :
       {Layer{MaxPool{w}}, Layer{AveragePool{w, false}}, Layer{AveragePool{w, true}}}) {
    compare({layer, {{2, 3, 19}}, {3, 6, 19}, {}}, {}, 0, numbers);
  }
}

TEST_CASE("fast GlobalAveragePool") {
  Numbers numbers(15);
  for (const Extent size : kSizes) {
    for (const int channels : kChannels) {
      compare({GlobalAveragePool{}, {{size.height, size.width, channels}}, {1, 1, channels}, {}},
              {}, channels % 2, numbers);
    }
  }
}

TEST_CASE("fast Activate") {
  Numbers numbers(16);
  for (const Activation& activation : kActivations) {
    for (const int channels : kChannels) {
      const Shape shape{5, 3, channels};
      compare({Activate{activation}, {shape}, shape, {}}, {}, channels % 2, numbers, 10);
    }
  }
}

TEST_CASE("fast Activate keeps NaN and saturates without overflow") {
  const Shape shape{1, 1, 20};
  Tensor x(shape), y(shape);
  const float infinity = std::numeric_limits<float>::infinity();
  for (Variant& variant : variants()) {
    const auto run = [&](const Activation& activation, float value) {
      std::fill_n(x.view().data(), 20, value);
      const View<const float> views[] = {std::as_const(x).view()};
      variant.factory->make({Activate{activation}, {shape}, shape, {}}, {})->run(views, y.view());
      return y.view().data()[3];
    };
    CHECK(std::isnan(run({Kind::none, 0, 0}, std::nanf(""))));
    CHECK(std::isnan(run({Kind::clip, 0, 6}, std::nanf(""))));
    CHECK(run({Kind::sigmoid, 0, 0}, 1000) == 1);
    CHECK(run({Kind::sigmoid, 0, 0}, -1000) == 0);
    CHECK(run({Kind::none, 0, 0}, infinity) == infinity);
    CHECK(run({Kind::hard_swish, 0, 0}, 1000) == 1000);
  }
}

TEST_CASE("fast ScaleShift") {
  Numbers numbers(17);
  for (const int channels : kChannels) {
    const Shape shape{4, 5, channels};
    const std::size_t n = std::size_t(channels);
    compare({ScaleShift{}, {shape}, shape, {}}, {numbers.many(n), numbers.many(n)}, channels % 2,
            numbers);
    compare({ScaleShift{}, {shape}, shape, {}}, {numbers.many(n), {}}, channels % 3, numbers);
  }
}

TEST_CASE("fast Add and Mul, with and without broadcast") {
  Numbers numbers(18);
  int turn = 0;
  for (const int channels : kChannels) {
    for (const Extent size : kSizes) {
      const Shape shape{size.height, size.width, channels};
      for (const Shape& second : {shape, Shape{1, 1, channels}}) {
        const Activation& activation = kActivations[turn % 7];
        compare({Add{activation}, {shape, second}, shape, {}}, {}, turn % 2, numbers);
        compare({Mul{}, {shape, second}, shape, {}}, {}, turn % 3, numbers);
        ++turn;
      }
    }
  }
}

TEST_CASE("fast Softmax") {
  Numbers numbers(19);
  for (const int channels : {1, 2, 10, 1000}) {
    const Shape shape{2, 3, channels};
    for (const int margin : {0, 1}) {
      compare({Softmax{}, {shape}, shape, {}}, {}, margin, numbers, 20);
    }
  }
}

TEST_CASE("fast Concat, Slice, Pad and Flatten") {
  Numbers numbers(20);
  for (const int margin : {0, 2}) {
    compare({Concat{}, {{3, 4, 2}, {3, 4, 5}, {3, 4, 1}}, {3, 4, 8}, {}}, {}, margin, numbers);
    const Slice slice{{1, 6}, {1, 7, 2}, {0, 5, 3}};
    compare({slice, {{7, 5, 6}}, {3, 2, 5}, {{{1, 6}, {0, 5}}}}, {}, margin, numbers);
    compare({slice, {{7, 5, 6}}, {3, 2, 4}, {{{3, 4}, {0, 1}}, {{0, 3}, {1, 4}}}}, {}, margin,
            numbers);
    compare({Pad{{1, 2, 0, 3}, 2, 1, 0.5f}, {{3, 2, 4}}, {4, 7, 7}, {}}, {}, margin, numbers);
    compare({Flatten{}, {{3, 5, 7}}, {1, 1, 105}, {}}, {}, margin, numbers);
  }
}

TEST_CASE("fast kernels refuse what the reference refuses, and instruction sets that are not") {
  const KernelSpec shuffle{ChannelShuffle{2}, {{1, 1, 4}}, {1, 1, 4}, {}};
  CHECK_THROWS_AS(variants()[0].factory->make(shuffle, {}), ContractViolation);
#if defined(__x86_64__)
  CHECK_THROWS_AS(kernels::make_kernels({1, kernels::Isa::neon}), ContractViolation);
#else
  CHECK_THROWS_AS(kernels::make_kernels({1, kernels::Isa::avx2}), ContractViolation);
#endif
  CHECK_THROWS_AS(kernels::make_kernels({0, kernels::best_isa()}), ContractViolation);
}

TEST_CASE("fast kernels treat denormals as zero and leave the thread as it was") {
  const Shape shape{1, 1, 40};
  Tensor x(shape), y(shape);
  std::fill_n(x.view().data(), 40, 1e-39f);
  for (Variant& variant : variants()) {
    const View<const float> views[] = {std::as_const(x).view(), std::as_const(x).view()};
    variant.factory->make({Add{}, {shape, shape}, shape, {}}, {})->run(views, y.view());
    CHECK(y.view().data()[5] == 0);
  }
  volatile float tiny = 1e-39f;
  CHECK(tiny + tiny > 0);
}

}  // namespace
