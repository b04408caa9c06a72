// Layers that only copy. Memory is their limit, so they stay on the calling thread.
#include <algorithm>

#include "kernels/layers.h"

namespace sbcnn::kernels {

std::unique_ptr<Kernel> make_concat(const KernelSpec&) {
  return make_kernel([](Inputs in, View<float> out) {
    int begin = 0;
    for (const View<const float>& part : in) {
      const Range channels{begin, begin + part.shape().channels};
      copy(part, out.channels(channels));
      begin = channels.end;
    }
  });
}

// Rows and columns with steps are again a view, of longer strides.
std::unique_ptr<Kernel> make_slice(const KernelSpec& spec) {
  return make_kernel(
      [slice = std::get<Slice>(spec.layer), blocks = spec.blocks](Inputs in, View<float> out) {
        const View<const float>& x = in[0];
        const View<const float> picked(x.at(slice.rows.begin, slice.columns.begin),
                                       {out.shape().height, out.shape().width, x.shape().channels},
                                       x.pixel_stride() * std::size_t(slice.columns.step),
                                       x.row_stride() * std::size_t(slice.rows.step));
        for (const Block& block : blocks) {
          copy(picked.channels(block.inputs), out.channels(block.outputs));
        }
      });
}

std::unique_ptr<Kernel> make_pad(const KernelSpec& spec) {
  return make_kernel([pad = std::get<Pad>(spec.layer)](Inputs in, View<float> out) {
    const Shape s = in[0].shape();
    for (int y = 0; y < out.shape().height; ++y) {
      for (int x = 0; x < out.shape().width; ++x) {
        std::fill_n(out.at(y, x), out.shape().channels, pad.value);
      }
    }
    const View<float> inner(out.at(pad.pads.top, pad.pads.left) + pad.channels_before, s,
                            out.pixel_stride(), out.row_stride());
    copy(in[0], inner);
  });
}

std::unique_ptr<Kernel> make_flatten(const KernelSpec& spec) {
  return make_kernel([shape = spec.inputs[0]](Inputs in, View<float> out) {
    copy(in[0], View<float>(out.data(), shape));
  });
}

}  // namespace sbcnn::kernels
