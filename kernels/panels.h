// Output channels cut into panels, and weights packed in the order in which tiles read them.
//
// A panel is what one strip of tiles computes at a time: some vectors of output channels, of which
// the last may be part full or paired (routines.h, tile.h).
#pragma once

#include <algorithm>
#include <span>
#include <vector>

#include "core/ports.h"
#include "kernels/routines.h"

namespace sbcnn::kernels {

struct Panel {
  Range inputs, outputs;  // channels of the layer
  int piece = 0;          // of the output (KernelSpec::pieces) in which `outputs` lies
  int vectors = 0;
  bool paired = false;
  int tail = 0;                       // channels of the last vector, the paired one included
  std::size_t weights = 0, bias = 0;  // where they lie, for whoever packs them

  int sums() const { return vectors + (paired ? 1 : 0); }
};

// How the outputs of `block` are best cut for rows of `pixels`, of which `rows` lie below each
// other. No panel crosses from one piece of the output into the next.
std::vector<Panel> cut_into_panels(const Routines&, const Block& block,
                                   std::span<const Range> pieces, int pixels, int rows);

// Tiles of the micro-kernel that a row of `pixels` takes.
inline int tiles_of(const Routines& r, const Panel& p, int pixels) {
  const int most = r.tile_pixels[p.paired][p.vectors];
  return (pixels + most - 1) / most;
}

// Floats that the weights of one segment of `taps` take, and that a bias takes.
std::size_t segment_floats(const Panel&, int lanes, int taps);
std::size_t bias_floats(const Panel&, int lanes);

void pack_bias(const Panel&, int lanes, std::span<const float> bias, float* to);

// Packs the weights of one segment and returns the place behind them. weight(tap, o) is the weight
// of output channel panel.outputs.begin + o. `to` is zeroed.
template <class F>
float* pack_segment(const Panel& panel, int lanes, int taps, float* to, const F& weight) {
  const int count = panel.outputs.size();
  const int whole = panel.paired ? panel.vectors * lanes : count;  // channels not paired
  const int row = panel.vectors * lanes;
  const int most = panel.paired ? 2 : 1;  // taps that lie together
  for (int tap = 0; tap < taps; tap += most) {
    const int together = std::min(most, taps - tap);
    for (int t = 0; t < together; ++t) {
      for (int o = 0; o < count; ++o) {
        to[o < whole ? t * row + o : together * row + 2 * (o - whole) + t] = weight(tap + t, o);
      }
    }
    to += together * row + (panel.paired ? lanes : 0);
  }
  return to;
}

}  // namespace sbcnn::kernels
