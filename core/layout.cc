#include "core/layout.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <utility>

namespace sbcnn {
namespace {

bool contains_block(const Channels& held, Channels block) {
  std::ranges::sort(block);
  const auto at =
      std::ranges::find_if(held, [&](int c) { return std::ranges::binary_search(block, c); });
  if (std::size_t(held.end() - at) < block.size()) {
    return false;
  }
  Channels found(at, at + std::ptrdiff_t(block.size()));
  std::ranges::sort(found);
  return found == block;
}

}  // namespace

std::map<int, int> positions_of(const Channels& channels) {
  std::map<int, int> at;
  for (std::size_t i = 0; i < channels.size(); ++i) {
    at.emplace(channels[i], int(i));
  }
  return at;
}

Channels counting(int begin, int end) {
  Channels c(std::size_t(std::max(0, end - begin)));
  std::iota(c.begin(), c.end(), begin);
  return c;
}

bool same_set(Channels a, Channels b) {
  std::ranges::sort(a);
  std::ranges::sort(b);
  return a == b;
}

int holders(const Layout& l) {
  return int(std::ranges::count_if(l.held, [](const Channels& c) { return !c.empty(); }));
}

bool is_complete(const Layout& l, int channels) {
  std::vector<char> seen(std::size_t(channels), 0);
  for (const Channels& held : l.held) {
    for (const int c : held) {
      seen[std::size_t(c)] = 1;
    }
  }
  return std::ranges::count(seen, char{1}) == channels;
}

bool is_partition(const Layout& l, int channels) {
  std::size_t count = 0;
  for (const Channels& held : l.held) {
    count += held.size();
  }
  return !l.partial && count == std::size_t(channels) && is_complete(l, channels);
}

std::optional<std::vector<int>> cut_into_blocks(const Channels& held, int block) {
  std::vector<int> order;  // block numbers as they stand in storage
  if (held.size() % std::size_t(block) != 0) {
    return std::nullopt;
  }
  for (std::size_t at = 0; at < held.size(); at += std::size_t(block)) {
    const int number = held[at] / block;
    Channels members(held.begin() + std::ptrdiff_t(at), held.begin() + std::ptrdiff_t(at) + block);
    if (!same_set(std::move(members), counting(number * block, (number + 1) * block))) {
      return std::nullopt;
    }
    order.push_back(number);
  }
  return order;
}

std::vector<int> apportion(int units, const std::vector<int>& weights) {
  std::vector<int> share(weights.size(), 0);
  // Whether rank a would be done with one unit more before rank b would; at a tie, who has less.
  const auto sooner = [&](std::size_t a, std::size_t b) {
    const std::int64_t left = std::int64_t{share[a] + 1} * weights[b];
    const std::int64_t right = std::int64_t{share[b] + 1} * weights[a];
    return left < right || (left == right && share[a] < share[b]);
  };
  for (int u = 0; u < units; ++u) {
    std::size_t best = weights.size();
    for (std::size_t r = 0; r < weights.size(); ++r) {
      if (weights[r] > 0 && (best == weights.size() || sooner(r, best))) {
        best = r;
      }
    }
    ++share[best];
  }
  return share;
}

Need Need::exactly(const Layout& l) {
  Need need{{}, true};
  for (const Channels& held : l.held) {
    need.blocks.push_back({held});
  }
  return need;
}

int largest_share(const Layout& l) {
  std::size_t most = 0;
  for (const Channels& c : l.held) {
    most = std::max(most, c.size());
  }
  return int(most);
}

bool is_grouped(const Channels& held, int block) {
  std::vector<int> seen;
  for (const int c : held) {
    const int g = c / block;
    if (seen.empty() || seen.back() != g) {
      if (std::ranges::find(seen, g) != seen.end()) {
        return false;
      }
      seen.push_back(g);
    }
  }
  return true;
}

bool satisfies(const Layout& layout, const Need& need) {
  if (layout.partial) {
    return false;
  }
  for (std::size_t r = 0; r < layout.held.size(); ++r) {
    const Channels& held = layout.held[r];
    if (need.exact) {
      if (need.blocks[r].empty() ? !held.empty() : held != need.blocks[r][0]) {
        return false;
      }
    } else if (!std::ranges::all_of(need.blocks[r], [&](const Channels& block) {
                 return contains_block(held, block);
               })) {
      return false;
    }
  }
  return true;
}

Layout arrange(const Layout& have, const Need& need, int channels) {
  Layout want;
  for (std::size_t r = 0; r < have.held.size(); ++r) {
    std::vector<std::pair<std::size_t, std::size_t>> place(
        std::size_t(channels), {have.held.size(), 0});  // provider, position there
    const auto note = [&](std::size_t rank) {
      for (std::size_t i = 0; i < have.held[rank].size(); ++i) {
        auto& p = place[std::size_t(have.held[rank][i])];
        if (p.first == have.held.size()) {
          p = {rank, i};
        }
      }
    };
    note(r);  // what is here already need not come from elsewhere
    for (std::size_t q = 0; q < have.held.size(); ++q) {
      note(q);
    }
    Channels& held = want.held.emplace_back();
    for (Channels block : need.blocks[r]) {
      if (!need.exact) {
        std::ranges::sort(block, {}, [&](int c) { return place[std::size_t(c)]; });
      }
      held.insert(held.end(), block.begin(), block.end());
    }
  }
  return want;
}

Collective classify(const Layout& have, const Layout& want) {
  const std::size_t world = have.held.size();
  const auto everybody_wants = [&](const Channels& all) {
    return std::ranges::all_of(want.held, [&](const Channels& c) { return c == all; });
  };
  const bool only_root_wants = holders(want) == 1 && !want.held[0].empty();
  if (have.partial) {
    const auto addend = std::ranges::find_if(have.held, [](const auto& c) { return !c.empty(); });
    if (only_root_wants && want.held[0] == *addend) {
      return Collective::reduce;
    }
    return everybody_wants(*addend) ? Collective::allreduce : Collective::reduce_scatter;
  }
  bool local = true;
  for (std::size_t r = 0; r < world && local; ++r) {
    Channels mine = have.held[r], wanted = want.held[r];
    std::ranges::sort(mine);
    std::ranges::sort(wanted);
    local = std::ranges::includes(mine, wanted);
  }
  if (local) {
    return Collective::local;
  }
  if (holders(have) == 1 && !have.held[0].empty()) {
    return everybody_wants(have.held[0]) ? Collective::broadcast : Collective::scatter;
  }
  if (only_root_wants) {
    return Collective::gather;
  }
  Channels all;
  for (const Channels& c : have.held) {
    all.insert(all.end(), c.begin(), c.end());
  }
  return everybody_wants(all) ? Collective::allgather : Collective::alltoall;
}

Placement placement_of(const Layout& l) {
  if (l.partial) {
    return Placement::partial;
  }
  if (holders(l) == 1 && !l.held[0].empty()) {
    return Placement::root;
  }
  for (const Channels& c : l.held) {
    if (c.empty() || !same_set(c, l.held[0])) {
      return Placement::channels;
    }
  }
  return Placement::replicated;
}

std::string_view name_of(Placement p) {
  static constexpr std::string_view names[] = {"root", "replicated", "channels", "partial"};
  return names[std::size_t(p)];
}

std::string_view name_of(Collective c) {
  static constexpr std::string_view names[] = {"local",  "broadcast", "scatter",
                                               "gather", "allgather", "alltoall",
                                               "reduce", "allreduce", "reduce_scatter"};
  return names[std::size_t(c)];
}

}  // namespace sbcnn
