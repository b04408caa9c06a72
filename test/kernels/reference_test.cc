// The reference kernels against numbers worked out by hand: everything else is checked against
// the reference, so these cases must not come from code.
#include "kernels/reference.h"

#include <doctest/doctest.h>

#include <cmath>
#include <initializer_list>

#include "kernels/spec.h"

namespace {

using namespace sbcnn;

Tensor tensor(Shape shape, std::initializer_list<float> values) {
  Tensor t(shape);
  REQUIRE(values.size() == shape.size());
  std::copy(values.begin(), values.end(), t.view().data());
  return t;
}

// Runs one layer; input borders are absent on purpose: the reference tests edges itself.
std::vector<float> run(const KernelSpec& spec, const Weights& weights,
                       std::initializer_list<const Tensor*> inputs) {
  const auto factory = kernels::make_reference_kernels();
  std::vector<View<const float>> views;
  for (const Tensor* t : inputs) {
    views.push_back(t->view());
  }
  Tensor out(spec.output);
  factory->make(spec, weights)->run(views, out.view());
  const auto flat = out.view().flat();
  return {flat.begin(), flat.end()};
}

using Floats = std::vector<float>;

TEST_CASE("reference Conv: 2x2 kernel is a correlation, not flipped") {
  // 1 2 3      1 2
  // 4 5 6  by  3 4:  1*1 + 2*2 + 3*4 + 4*5 = 37, ...
  // 7 8 9
  const Tensor x = tensor({3, 3, 1}, {1, 2, 3, 4, 5, 6, 7, 8, 9});
  const KernelSpec spec{
      Conv{1, {2, 2}, {1, 1}, {1, 1}, {}, 1, {}}, {{3, 3, 1}}, {2, 2, 1}, {{{0, 1}, {0, 1}}}};
  CHECK(run(spec, {{1, 2, 3, 4}, {}}, {&x}) == Floats{37, 47, 67, 77});
  CHECK(run(spec, {{1, 2, 3, 4}, {0.5f}}, {&x}) == Floats{37.5f, 47.5f, 67.5f, 77.5f});
}

TEST_CASE("reference Conv: asymmetric pads, stride and dilation") {
  const Tensor x = tensor({1, 4, 1}, {1, 2, 3, 4});
  // One row; kernel (10, 1) over 0 0 1 2 3 4 0.
  KernelSpec spec{Conv{1, {1, 2}, {1, 2}, {1, 1}, {0, 2, 0, 1}, 1, {}},
                  {{1, 4, 1}},
                  {1, 3, 1},
                  {{{0, 1}, {0, 1}}}};
  CHECK(run(spec, {{10, 1}, {}}, {&x}) == Floats{0, 12, 34});
  // Dilation 3: taps three apart, so 1 -> 4.
  spec.layer = Conv{1, {1, 2}, {1, 1}, {1, 3}, {}, 1, {}};
  spec.output = {1, 1, 1};
  CHECK(run(spec, {{10, 1}, {}}, {&x}) == Floats{14});
}

TEST_CASE("reference Conv: blocks read their own channels; weights go by output channel") {
  const Tensor x = tensor({1, 1, 4}, {1, 2, 3, 4});
  const KernelSpec spec{Conv{4, {1, 1}, {1, 1}, {1, 1}, {}, 2, {}},
                        {{1, 1, 4}},
                        {1, 1, 4},
                        {{{2, 4}, {0, 2}}, {{0, 2}, {2, 4}}}};
  // Channels 0, 1 read (3, 4); channels 2, 3 read (1, 2).
  CHECK(run(spec, {{1, 0, 0, 1, 1, 1, 10, 1}, {}}, {&x}) == Floats{3, 4, 3, 12});
}

TEST_CASE("reference Conv: weight order is channels, rows, columns") {
  const Tensor x = tensor({2, 1, 2}, {1, 2, 3, 4});  // channel 0: 1, 3; channel 1: 2, 4
  const KernelSpec spec{
      Conv{1, {2, 1}, {1, 1}, {1, 1}, {}, 1, {}}, {{2, 1, 2}}, {1, 1, 1}, {{{0, 2}, {0, 1}}}};
  CHECK(run(spec, {{1, 10, 100, 1000}, {}}, {&x}) == Floats{1 + 30 + 200 + 4000});
}

TEST_CASE("reference Conv: residual is added before the activation") {
  const Tensor x = tensor({1, 2, 1}, {1, -1});
  const Tensor residual = tensor({1, 2, 1}, {-3, 4});
  const KernelSpec spec{Conv{1, {1, 1}, {1, 1}, {1, 1}, {}, 1, {Activation::Kind::relu, 0, 0}},
                        {{1, 2, 1}, {1, 2, 1}},
                        {1, 2, 1},
                        {{{0, 1}, {0, 1}}}};
  CHECK(run(spec, {{2}, {0.5f}}, {&x, &residual}) == Floats{0, 2.5f});
}

TEST_CASE("reference Dense") {
  const Tensor x = tensor({1, 1, 3}, {1, 2, 3});
  const KernelSpec spec{Dense{2}, {{1, 1, 3}}, {1, 1, 2}, {}};
  CHECK(run(spec, {{1, 10, 100, 0, 0, -1}, {}}, {&x}) == Floats{321, -3});
  CHECK(run(spec, {{1, 10, 100, 0, 0, -1}, {1, 2}}, {&x}) == Floats{322, -1});
}

TEST_CASE("reference MaxPool: padding never wins; ceil_mode looks past the end") {
  const Tensor x = tensor({1, 4, 1}, {-5, -2, -7, -3});
  KernelSpec spec{
      MaxPool{{{1, 3}, {1, 2}, {1, 1}, {0, 1, 0, 0}, false}}, {{1, 4, 1}}, {1, 2, 1}, {}};
  CHECK(run(spec, {}, {&x}) == Floats{-2, -2});
  spec = {MaxPool{{{1, 2}, {1, 3}, {1, 1}, {}, true}}, {{1, 4, 1}}, {1, 2, 1}, {}};
  CHECK(run(spec, {}, {&x}) == Floats{-2, -3});
  spec = {MaxPool{{{1, 2}, {1, 1}, {1, 2}, {}, false}}, {{1, 4, 1}}, {1, 2, 1}, {}};
  CHECK(run(spec, {}, {&x}) == Floats{-5, -2});
}

TEST_CASE("reference AveragePool: count_include_pad, and ceil_mode's overhang never counts") {
  const Tensor x = tensor({1, 4, 1}, {2, 4, 6, 8});
  const Window padded{{1, 2}, {1, 2}, {1, 1}, {0, 1, 0, 1}, false};
  KernelSpec spec{AveragePool{padded, false}, {{1, 4, 1}}, {1, 3, 1}, {}};
  CHECK(run(spec, {}, {&x}) == Floats{2, 5, 8});
  spec.layer = AveragePool{padded, true};
  CHECK(run(spec, {}, {&x}) == Floats{1, 5, 4});
  const Window overhanging{{1, 3}, {1, 3}, {1, 1}, {}, true};
  for (const bool include : {false, true}) {
    spec = {AveragePool{overhanging, include}, {{1, 4, 1}}, {1, 2, 1}, {}};
    CHECK(run(spec, {}, {&x}) == Floats{4, 8});
  }
}

TEST_CASE("reference GlobalAveragePool") {
  const Tensor x = tensor({2, 2, 2}, {1, 10, 2, 20, 3, 30, 4, 40});
  CHECK(run({GlobalAveragePool{}, {{2, 2, 2}}, {1, 1, 2}, {}}, {}, {&x}) == Floats{2.5f, 25});
}

TEST_CASE("reference Activate") {
  const Tensor x = tensor({1, 5, 1}, {-4, -1, 0, 1, 8});
  const auto activate = [&](Activation::Kind kind, float alpha, float beta) {
    return run({Activate{{kind, alpha, beta}}, {{1, 5, 1}}, {1, 5, 1}, {}}, {}, {&x});
  };
  using Kind = Activation::Kind;
  CHECK(activate(Kind::none, 0, 0) == Floats{-4, -1, 0, 1, 8});
  CHECK(activate(Kind::relu, 0, 0) == Floats{0, 0, 0, 1, 8});
  CHECK(activate(Kind::clip, -2, 6) == Floats{-2, -1, 0, 1, 6});
  CHECK(activate(Kind::leaky_relu, 0.5f, 0) == Floats{-2, -0.5f, 0, 1, 8});
  CHECK(activate(Kind::hard_sigmoid, 0.25f, 0.5f) == Floats{0, 0.25f, 0.5f, 0.75f, 1});
  // x * max(0, min(1, x / 6 + 1 / 2))
  const Floats swish = activate(Kind::hard_swish, 0, 0);
  CHECK(swish[0] == 0);
  CHECK(swish[1] == doctest::Approx(-1.0 / 3));
  CHECK(swish[3] == doctest::Approx(2.0 / 3));
  CHECK(swish[4] == 8);
  const Floats sigmoid = activate(Kind::sigmoid, 0, 0);
  CHECK(sigmoid[2] == 0.5f);
  CHECK(sigmoid[3] == doctest::Approx(0.7310586));
  CHECK(sigmoid[0] == doctest::Approx(0.01798621));
}

TEST_CASE("reference ScaleShift") {
  const Tensor x = tensor({1, 2, 2}, {1, 2, 3, 4});
  const KernelSpec spec{ScaleShift{}, {{1, 2, 2}}, {1, 2, 2}, {}};
  CHECK(run(spec, {{10, 100}, {1, 2}}, {&x}) == Floats{11, 202, 31, 402});
  CHECK(run(spec, {{10, 100}, {}}, {&x}) == Floats{10, 200, 30, 400});
}

TEST_CASE("reference Add and Mul: same shape, and 1 x 1 x C over every pixel") {
  const Tensor a = tensor({1, 2, 2}, {1, 2, 3, 4});
  const Tensor b = tensor({1, 2, 2}, {10, -20, 30, -40});
  const Tensor c = tensor({1, 1, 2}, {5, 7});
  const Add relu{{Activation::Kind::relu, 0, 0}};
  CHECK(run({Add{}, {{1, 2, 2}, {1, 2, 2}}, {1, 2, 2}, {}}, {}, {&a, &b}) ==
        Floats{11, -18, 33, -36});
  CHECK(run({relu, {{1, 2, 2}, {1, 2, 2}}, {1, 2, 2}, {}}, {}, {&a, &b}) == Floats{11, 0, 33, 0});
  CHECK(run({Add{}, {{1, 2, 2}, {1, 1, 2}}, {1, 2, 2}, {}}, {}, {&a, &c}) == Floats{6, 9, 8, 11});
  CHECK(run({Mul{}, {{1, 2, 2}, {1, 2, 2}}, {1, 2, 2}, {}}, {}, {&a, &b}) ==
        Floats{10, -40, 90, -160});
  CHECK(run({Mul{}, {{1, 2, 2}, {1, 1, 2}}, {1, 2, 2}, {}}, {}, {&a, &c}) == Floats{5, 14, 15, 28});
}

TEST_CASE("reference Concat: channels of each pixel one after the other") {
  const Tensor a = tensor({1, 2, 1}, {1, 2});
  const Tensor b = tensor({1, 2, 2}, {10, 20, 30, 40});
  CHECK(run({Concat{}, {{1, 2, 1}, {1, 2, 2}}, {1, 2, 3}, {}}, {}, {&a, &b}) ==
        Floats{1, 10, 20, 2, 30, 40});
}

TEST_CASE("reference Slice: blocks say the channels; rows and columns with steps") {
  const Tensor x =
      tensor({3, 3, 2}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17});
  const Slice slice{{0, 2}, {0, 3, 2}, {1, 3, 1}};
  CHECK(run({slice, {{3, 3, 2}}, {2, 2, 2}, {{{0, 2}, {0, 2}}}}, {}, {&x}) ==
        Floats{2, 3, 4, 5, 14, 15, 16, 17});
  CHECK(run({slice, {{3, 3, 2}}, {2, 2, 2}, {{{1, 2}, {0, 1}}, {{0, 1}, {1, 2}}}}, {}, {&x}) ==
        Floats{3, 2, 5, 4, 15, 14, 17, 16});
}

TEST_CASE("reference Pad: rows, columns and channels") {
  const Tensor x = tensor({1, 1, 1}, {7});
  CHECK(run({Pad{{0, 1, 1, 0}, 0, 0, 3}, {{1, 1, 1}}, {2, 2, 1}, {}}, {}, {&x}) ==
        Floats{3, 7, 3, 3});
  CHECK(run({Pad{{}, 1, 2, -1}, {{1, 1, 1}}, {1, 1, 4}, {}}, {}, {&x}) == Floats{-1, 7, -1, -1});
}

TEST_CASE("reference Flatten keeps storage order") {
  const Tensor x = tensor({1, 2, 2}, {1, 2, 3, 4});
  CHECK(run({Flatten{}, {{1, 2, 2}}, {1, 1, 4}, {}}, {}, {&x}) == Floats{1, 2, 3, 4});
}

TEST_CASE("reference Softmax: per pixel, without overflow") {
  const Tensor x = tensor({1, 2, 2}, {0, std::log(3.0f), 1000, 1000});
  const Floats y = run({Softmax{}, {{1, 2, 2}}, {1, 2, 2}, {}}, {}, {&x});
  CHECK(y[0] == doctest::Approx(0.25));
  CHECK(y[1] == doctest::Approx(0.75));
  CHECK(y[2] == doctest::Approx(0.5));
  CHECK(y[3] == doctest::Approx(0.5));
}

TEST_CASE("a kernel refuses what does not fit") {
  const auto factory = kernels::make_reference_kernels();
  const KernelSpec conv{
      Conv{2, {1, 1}, {1, 1}, {1, 1}, {}, 1, {}}, {{1, 1, 2}}, {1, 1, 2}, {{{0, 2}, {0, 2}}}};
  CHECK_NOTHROW(factory->make(conv, {{1, 2, 3, 4}, {}}));
  CHECK_THROWS_AS(factory->make(conv, {{1, 2, 3}, {}}), ContractViolation);
  CHECK_THROWS_AS(factory->make(conv, {{1, 2, 3, 4}, {1}}), ContractViolation);
  KernelSpec half = conv;
  half.blocks = {{{0, 2}, {0, 1}}};
  CHECK_THROWS_AS(factory->make(half, {{1, 2, 3, 4}, {}}), ContractViolation);
  half.blocks = {{{0, 2}, {0, 1}}, {{0, 2}, {0, 2}}};
  CHECK_THROWS_AS(factory->make(half, {{1, 2, 3, 4}, {}}), ContractViolation);
  const KernelSpec shuffle{ChannelShuffle{2}, {{1, 1, 4}}, {1, 1, 4}, {}};
  CHECK_THROWS_AS(factory->make(shuffle, {}), ContractViolation);
}

TEST_CASE("taps_inside keeps what lies inside an edge") {
  const auto taps = [](int begin, int dilation, int kernel, int size) {
    const kernels::Taps t = kernels::taps_inside(begin, dilation, kernel, size);
    return std::pair(t.first, t.last);
  };
  CHECK(taps(0, 1, 3, 5) == std::pair(0, 3));
  CHECK(taps(-1, 1, 3, 5) == std::pair(1, 3));
  CHECK(taps(-3, 2, 3, 5) == std::pair(2, 3));
  CHECK(taps(4, 1, 3, 5) == std::pair(0, 1));
  CHECK(taps(3, 2, 3, 5) == std::pair(0, 1));
  CHECK(taps(9, 1, 3, 5) == std::pair(0, 0));
}

}  // namespace
