#include "kernels/panels.h"

#include <algorithm>
#include <limits>

namespace sbcnn::kernels {
namespace {

constexpr int kMostVectors = 4;

// Cycles that one tap of all tiles of a row costs: a model that only has to rank the shapes. A core
// starts two multiply-adds and two loads per cycle and waits four cycles for a sum. What is not the
// bottleneck costs a little, too, for it takes turns with everything else; and weights come from
// the second level cache.
double row_cost(const Routines& r, int pixels, int rows, int vectors, bool paired) {
  const int most = r.tile_pixels[paired][vectors];
  if (most == 0) {
    return std::numeric_limits<double>::infinity();
  }
  const int together = rows > 1 && pixels <= most / 2 ? 2 : 1;  // rows of a tile
  const int tiles = (pixels * together + most - 1) / most;
  const double p = double(pixels) * together / tiles;
  const double weights = vectors + (paired ? 0.5 : 0);
  const double inputs = p * ((vectors > 0 ? 1 : 0) + (paired ? 0.5 : 0));
  const double arithmetic = p * weights / 2, loads = (inputs + weights) / 2, latency = 4;
  return tiles * (std::max({arithmetic, loads, latency}) + loads / 2 + weights * 0.02 * r.lanes) /
         together;
}

std::vector<int> widths(int whole, int width) {
  std::vector<int> all(std::size_t(whole / width), width);
  if (whole % width > 0) {
    all.push_back(whole % width);
  }
  return all;
}

struct Cut {
  std::vector<int> vectors;     // by panel
  bool paired_in_last = false;  // the last panel has a paired vector
};

Cut best_cut(const Routines& r, int channels, int pixels, int rows) {
  const int rest = channels % r.lanes;
  const bool paired = 0 < rest && rest <= r.lanes / 2 && r.tile_pixels[1][0] > 0;
  const int whole = channels / r.lanes + (rest > 0 && !paired ? 1 : 0);
  Cut best;
  double least = std::numeric_limits<double>::infinity();
  for (int width = 1; width <= kMostVectors; ++width) {
    std::vector<int> panels = widths(whole, width);
    for (const bool joins : {false, true}) {  // the paired vector may go with the last panel
      if (joins && (!paired || panels.empty())) {
        continue;
      }
      double cost = paired && !joins ? row_cost(r, pixels, rows, 0, true) : 0;
      for (std::size_t i = 0; i < panels.size(); ++i) {
        cost += row_cost(r, pixels, rows, panels[i], joins && i + 1 == panels.size());
      }
      if (cost < least) {
        least = cost;
        best = {panels, paired};
        if (paired && !joins) {
          best.vectors.push_back(0);
        }
      }
    }
  }
  return best;
}

}  // namespace

std::vector<Panel> cut_into_panels(const Routines& r, const Block& block,
                                   std::span<const Range> pieces, int pixels, int rows) {
  std::vector<Panel> panels;
  for (std::size_t piece = 0; piece < pieces.size(); ++piece) {
    const Range outputs{std::max(block.outputs.begin, pieces[piece].begin),
                        std::min(block.outputs.end, pieces[piece].end)};
    if (outputs.size() <= 0) {
      continue;
    }
    const Cut cut = best_cut(r, outputs.size(), pixels, rows);
    for (std::size_t i = 0, begin = std::size_t(outputs.begin); i < cut.vectors.size(); ++i) {
      const bool last = i + 1 == cut.vectors.size();
      Panel p;
      p.inputs = block.inputs;
      p.piece = int(piece);
      p.vectors = cut.vectors[i];
      p.paired = last && cut.paired_in_last;
      p.outputs = {int(begin), last ? outputs.end : int(begin) + p.vectors * r.lanes};
      p.tail = p.outputs.size() - (p.sums() - 1) * r.lanes;
      begin = std::size_t(p.outputs.end);
      panels.push_back(p);
    }
  }
  return panels;
}

std::size_t segment_floats(const Panel& p, int lanes, int taps) {
  const int vectors = p.vectors * taps + (p.paired ? (taps + 1) / 2 : 0);
  return std::size_t(vectors) * std::size_t(lanes);
}

std::size_t bias_floats(const Panel& p, int lanes) {
  return std::size_t(p.sums()) * std::size_t(lanes);
}

void pack_bias(const Panel& p, int lanes, std::span<const float> bias, float* to) {
  const int whole = p.paired ? p.vectors * lanes : p.outputs.size();
  for (int o = 0; o < p.outputs.size() && !bias.empty(); ++o) {
    to[o < whole ? o : whole + 2 * (o - whole)] = bias[std::size_t(p.outputs.begin + o)];
  }
}

}  // namespace sbcnn::kernels
