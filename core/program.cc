#include "core/program.h"

#include <algorithm>
#include <map>
#include <utility>

#include "core/error.h"
#include "core/hash.h"
#include "core/model_header.h"
#include "core/weight_slice.h"

namespace sbcnn {
namespace {

constexpr std::size_t kFloatsPerLine = kAlignment / sizeof(float);

std::size_t round_up(std::size_t floats) {
  return (floats + kFloatsPerLine - 1) / kFloatsPerLine * kFloatsPerLine;
}

// Everybody gets one and the same parcel.
bool is_shared(Collective op) {
  return op == Collective::broadcast || op == Collective::allgather || op == Collective::reduce ||
         op == Collective::allreduce;
}

bool is_sum(Collective op) {
  return op == Collective::reduce || op == Collective::allreduce ||
         op == Collective::reduce_scatter;
}

// What a rank has for itself goes through no message.
bool stays_apart(Collective op) {
  return op == Collective::local || op == Collective::scatter || op == Collective::gather ||
         op == Collective::alltoall;
}

// Local ranges of the channels that a list of positions names, in its order.
std::vector<Range> runs(const std::vector<int>& positions) {
  std::vector<Range> ranges;
  for (const int p : positions) {
    if (!ranges.empty() && ranges.back().end == p) {
      ++ranges.back().end;
    } else {
      ranges.push_back({p, p + 1});
    }
  }
  return ranges;
}

// Channels `sources` of one local to `targets` of another, in as few runs as possible.
std::vector<Copy> copies(int from, const std::vector<int>& sources, int to,
                         const std::vector<int>& targets) {
  std::vector<Copy> all;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    if (!all.empty() && all.back().from.channels.end == sources[i] &&
        all.back().to.channels.end == targets[i]) {
      ++all.back().from.channels.end;
      ++all.back().to.channels.end;
    } else {
      all.push_back({{from, {sources[i], sources[i] + 1}}, {to, {targets[i], targets[i] + 1}}});
    }
  }
  return all;
}

// --- local layers ------------------------------------------------------------------------------

std::vector<Block> slice_blocks(const Channels& in, Range kept) {
  std::vector<int> positions;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (kept.contains(in[i])) {
      positions.push_back(int(i));
    }
  }
  std::vector<Block> blocks;
  int out = 0;
  for (const Range r : runs(positions)) {
    blocks.push_back({r, {out, out + r.size()}});
    out += r.size();
  }
  return blocks;
}

class Lowering {
 public:
  Lowering(const Model& model, const Plan& plan, int rank, int narrowest_piece)
      : model_(model), plan_(plan), program_{rank, plan.world, {}, {}, 0, plan.input, plan.output} {
    require(0 <= rank && rank < plan.world, "make_program: no such rank");
    for (const Buffer& b : plan.buffers) {
      Shape s = model.shape(b.value);
      s.channels = int(b.layout.held[std::size_t(rank)].size());
      program_.locals.push_back({s.channels == 0 ? Shape{} : s, b.border, 0});
      homes_.push_back({b.storage, 0});
    }
    for (const Step& step : plan.steps) {
      if (const auto* compute = std::get_if<Compute>(&step)) {
        program_.actions.emplace_back(task(*compute));
      } else {
        program_.actions.emplace_back(transfer(std::get<Exchange>(step)));
      }
    }
    place();
    write_in_pieces(narrowest_piece);
  }
  Program take() && { return std::move(program_); }

 private:
  const Local& local(int buffer) const { return program_.locals[std::size_t(buffer)]; }

  Task task(const Compute& c) const {
    const Node& node = model_.node(c.node);
    const Shape& output = local(c.output).shape;
    Task t{c.node, {node.layer, {}, output, {}}, c.inputs, {{c.output, {0, output.channels}}}};
    for (const int b : c.inputs) {
      t.spec.inputs.push_back(local(b).shape);
    }
    if (output.size() == 0) {
      return t;
    }
    if (std::holds_alternative<Concat>(node.layer)) {  // some operands may have no channels here
      std::erase_if(t.inputs, [&](int b) { return local(b).shape.size() == 0; });
      std::erase_if(t.spec.inputs, [](const Shape& s) { return s.size() == 0; });
    }
    const Channels& in = plan_.held(c.inputs[0], program_.rank);
    const Channels& out = plan_.held(c.output, program_.rank);
    const int in_channels = model_.shape(node.inputs[0]).channels;
    if (auto* conv = std::get_if<Conv>(&t.spec.layer)) {
      t.spec.blocks =
          conv_blocks(in, out, in_channels / conv->groups, conv->outputs / conv->groups);
      conv->outputs = int(out.size());
      conv->groups = 1;  // replaced by the blocks
    } else if (auto* dense = std::get_if<Dense>(&t.spec.layer)) {
      dense->outputs = int(out.size());
    } else if (auto* slice = std::get_if<Slice>(&t.spec.layer)) {
      t.spec.blocks = slice_blocks(in, slice->channels);
      slice->channels = {0, int(in.size())};
    } else if (auto* pad = std::get_if<Pad>(&t.spec.layer)) {
      const int before = pad->channels_before;
      const auto is_before = [&](int ch) { return ch < before; };
      const auto is_after = [&](int ch) { return ch >= before + in_channels; };
      pad->channels_before = int(std::ranges::count_if(out, is_before));
      pad->channels_after = int(std::ranges::count_if(out, is_after));
    }
    return t;
  }

  // Where the channels of `want` come from: the rank itself if it has them, else the first that
  // has. Every rank finds the same answer for every pair.
  std::vector<std::vector<int>> providers(const Exchange& x, int channels) const {
    std::vector<int> first(std::size_t(channels), -1);
    for (int q = plan_.world - 1; q >= 0; --q) {
      for (const int c : plan_.held(x.input, q)) {
        first[std::size_t(c)] = q;
      }
    }
    std::vector<std::vector<int>> from(std::size_t(plan_.world));  // by rank, by wanted position
    for (int r = 0; r < plan_.world; ++r) {
      std::vector<char> mine(std::size_t(channels), 0);
      for (const int c : plan_.held(x.input, r)) {
        mine[std::size_t(c)] = 1;
      }
      for (const int c : plan_.held(x.output, r)) {
        from[std::size_t(r)].push_back(mine[std::size_t(c)] != 0 ? r : first[std::size_t(c)]);
      }
    }
    return from;
  }

  // What goes to each peer and comes from each. Partial sums come from everybody who holds an
  // addend, everything else from one provider.
  Transfer transfer(const Exchange& x) {
    const int me = program_.rank;
    const bool partial = plan_.buffers[std::size_t(x.input)].layout.partial;
    const auto from =
        providers(x, model_.shape(plan_.buffers[std::size_t(x.input)].value).channels);
    const auto mine = positions_of(plan_.held(x.input, me));
    const Channels& wanted = plan_.held(x.output, me);
    Transfer t{x.op, x.input, x.output, add_local({}), add_local({}), {}, {}, {}, {}, 0};
    for (int q = 0; q < plan_.world; ++q) {
      std::vector<int> out, in;
      const Channels& theirs = plan_.held(x.output, q);
      for (std::size_t i = 0; i < theirs.size(); ++i) {
        if (partial ? !mine.empty() : from[std::size_t(q)][i] == me) {
          out.push_back(mine.at(theirs[i]));
        }
      }
      const bool addend = partial && !plan_.held(x.input, q).empty();
      for (std::size_t i = 0; i < wanted.size(); ++i) {
        if (partial ? addend : from[std::size_t(me)][i] == q) {
          in.push_back(int(i));
        }
      }
      if (q == me && stays_apart(x.op)) {
        append(t.pack, copies(x.input, std::exchange(out, {}), x.output, std::exchange(in, {})));
      }
      add_parcels(t, q, out, in);
    }
    return t;
  }

  void add_parcels(Transfer& t, int peer, const std::vector<int>& out, const std::vector<int>& in) {
    const Shape shape = model_.shape(plan_.buffers[std::size_t(t.input)].value);
    t.send_counts.push_back(out.size() * shape.pixels());
    t.receive_counts.push_back(in.size() * shape.pixels());
    t.bytes_sent += peer == program_.rank ? 0 : t.send_counts.back() * sizeof(float);
    if (!out.empty() && !(is_shared(t.op) && local(t.send).shape.size() > 0)) {
      const int to = add_parcel(t.send, shape, int(out.size()));
      append(t.pack, copies(t.input, out, to, counting(0, int(out.size()))));
    }
    if (!in.empty() && !(is_sum(t.op) && local(t.receive).shape.size() > 0)) {
      const int from = add_parcel(t.receive, shape, int(in.size()));
      append(t.unpack, copies(from, counting(0, int(in.size())), t.output, in));
    }
  }

  static void append(std::vector<Copy>& to, const std::vector<Copy>& more) {
    to.insert(to.end(), more.begin(), more.end());
  }

  int add_local(const Shape& shape) {
    const int index = int(program_.locals.size());
    program_.locals.push_back({shape, {}, 0});
    homes_.push_back({index, 0});
    return index;
  }

  // At the end of what message buffer `message` holds so far.
  int add_parcel(int message, Shape shape, int channels) {
    shape.channels = channels;
    const int index = add_local(shape);
    const std::size_t at = local(message).shape.size();
    homes_.back() = {message, at};
    program_.locals[std::size_t(message)].shape = {1, 1, int(at + shape.size())};
    return index;
  }

  // --- output in pieces --------------------------------------------------------------------------

  int storage(int buffer) const { return plan_.buffers[std::size_t(buffer)].storage; }

  // Steps, and the pipeline's caller, that read what is stored where `buffer` is.
  int readers(int buffer) const {
    const auto same = [&](int b) { return storage(b) == storage(buffer); };
    int count = same(plan_.output) ? 1 : 0;
    for (const Step& step : plan_.steps) {
      if (const auto* c = std::get_if<Compute>(&step)) {
        count += int(std::ranges::count_if(c->inputs, same));
      } else {
        count += same(std::get<Exchange>(step).input) ? 1 : 0;
      }
    }
    return count;
  }

  // Lets kernels write straight to where the Transfer right after them would copy their output, as
  // long as that takes no more memory: what the Transfer gives is needed a step earlier.
  void write_in_pieces(int narrowest) {
    for (std::size_t s = 0; s + 1 < program_.actions.size(); ++s) {
      if (may_write_in_pieces(s, narrowest)) {
        Program copying = program_;
        write_in_pieces(std::get<Task>(program_.actions[s]),
                        std::get<Transfer>(program_.actions[s + 1]));
        place();
        if (program_.arena_size > copying.arena_size) {
          program_ = std::move(copying);
        }
      }
    }
  }

  bool may_write_in_pieces(std::size_t step, int narrowest) {
    const auto* task = std::get_if<Task>(&program_.actions[step]);
    auto* next = std::get_if<Transfer>(&program_.actions[step + 1]);
    if (task == nullptr || next == nullptr) {
      return false;
    }
    const bool can = std::holds_alternative<Conv>(task->spec.layer) ||
                     std::holds_alternative<Dense>(task->spec.layer);
    const int output = task->outputs[0].local;
    if (!can || storage(output) != storage(next->input) || readers(output) != 1) {
      return false;
    }
    std::ranges::sort(next->pack, {}, [](const Copy& c) { return c.from.channels.begin; });
    return are_pieces(next->pack, task->spec.output.channels, narrowest);
  }

  void write_in_pieces(Task& task, Transfer& next) {
    const int output = storage(task.outputs[0].local);
    task.outputs.clear();
    for (const Copy& c : std::exchange(next.pack, {})) {
      task.spec.pieces.push_back(c.from.channels);
      task.outputs.push_back(c.to);
    }
    for (std::size_t b = 0; b < plan_.buffers.size(); ++b) {
      if (storage(int(b)) == output) {
        program_.locals[b].shape = {};
      }
    }
  }

  // Whether each of a kernel's output channels is copied once, in runs that are wide enough. A
  // channel that several peers get, or none, still needs the copies.
  static bool are_pieces(const std::vector<Copy>& sorted, int channels, int narrowest) {
    int end = 0;
    for (const Copy& c : sorted) {
      if (c.from.channels.begin != end || c.from.channels.size() < std::min(narrowest, channels)) {
        return false;
      }
      end = c.from.channels.end;
    }
    return !sorted.empty() && end == channels;
  }

  // --- memory ----------------------------------------------------------------------------------

  struct Block {
    std::size_t size;
    int begin, end;  // moments at which it is needed, both inclusive: two a step
    std::size_t* offset;
  };

  // Lays everything out in one arena so that what is never needed at the same time may share
  // memory: larger things first, each at the lowest place that is free throughout its life.
  void place() {
    program_.arena_size = 0;
    std::vector<Block> blocks = lifetimes();
    std::ranges::stable_sort(blocks, std::ranges::greater{}, &Block::size);
    std::vector<Block> placed;
    for (const Block& b : blocks) {
      *b.offset = first_gap(placed, b);
      program_.arena_size = std::max(program_.arena_size, *b.offset + b.size);
      placed.insert(
          std::ranges::upper_bound(placed, *b.offset, {}, [](const Block& p) { return *p.offset; }),
          b);
    }
    for (std::size_t i = 0; i < program_.locals.size(); ++i) {
      const Home& home = homes_[i];
      program_.locals[i].offset = program_.locals[std::size_t(home.storage)].offset + home.at;
    }
  }

  static std::size_t first_gap(const std::vector<Block>& placed, const Block& b) {
    std::size_t at = 0;
    for (const Block& p : placed) {  // by offset
      if (p.end < b.begin || b.end < p.begin) {
        continue;
      }
      if (*p.offset >= at + b.size) {
        break;
      }
      at = std::max(at, *p.offset + p.size);
    }
    return at;
  }

  // A step begins and ends. What an exchange sends is packed as it begins, and out of the way then,
  // but for what a rank gives to itself; what it receives is unpacked as it ends.
  static int begin_of(int step) { return 2 * step; }
  static int end_of(int step) { return 2 * step + 1; }

  std::vector<Block> lifetimes() {
    const int last = int(program_.actions.size());
    std::vector<Block> blocks;  // by local
    for (Local& l : program_.locals) {
      l.offset = 0;
      const std::size_t size = with_border(l.shape, l.border).size();
      blocks.push_back({l.shape.size() == 0 ? 0 : round_up(size), end_of(last), -1, &l.offset});
    }
    const auto touch = [&](int local, int begin, int end) {
      Block& b = blocks[std::size_t(homes_[std::size_t(local)].storage)];
      b.begin = std::min(b.begin, begin);
      b.end = std::max(b.end, end);
    };
    touch(plan_.input, begin_of(0), begin_of(0));
    touch(plan_.output, end_of(last), end_of(last));
    for (int s = 0; s < last; ++s) {
      if (const auto* task = std::get_if<Task>(&program_.actions[std::size_t(s)])) {
        const auto touch_all_along = [&](int local) { touch(local, begin_of(s), end_of(s)); };
        std::ranges::for_each(task->inputs, touch_all_along);
        std::ranges::for_each(task->outputs, touch_all_along, &Part::local);
      } else {
        const auto& t = std::get<Transfer>(program_.actions[std::size_t(s)]);
        const bool to_itself = t.send_counts[std::size_t(program_.rank)] > 0;
        touch(t.input, begin_of(s), begin_of(s));
        touch(t.send, begin_of(s), to_itself ? end_of(s) : begin_of(s));
        touch(t.receive, end_of(s), end_of(s));
        touch(t.output, begin_of(s), end_of(s));
      }
    }
    std::erase_if(blocks, [](const Block& b) { return b.size == 0 || b.end < b.begin; });
    return blocks;
  }

  // The local in whose memory another one lies, and where.
  struct Home {
    int storage;
    std::size_t at;
  };

  const Model& model_;
  const Plan& plan_;
  Program program_;
  std::vector<Home> homes_;  // by local
};

}  // namespace

Program make_program(const Model& model, const Plan& plan, int rank, int narrowest_piece) {
  return Lowering(model, plan, rank, narrowest_piece).take();
}

std::uint64_t hash_of_tasks(const Program& program) {
  Hasher h;
  const auto add_shape = [&](const Shape& s) {
    h.add(s.height);
    h.add(s.width);
    h.add(s.channels);
  };
  for (const Action& action : program.actions) {
    const auto* task = std::get_if<Task>(&action);
    if (task == nullptr || task->spec.output.size() == 0) {
      continue;
    }
    h.add(encode_layer(task->spec.layer));
    std::ranges::for_each(task->spec.inputs, add_shape);
    add_shape(task->spec.output);
    h.add(std::int64_t(task->spec.blocks.size()));
    for (const Block& b : task->spec.blocks) {
      for (const int edge : {b.inputs.begin, b.inputs.end, b.outputs.begin, b.outputs.end}) {
        h.add(edge);
      }
    }
    h.add(std::int64_t(task->spec.pieces.size()));
    for (const Range& piece : task->spec.pieces) {
      h.add(piece.begin);
      h.add(piece.end);
    }
  }
  return h.value();
}

RankCost cost_of(const Model& model, const Plan& plan, const Program& program) {
  RankCost cost;
  for (int s = 0; s < int(program.actions.size()); ++s) {
    if (const auto* transfer = std::get_if<Transfer>(&program.actions[std::size_t(s)])) {
      cost.bytes_sent += transfer->bytes_sent;
      continue;
    }
    const auto& task = std::get<Task>(program.actions[std::size_t(s)]);
    const WeightShape w = slice_shape(model, plan, s, program.rank);
    cost.weight_bytes += (w.weight + w.bias) * sizeof(float);
    const bool multiplies = std::holds_alternative<Conv>(task.spec.layer) ||
                            std::holds_alternative<Dense>(task.spec.layer);
    cost.macs += multiplies ? w.weight * task.spec.output.pixels() : 0;
  }
  return cost;
}

}  // namespace sbcnn
