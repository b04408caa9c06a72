// Layers that treat every pixel alike.
#include <algorithm>
#include <cmath>

#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

template <class T>
bool without_gaps(const View<T>& row_of) {
  return row_of.pixel_stride() == std::size_t(row_of.shape().channels);
}

// f(y, x, floats) for runs of floats that are contiguous in all views: rows if no view has gaps
// between pixels, else single pixels.
template <class F, class... T>
void for_runs(const Context& context, const F& f, const View<float>& out,
              const View<T>&... inputs) {
  const Shape s = out.shape();
  const bool rows = without_gaps(out) && (without_gaps(inputs) && ...);
  for_rows(context, s.height, s.size(), [&](int y) {
    if (rows) {
      f(y, 0, std::size_t(s.width) * std::size_t(s.channels));
      return;
    }
    for (int x = 0; x < s.width; ++x) {
      f(y, x, std::size_t(s.channels));
    }
  });
}

using Binary = void (*)(const float* a, const float* b, float* y, std::size_t n);

// out = f(a, b) with b of a's shape or 1 x 1 x C, then `activation`.
auto binary(Binary f, Function activation, bool broadcast, Context context) {
  const bool plain = activation.kind == Function::clamp && std::isinf(activation.alpha) &&
                     std::isinf(activation.beta);
  return [=](Inputs in, View<float> out) {
    const auto run = [&](int y, int x, std::size_t n) {
      f(in[0].at(y, x), broadcast ? in[1].data() : in[1].at(y, x), out.at(y, x), n);
      if (!plain) {
        context.routines.apply(activation, out.at(y, x), out.at(y, x), n);
      }
    };
    if (!broadcast) {
      for_runs(context, run, out, in[0], in[1]);
      return;
    }
    for_rows(context, out.shape().height, out.shape().size(), [&](int y) {
      for (int x = 0; x < out.shape().width; ++x) {
        run(y, x, std::size_t(out.shape().channels));
      }
    });
  };
}

void softmax(const float* x, float* y, std::size_t n) {
  const float largest = *std::max_element(x, x + n);
  float sum = 0;
  for (std::size_t i = 0; i < n; ++i) {
    y[i] = std::exp(x[i] - largest);
    sum += y[i];
  }
  for (std::size_t i = 0; i < n; ++i) {
    y[i] /= sum;
  }
}

}  // namespace

std::unique_ptr<Kernel> make_activate(const KernelSpec& spec, Context context) {
  const Function f = function_of(std::get<Activate>(spec.layer).activation);
  return make_kernel([=](Inputs in, View<float> out) {
    const auto run = [&](int y, int x, std::size_t n) {
      context.routines.apply(f, in[0].at(y, x), out.at(y, x), n);
    };
    for_runs(context, run, out, in[0]);
  });
}

std::unique_ptr<Kernel> make_scale_shift(const KernelSpec& spec, Weights weights, Context context) {
  weights.bias.resize(std::size_t(spec.output.channels));
  return make_kernel([context, scale = std::move(weights.weight), shift = std::move(weights.bias)](
                         Inputs in, View<float> out) {
    for_rows(context, out.shape().height, out.shape().size(), [&](int y) {
      for (int x = 0; x < out.shape().width; ++x) {
        context.routines.scale_shift(in[0].at(y, x), scale.data(), shift.data(), out.at(y, x),
                                     scale.size());
      }
    });
  });
}

std::unique_ptr<Kernel> make_add(const KernelSpec& spec, Context context) {
  return make_kernel(binary(context.routines.add, function_of(std::get<Add>(spec.layer).activation),
                            broadcasts(spec), context));
}

std::unique_ptr<Kernel> make_mul(const KernelSpec& spec, Context context) {
  return make_kernel(binary(context.routines.mul, function_of({}), broadcasts(spec), context));
}

std::unique_ptr<Kernel> make_softmax(const KernelSpec&, Context context) {
  return make_kernel([context](Inputs in, View<float> out) {
    for_rows(context, out.shape().height, out.shape().size(), [&](int y) {
      for (int x = 0; x < out.shape().width; ++x) {
        softmax(in[0].at(y, x), out.at(y, x), std::size_t(out.shape().channels));
      }
    });
  });
}

}  // namespace sbcnn::kernels
