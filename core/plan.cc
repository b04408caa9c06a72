#include "core/plan.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "core/error.h"
#include "core/hash.h"

namespace sbcnn {
namespace {

class Planner {
 public:
  Planner(const Model& model, const Cluster& cluster)
      : model_(model),
        weights_(cluster.weights),
        variants_(model.nodes().size() + 1),
        wishes_(find_wishes(model)) {
    plan_.world = cluster.size();
    plan_.weights = weights_;
    plan_.input = fresh(model.input(), at_root(counting(0, model.shape(0).channels)));
    for (NodeId n = 0; n < int(model.nodes().size()); ++n) {
      node_ = n;
      std::visit([this](const auto& layer) { emit(layer); }, model.node(n).layer);
    }
    const Value out = model.output();
    plan_.output = obtain(out, Need::exactly(at_root(counting(0, model.shape(out).channels))));
    for (Buffer& b : plan_.buffers) {
      b.border = plan_.buffers[std::size_t(b.storage)].border;
    }
  }
  Plan take() && { return std::move(plan_); }

 private:
  // --- small helpers -------------------------------------------------------------------------
  std::size_t world() const { return weights_.size(); }
  const Node& node() const { return model_.node(node_); }
  Value in(std::size_t i = 0) const { return node().inputs[i]; }
  Value out() const { return node_ + 1; }
  int channels(Value v) const { return model_.shape(v).channels; }
  const Layout& layout(int buffer) const { return plan_.buffers[std::size_t(buffer)].layout; }
  Layout nowhere() const { return {std::vector<Channels>(world()), false}; }
  Layout at_root(Channels c) const {
    Layout l = nowhere();
    l.held[0] = std::move(c);
    return l;
  }

  int fresh(Value v, Layout l) {
    const int index = int(plan_.buffers.size());
    plan_.buffers.push_back({v, std::move(l), {}, index});
    variants_[std::size_t(v)].push_back(index);
    return index;
  }

  void compute(std::vector<int> inputs, Layout l) {
    const Border border = required_border(node().layer, model_.shape(in()));
    Buffer& first = plan_.buffers[std::size_t(inputs[0])];
    Buffer& storage = plan_.buffers[std::size_t(first.storage)];
    storage.border = join(storage.border, border);
    const int output = fresh(out(), std::move(l));
    plan_.steps.push_back(Compute{node_, std::move(inputs), output});
  }

  // A buffer of `v` that satisfies `need`; exchanges one into being if there is none.
  int obtain(Value v, const Need& need) {
    for (const int b : variants_[std::size_t(v)]) {
      if (satisfies(layout(b), need)) {
        return b;
      }
    }
    const int from = source_of(v);
    Layout want = arrange(layout(from), need, channels(v));
    const Collective op = classify(layout(from), want);
    const int to = fresh(v, std::move(want));
    plan_.steps.push_back(Exchange{op, from, to});
    return to;
  }

  // The buffer that others are made from: the first that is complete, or else the partial sums.
  int source_of(Value v) const {
    for (const int b : variants_[std::size_t(v)]) {
      if (!layout(b).partial && is_complete(layout(b), channels(v))) {
        return b;
      }
    }
    return variants_[std::size_t(v)].front();
  }

  // A complete buffer of `v` for a layer that takes any placement: split over the ranks if it is,
  // otherwise as it lies; partial sums are folded first.
  int pick(Value v) {
    const auto& variants = variants_[std::size_t(v)];
    for (const int b : variants) {
      if (placement_of(layout(b)) == Placement::channels && is_partition(layout(b), channels(v))) {
        return b;
      }
    }
    const int first = source_of(v);
    return layout(first).partial ? obtain(v, split_need(v)) : first;
  }

  // --- dividing channels ---------------------------------------------------------------------

  // How many equal channel blocks the readers of each value would like to see kept whole;
  // 0: no wish. Found backwards, so that a dense layer already splits the way that the grouped
  // layers after it do.
  static std::vector<int> find_wishes(const Model& model) {
    std::vector<int> wish(model.nodes().size() + 1, 0);
    const auto ask = [&](Value v, int groups) {
      int& w = wish[std::size_t(v)];
      if (groups > 1 && model.shape(v).channels % groups == 0) {
        const int common = std::gcd(w, groups);
        w = w == 0 ? groups : (common > 1 ? common : w);
      }
    };
    for (NodeId n = int(model.nodes().size()) - 1; n >= 0; --n) {
      const Node& node = model.node(n);
      const int after = wish[std::size_t(n) + 1];
      const auto ask_all = [&] {
        for (const Value v : node.inputs) {
          ask(v, after);
        }
      };
      if (const auto* conv = std::get_if<Conv>(&node.layer)) {
        const bool depthwise = conv->groups == model.shape(node.inputs[0]).channels;
        ask(node.inputs[0], conv->groups > 1 && !depthwise ? conv->groups : depthwise ? after : 0);
        if (node.inputs.size() == 2) {
          ask(node.inputs[1], conv->groups > 1 && !depthwise ? conv->groups : after);
        }
      } else if (const auto* slice = std::get_if<Slice>(&node.layer)) {
        if (slice->channels.size() == model.shape(node.inputs[0]).channels) {
          ask_all();
        }
      } else if (const auto* pad = std::get_if<Pad>(&node.layer)) {
        if (pad->channels_before == 0 && pad->channels_after == 0) {
          ask_all();
        }
      } else if (!std::holds_alternative<Dense>(node.layer) &&
                 !std::holds_alternative<Softmax>(node.layer) &&
                 !std::holds_alternative<Concat>(node.layer) &&
                 !std::holds_alternative<ChannelShuffle>(node.layer)) {
        ask_all();
      }
    }
    return wish;
  }

  // The number of equal blocks in which `channels` are shared out.
  int unit_count(int channel_count, int wish) const {
    const int active = int(std::ranges::count_if(weights_, [](int w) { return w > 0; }));
    if (wish > 1 && channel_count % wish == 0) {
      // More ranks than groups: cut every group into as many parts, if that uses more ranks.
      int parts = std::max(1, active / wish);
      while (parts > 1 && channel_count % (wish * parts) != 0) {
        --parts;
      }
      return wish * parts;
    }
    // Blocks that fill vector registers, as long as there are enough of them to balance.
    for (const int block : {8, 4, 2}) {
      if (channel_count % block == 0 && channel_count / block >= 2 * active) {
        return channel_count / block;
      }
    }
    return channel_count;
  }

  // Contiguous ranges of channels by rank.
  Layout split(int channel_count, int wish) const {
    const int units = unit_count(channel_count, wish);
    const std::vector<int> share = apportion(units, weights_);
    Layout l;
    int begin = 0;
    for (const int s : share) {
      const int end = begin + s * (channel_count / units);
      l.held.push_back(counting(begin, end));
      begin = end;
    }
    return l;
  }

  // `v` shared out, each rank's part in any order.
  Need split_need(Value v) const {
    Need need = Need::exactly(split(channels(v), wishes_[std::size_t(v)]));
    need.exact = false;
    return need;
  }

  // --- convolution -----------------------------------------------------------------------------

  void emit(const Conv& conv) {
    const int in_block = channels(in()) / conv.groups, out_block = conv.outputs / conv.groups;
    const bool depthwise = conv.groups > 1 && in_block == 1;
    int input = -1;
    Layout result;
    if (const auto aligned = find_aligned(conv, in_block)) {
      input = *aligned;
      result = follow(layout(input), in_block, out_block);
    } else {
      result = split(conv.outputs, wish_for(conv, depthwise));
      input = obtain(in(), groups_read(result, conv, in_block, out_block));
    }
    std::vector<int> inputs{input};
    if (node().inputs.size() == 2) {
      if (const auto fit = find_residual(result, depthwise ? 0 : out_block)) {
        result = layout(*fit);
        inputs.push_back(*fit);
      } else {
        inputs.push_back(obtain(in(1), Need::exactly(result)));
      }
    }
    compute(std::move(inputs), std::move(result));
  }

  int wish_for(const Conv& conv, bool depthwise) const {
    const int after = wishes_[std::size_t(out())];
    if (conv.groups == 1 || depthwise) {
      return after;
    }
    const int common = std::gcd(conv.groups, after);
    return after > 1 && common > 1 ? common : conv.groups;
  }

  // A split input whose ranks hold whole groups: the convolution is decoupled, nothing moves.
  std::optional<int> find_aligned(const Conv& conv, int in_block) const {
    if (conv.groups == 1 && world() > 1) {
      return std::nullopt;
    }
    const int fair = largest_share(split(channels(in()), conv.groups));
    for (const int b : variants_[std::size_t(in())]) {
      const Layout& l = layout(b);
      const bool whole =
          is_partition(l, channels(in())) && std::ranges::all_of(l.held, [&](const Channels& c) {
            return cut_into_blocks(c, in_block).has_value();
          });
      if (whole && (world() == 1 || (placement_of(l) == Placement::channels &&
                                     idle_ranks_hold_nothing(l) && largest_share(l) <= 2 * fair))) {
        return b;
      }
    }
    return std::nullopt;
  }

  bool idle_ranks_hold_nothing(const Layout& l) const {
    for (std::size_t r = 0; r < world(); ++r) {
      if (weights_[r] == 0 && !l.held[r].empty()) {
        return false;
      }
    }
    return true;
  }

  // The groups' outputs, group by group in the order in which the inputs lie.
  static Layout follow(const Layout& input, int in_block, int out_block) {
    Layout l;
    for (const Channels& held : input.held) {
      Channels& outputs = l.held.emplace_back();
      const auto order = cut_into_blocks(held, in_block);
      require(order.has_value(), "Planner::follow: the input is not aligned");
      for (const int g : *order) {
        const Channels c = counting(g * out_block, (g + 1) * out_block);
        outputs.insert(outputs.end(), c.begin(), c.end());
      }
    }
    return l;
  }

  static Need groups_read(const Layout& outputs, const Conv& conv, int in_block, int out_block) {
    Need need;
    for (const Channels& held : outputs.held) {
      auto& blocks = need.blocks.emplace_back();
      int last = -1;
      for (const int c : held) {  // ascending
        if (const int g = c / out_block; g != last) {
          blocks.push_back(counting(g * in_block, (g + 1) * in_block));
          last = g;
        }
      }
      if (conv.groups > 1 && in_block == 1 && !blocks.empty()) {  // depthwise: one block will do
        Channels all;
        for (const Channels& b : blocks) {
          all.push_back(b[0]);
        }
        blocks = {std::move(all)};
      }
    }
    return need;
  }

  // A buffer of the second input that holds on each rank just the channels of `result`, group by
  // group: the convolution may as well give its outputs in that order. out_block 0: order matters.
  std::optional<int> find_residual(const Layout& result, int out_block) const {
    for (const int b : variants_[std::size_t(in(1))]) {
      const Layout& l = layout(b);
      bool fits = !l.partial;
      for (std::size_t r = 0; fits && r < world(); ++r) {
        fits = out_block == 0
                   ? l.held[r] == result.held[r]
                   : same_set(l.held[r], result.held[r]) && is_grouped(l.held[r], out_block);
      }
      if (fits) {
        return b;
      }
    }
    return std::nullopt;
  }

  // --- the other layers ----------------------------------------------------------------------

  // Fully connected: every rank multiplies what it holds, the sums are folded later.
  void emit(const Dense& dense) {
    int input = pick(in());
    if (placement_of(layout(input)) != Placement::channels && world() > 1) {
      input = obtain(in(), split_need(in()));
    }
    Layout result = nowhere();
    for (std::size_t r = 0; r < world(); ++r) {
      if (!layout(input).held[r].empty()) {
        result.held[r] = counting(0, dense.outputs);
      }
    }
    result.partial = holders(result) > 1;
    compute({input}, std::move(result));
  }

  void emit_in_place() {
    const int input = pick(in());
    compute({input}, layout(input));
  }
  void emit(const MaxPool&) { emit_in_place(); }
  void emit(const AveragePool&) { emit_in_place(); }
  void emit(const GlobalAveragePool&) { emit_in_place(); }
  void emit(const Activate&) { emit_in_place(); }
  void emit(const ScaleShift&) { emit_in_place(); }

  void emit_binary() {
    int a = pick(in(0)), b = pick(in(1));
    if (placement_of(layout(a)) != Placement::channels &&
        placement_of(layout(b)) == Placement::channels) {
      a = obtain(in(0), Need::exactly(layout(b)));
    }
    b = obtain(in(1), Need::exactly(layout(a)));
    compute({a, b}, layout(a));
  }
  void emit(const Add&) { emit_binary(); }
  void emit(const Mul&) { emit_binary(); }

  void emit(const Concat&) {
    std::vector<int> inputs;
    for (const Value v : node().inputs) {
      inputs.push_back(pick(v));
    }
    const Placement first = placement_of(layout(inputs[0]));
    const bool alike =
        std::ranges::all_of(inputs, [&](int b) { return placement_of(layout(b)) == first; });
    Layout result = nowhere();
    int offset = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const Value v = node().inputs[i];
      if (!alike && placement_of(layout(inputs[i])) != Placement::channels) {
        inputs[i] = obtain(v, Need::exactly(split(channels(v), wishes_[std::size_t(v)])));
      }
      for (std::size_t r = 0; r < world(); ++r) {
        for (const int c : layout(inputs[i]).held[r]) {
          result.held[r].push_back(offset + c);
        }
      }
      offset += channels(v);
    }
    compute(std::move(inputs), std::move(result));
  }

  void emit(const Slice& slice) {
    const int input = pick(in());
    Layout result = nowhere();
    for (std::size_t r = 0; r < world(); ++r) {
      for (const int c : layout(input).held[r]) {
        if (slice.channels.contains(c)) {
          result.held[r].push_back(c - slice.channels.begin);
        }
      }
    }
    compute({input}, std::move(result));
  }

  // New channels go to the first and the last rank that hold some.
  void emit(const Pad& pad) {
    const int input = pick(in());
    Layout result = nowhere();
    const Layout& have = layout(input);
    const auto holds = [](const Channels& c) { return !c.empty(); };
    const bool everywhere = placement_of(have) == Placement::replicated;
    const auto first = std::ranges::find_if(have.held, holds) - have.held.begin();
    const auto last = have.held.rend() - std::find_if(have.held.rbegin(), have.held.rend(), holds);
    for (std::size_t r = 0; r < world(); ++r) {
      Channels& held = result.held[r];
      if (everywhere || std::ptrdiff_t(r) == first) {
        held = counting(0, pad.channels_before);
      }
      for (const int c : have.held[r]) {
        held.push_back(pad.channels_before + c);
      }
      if (everywhere || std::ptrdiff_t(r) == last - 1) {
        const int end = channels(out());
        const Channels after = counting(end - pad.channels_after, end);
        held.insert(held.end(), after.begin(), after.end());
      }
    }
    compute({input}, std::move(result));
  }

  // Renames channels; nothing is computed and nothing moves.
  void emit(const ChannelShuffle& shuffle) {
    const int per_group = channels(in()) / shuffle.groups;
    pick(in());  // partial sums are folded first
    const std::vector<int> variants = variants_[std::size_t(in())];
    for (const int b : variants) {
      if (layout(b).partial) {
        continue;
      }
      Layout l = layout(b);
      for (Channels& held : l.held) {
        for (int& c : held) {
          c = c % per_group * shuffle.groups + c / per_group;
        }
      }
      const int storage = plan_.buffers[std::size_t(b)].storage;
      const int renamed = fresh(out(), std::move(l));
      plan_.buffers[std::size_t(renamed)].storage = storage;
    }
  }

  // Storage order h, w, c turns into features of ONNX's numbering c, h, w.
  void emit(const Flatten&) {
    const int input = pick(in());
    const Shape s = model_.shape(in());
    Layout result = nowhere();
    for (std::size_t r = 0; r < world(); ++r) {
      for (int pixel = 0; pixel < s.height * s.width; ++pixel) {
        for (const int c : layout(input).held[r]) {
          result.held[r].push_back(c * s.height * s.width + pixel);
        }
      }
    }
    compute({input}, std::move(result));
  }

  void emit(const Softmax&) {
    Need need{std::vector<std::vector<Channels>>(world()), false};
    need.blocks[0] = {counting(0, channels(in()))};
    const int input = obtain(in(), need);
    compute({input}, at_root(layout(input).held[0]));
  }

  const Model& model_;
  const std::vector<int> weights_;
  Plan plan_;
  std::vector<std::vector<int>> variants_;  // by value: buffers that hold it
  const std::vector<int> wishes_;           // by value
  NodeId node_ = 0;
};

}  // namespace

Plan make_plan(const Model& model, const Cluster& cluster) {
  const auto& w = cluster.weights;
  if (std::ranges::none_of(w, [](int x) { return x > 0; }) ||
      std::ranges::any_of(w, [](int x) { return x < 0; })) {
    throw Error(Error::Code::usage, "no board has a positive weight: nobody would compute");
  }
  return Planner(model, cluster).take();
}

std::uint64_t Plan::hash() const {
  Hasher h;
  h.add(world);
  h.add(input);
  h.add(output);
  for (const Buffer& b : buffers) {
    h.add(b.value);
    h.add(b.storage);
    h.add(b.layout.partial);
    for (const int side : {b.border.top, b.border.left, b.border.bottom, b.border.right}) {
      h.add(side);
    }
    for (const Channels& held : b.layout.held) {
      h.add(std::int64_t(held.size()));
      for (const int c : held) {
        h.add(c);
      }
    }
  }
  for (const Step& step : steps) {
    h.add(std::int64_t(step.index()));
    if (const auto* c = std::get_if<Compute>(&step)) {
      h.add(c->node);
      h.add(c->output);
      for (const int b : c->inputs) {
        h.add(b);
      }
    } else {
      const auto& x = std::get<Exchange>(step);
      h.add(std::int64_t(x.op));
      h.add(x.input);
      h.add(x.output);
    }
  }
  return h.value();
}

std::vector<int> Plan::idle_ranks() const {
  std::vector<int> idle;
  for (int r = 0; r < world; ++r) {
    const bool computes = std::ranges::any_of(steps, [&](const Step& s) {
      const auto* c = std::get_if<Compute>(&s);
      return c != nullptr && !buffers[std::size_t(c->output)].layout.held[std::size_t(r)].empty();
    });
    if (!computes && weights[std::size_t(r)] > 0) {
      idle.push_back(r);
    }
  }
  return idle;
}

}  // namespace sbcnn
