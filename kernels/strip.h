// A strip of the convolution's output, cut into tiles: the table of all tiles that a micro-kernel
// has and the walk over the strip.
//
// `Tiles` describes a micro-kernel:
//   Element                                  what it multiplies
//   Tile<Rows, Columns, Vectors, Paired>     one tile (tile.h, half_tile.h)
//   kMostPixels[paired][vectors]             of a tile; 0: no such tile
#pragma once

#include "kernels/tile.h"

namespace sbcnn::kernels::SBCNN_ISA {

inline constexpr int kMostPixels = 14, kMostRows = 2;

template <class Tiles>
struct TileTable {
  using Strip = ConvStrip<typename Tiles::Element>;
  using Function = void (*)(const Strip&, int number, int row, int column, int tiles);
  struct ByColumns {
    Function columns[kMostPixels + 1];
  };

  template <int Rows, int Columns, int Vectors, bool Paired>
  static constexpr Function tile_or_null() {
    if constexpr (Rows * Columns <= Tiles::kMostPixels[Paired][Vectors]) {
      return conv_tiles<typename Tiles::template Tile<Rows, Columns, Vectors, Paired>, Rows,
                        Columns>;
    } else {
      return nullptr;
    }
  }

  template <int R, int V, bool P>
  static constexpr ByColumns tiles() {
    return {{nullptr, tile_or_null<R, 1, V, P>(), tile_or_null<R, 2, V, P>(),
             tile_or_null<R, 3, V, P>(), tile_or_null<R, 4, V, P>(), tile_or_null<R, 5, V, P>(),
             tile_or_null<R, 6, V, P>(), tile_or_null<R, 7, V, P>(), tile_or_null<R, 8, V, P>(),
             tile_or_null<R, 9, V, P>(), tile_or_null<R, 10, V, P>(), tile_or_null<R, 11, V, P>(),
             tile_or_null<R, 12, V, P>(), tile_or_null<R, 13, V, P>(),
             tile_or_null<R, 14, V, P>()}};
  }

  ByColumns by[kMostRows][2][5];  // [rows - 1][paired][vectors]

  static constexpr TileTable make() {
    return {{{{{},
               tiles<1, 1, false>(),
               tiles<1, 2, false>(),
               tiles<1, 3, false>(),
               tiles<1, 4, false>()},
              {tiles<1, 0, true>(), tiles<1, 1, true>(), tiles<1, 2, true>(), {}, {}}},
             {{{},
               tiles<2, 1, false>(),
               tiles<2, 2, false>(),
               tiles<2, 3, false>(),
               tiles<2, 4, false>()},
              {tiles<2, 0, true>(), tiles<2, 1, true>(), tiles<2, 2, true>(), {}, {}}}}};
  }
};

// Two rows at a time where both fit into one tile. The tiles of a row are of equal width, as near
// as possible: some are one pixel wider than the others.
template <class Tiles>
void conv_strip(const ConvStrip<typename Tiles::Element>& strip) {
  static constexpr TileTable<Tiles> kTable = TileTable<Tiles>::make();
  const int most = Tiles::kMostPixels[strip.paired][strip.vectors];
  for (int y = 0, number = 0; y < strip.rows;) {
    const int rows = strip.pixels <= most / 2 && y + 1 < strip.rows ? 2 : 1;
    const auto& tiles = kTable.by[rows - 1][strip.paired][strip.vectors];
    const int count = (strip.pixels * rows + most - 1) / most;
    const int width = strip.pixels / count, wider = strip.pixels % count;
    if (wider > 0) {
      tiles.columns[width + 1](strip, number, y, 0, wider);
    }
    tiles.columns[width](strip, number + wider, y, wider * (width + 1), count - wider);
    number += count;
    y += rows;
  }
}

template <class Tiles>
constexpr TileShapes tile_shapes(int lanes) {
  TileShapes shapes{lanes, {}};
  for (int paired = 0; paired < 2; ++paired) {
    for (int vectors = 0; vectors < 5; ++vectors) {
      shapes.tile_pixels[paired][vectors] = Tiles::kMostPixels[paired][vectors];
    }
  }
  return shapes;
}

}  // namespace sbcnn::kernels::SBCNN_ISA
