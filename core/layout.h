// Where a value lives: the placement algebra.
//
// A Layout says, for each rank, which channels of a value the rank holds and in which order it
// stores them. A step states what it wants as a Need; `satisfies` tells whether a layout will do,
// `arrange` gives the layout to exchange into, and `classify` names the collective that leads
// there. Pure functions on small vectors; no communication here.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace sbcnn {

using Channels = std::vector<int>;  // channel numbers of the model, in storage order

Channels counting(int begin, int end);
bool same_set(Channels, Channels);
std::map<int, int> positions_of(const Channels&);  // where each channel stands

struct Layout {
  std::vector<Channels> held;  // by rank
  bool partial = false;        // every rank that holds channels holds an addend of them

  friend bool operator==(const Layout&, const Layout&) = default;
};

enum class Placement { root, replicated, channels, partial };
Placement placement_of(const Layout&);
std::string_view name_of(Placement);

int holders(const Layout&);                      // ranks that hold anything
bool is_complete(const Layout&, int channels);   // every channel lies on some rank
bool is_partition(const Layout&, int channels);  // ... on exactly one, and is no addend
int largest_share(const Layout&);                // channels of the rank with most

enum class Collective {
  local,  // every rank has what it wants; only the order changes
  broadcast,
  scatter,
  gather,
  allgather,
  alltoall,
  reduce,
  allreduce,
  reduce_scatter,
};
std::string_view name_of(Collective);

// What a step wants of a value: for each rank blocks of channels, each contiguous in storage.
struct Need {
  std::vector<std::vector<Channels>> blocks;  // by rank
  // exact: storage is these channels in this order. Otherwise it contains every block, in any
  // order inside the block, and may contain more.
  bool exact = false;

  static Need exactly(const Layout&);
};

bool satisfies(const Layout&, const Need&);
// The layout in which what `have` gives arrives: blocks in the order wanted, inside a block (unless
// exact) sorted by provider and its storage order, so that each message is unpacked in one run.
Layout arrange(const Layout& have, const Need&, int channels);
Collective classify(const Layout& have, const Layout& want);

// The block numbers of a rank's channels as they stand in storage, if these are whole blocks of
// `block` channels, aligned in the model's numbering, in any order inside; nothing otherwise.
std::optional<std::vector<int>> cut_into_blocks(const Channels&, int block);
// Channels of one block stand together; blocks may be incomplete.
bool is_grouped(const Channels&, int block);

// Shares out indivisible units so that the slowest rank is done first. Ranks of weight 0 get none.
std::vector<int> apportion(int units, const std::vector<int>& weights);

}  // namespace sbcnn
