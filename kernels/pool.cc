#include "kernels/layers.h"

namespace sbcnn::kernels {
namespace {

PoolPixel pool_pixel(const View<const float>& x, const Window& w, Taps rows, Taps columns, int top,
                     int left, float* output) {
  PoolPixel p;
  p.input = x.at(top + rows.first * w.dilation.height, left + columns.first * w.dilation.width);
  p.row_step = std::ptrdiff_t(x.row_stride()) * w.dilation.height;
  p.column_step = std::ptrdiff_t(x.pixel_stride()) * w.dilation.width;
  p.rows = rows.last - rows.first;
  p.columns = columns.last - columns.first;
  p.output = output;
  p.channels = x.shape().channels;
  return p;
}

std::size_t work_of(const Window& w, const Shape& output) {
  return output.size() * std::size_t(w.kernel.height) * std::size_t(w.kernel.width);
}

}  // namespace

std::unique_ptr<Kernel> make_max_pool(const KernelSpec& spec, Context context) {
  const Window w = std::get<MaxPool>(spec.layer).window;
  return make_kernel([w, context](Inputs inputs, View<float> out) {
    const View<const float>& x = inputs[0];
    for_rows(context, out.shape().height, work_of(w, out.shape()), [&](int y) {
      const int top = y * w.stride.height - w.pads.top;
      const Taps rows = taps_inside(top, w.dilation.height, w.kernel.height, x.shape().height);
      for (int column = 0; column < out.shape().width; ++column) {
        const int left = column * w.stride.width - w.pads.left;
        const Taps columns = taps_inside(left, w.dilation.width, w.kernel.width, x.shape().width);
        context.routines.max_pool(pool_pixel(x, w, rows, columns, top, left, out.at(y, column)));
      }
    });
  });
}

std::unique_ptr<Kernel> make_average_pool(const KernelSpec& spec, Context context) {
  AveragePool pool;
  if (const auto* layer = std::get_if<AveragePool>(&spec.layer)) {
    pool = *layer;
  } else {  // GlobalAveragePool
    pool.window.kernel = {spec.inputs[0].height, spec.inputs[0].width};
  }
  return make_kernel([pool, context](Inputs inputs, View<float> out) {
    const View<const float>& x = inputs[0];
    const Window& w = pool.window;
    for_rows(context, out.shape().height, work_of(w, out.shape()), [&](int y) {
      for (int column = 0; column < out.shape().width; ++column) {
        const AverageTaps taps = average_taps(pool, x.shape(), y, column);
        context.routines.sum_pool(
            pool_pixel(x, w, taps.rows, taps.columns, y * w.stride.height - w.pads.top,
                       column * w.stride.width - w.pads.left, out.at(y, column)),
            taps.divisor == 0 ? 0.0f : 1.0f / float(taps.divisor));
      }
    });
  });
}

}  // namespace sbcnn::kernels
