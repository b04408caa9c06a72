#include "core/pipeline.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sbcnn {
namespace {

constexpr std::size_t kSlack = kAlignment / sizeof(float);

// Channels `ranges` of `from`, one after the other, into the pixels of a dense message.
void pack(View<const float> from, const std::vector<Range>& ranges, View<float> message) {
  int at = 0;
  for (const Range r : ranges) {
    copy(from.channels(r), message.channels({at, at + r.size()}));
    at += r.size();
  }
}

void unpack(View<const float> message, const std::vector<Range>& ranges, View<float> to) {
  int at = 0;
  for (const Range r : ranges) {
    copy(message.channels({at, at + r.size()}), to.channels(r));
    at += r.size();
  }
}

// The same channels on both sides, cut into ranges differently.
void copy_channels(View<const float> from, const std::vector<Range>& sources, View<float> to,
                   const std::vector<Range>& targets) {
  auto target = targets.begin();
  int used = 0;
  for (const Range source : sources) {
    for (int at = source.begin; at < source.end;) {
      const int n = std::min(source.end - at, target->size() - used);
      const int begin = target->begin + used;
      copy(from.channels({at, at + n}), to.channels({begin, begin + n}));
      at += n;
      used += n;
      if (used == target->size()) {
        ++target;
        used = 0;
      }
    }
  }
}

bool one_parcel_for_all(Collective op) {
  return op == Collective::broadcast || op == Collective::allgather || op == Collective::reduce ||
         op == Collective::allreduce;
}

bool is_sum(Collective op) {
  return op == Collective::reduce || op == Collective::allreduce ||
         op == Collective::reduce_scatter;
}

}  // namespace

Pipeline::Pipeline(Program program, KernelFactory& factory, Exchanger& exchanger,
                   const WeightSource& weights, PipelineOptions options)
    : program_(std::move(program)), exchanger_(exchanger), options_(options) {
  require(options.in_flight >= 1, "Pipeline: in_flight must be positive");
  for (int s = 0; s < int(program_.actions.size()); ++s) {
    const auto* task = std::get_if<Task>(&program_.actions[std::size_t(s)]);
    const bool here = task != nullptr && task->spec.output.size() > 0;
    kernels_.push_back(here ? factory.make(task->spec, weights(s)) : nullptr);
  }
  slots_.resize(std::size_t(options.in_flight));
}

void Pipeline::reserve() {
  // A line of slack between arenas and at both ends: kernels may load (never use) a vector past
  // either end.
  const std::size_t stride = program_.arena_size + kSlack;
  arenas_ = PageArray<float>(activation_floats(program_, options_.in_flight));
  std::fill_n(arenas_.data(), arenas_.size(), 0.0f);  // now, not while the first frame waits
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].arena = arenas_.data() + kSlack + i * stride;
  }
}

std::size_t Pipeline::activation_floats(const Program& program, int in_flight) {
  return std::size_t(in_flight) * (program.arena_size + kSlack) + kSlack;
}

View<float> Pipeline::local(const Slot& slot, int buffer) const {
  const Local& l = program_.locals[std::size_t(buffer)];
  return View<float>::inside(slot.arena + l.offset, l.shape, l.border);
}

void Pipeline::run(Feed* feed) {
  require((feed != nullptr) == (program_.rank == 0), "Pipeline::run: rank 0 has the feed");
  if (arenas_.size() == 0) {
    reserve();
  }
  for (std::uint64_t turn = 0;; ++turn) {
    Slot& slot = slots_[std::size_t(turn % slots_.size())];
    if (!slot.busy) {
      const Signal signal = admit(turn, feed, slot);
      if (signal == Signal::stop) {
        return;
      }
      if (signal == Signal::bubble) {
        continue;
      }
    }
    if (advance(slot)) {
      slot.busy = false;
      if (feed != nullptr) {
        feed->deliver(local(slot, program_.output));
      }
    }
  }
}

Signal Pipeline::admit(std::uint64_t turn, Feed* feed, Slot& slot) {
  Signal signal = Signal::bubble;
  if (feed != nullptr) {
    const bool idle = std::ranges::none_of(slots_, &Slot::busy);
    const View<float> input = local(slot, program_.input);
    clear_border(input, program_.locals[std::size_t(program_.input)].border);
    signal = feed->next(idle, input);
    if (program_.world > 1) {
      exchanger_.announce(turn, signal);
    }
  } else {
    signal = exchanger_.await_signal(turn);
  }
  if (signal == Signal::frame) {
    slot.busy = true;
    slot.frame = next_frame_++;
    slot.action = 0;
  }
  return signal;
}

bool Pipeline::advance(Slot& slot) {
  if (slot.waiting) {
    finish(slot, int(slot.action));
    slot.waiting = false;
    ++slot.action;
  }
  for (; slot.action < program_.actions.size(); ++slot.action) {
    const auto* transfer = std::get_if<Transfer>(&program_.actions[slot.action]);
    if (transfer == nullptr) {
      compute(slot, slot.action);
      continue;
    }
    start(slot, int(slot.action));
    if (transfer->op != Collective::local) {
      slot.waiting = true;
      return false;
    }
  }
  return true;
}

void Pipeline::compute(const Slot& slot, std::size_t action) {
  if (kernels_[action] == nullptr) {
    return;
  }
  const Task& task = std::get<Task>(program_.actions[action]);
  inputs_.clear();
  for (const int b : task.inputs) {
    inputs_.push_back(local(slot, b));
  }
  const View<float> output = local(slot, task.output);
  kernels_[action]->run(inputs_, output);
  clear_border(output, program_.locals[std::size_t(task.output)].border);
}

MessageBuffers Pipeline::messages(const Slot& slot, const Transfer& t) const {
  float* arena = slot.arena;
  return {{arena + t.send_offset, t.send_size},
          t.send_counts,
          {arena + t.receive_offset, t.receive_size},
          t.receive_counts};
}

void Pipeline::start(const Slot& slot, int step) {
  const Transfer& t = std::get<Transfer>(program_.actions[std::size_t(step)]);
  const View<const float> from = local(slot, t.input);
  const View<float> to = local(slot, t.output);
  copy_channels(from, t.own_from.channels, to, t.own_to.channels);
  clear_border(to, program_.locals[std::size_t(t.output)].border);
  if (t.op == Collective::local) {
    return;
  }
  float* at = slot.arena + t.send_offset;
  const Shape s = from.shape();
  for (const Parcel& parcel : t.sends) {
    if (parcel.count > 0) {
      pack(from, parcel.channels, View<float>(at, {s.height, s.width, parcel.count}));
      if (one_parcel_for_all(t.op)) {
        break;
      }
      at += s.pixels() * std::size_t(parcel.count);
    }
  }
  exchanger_.start(slot.frame, step, t.op, messages(slot, t));
}

void Pipeline::finish(const Slot& slot, int step) {
  const Transfer& t = std::get<Transfer>(program_.actions[std::size_t(step)]);
  exchanger_.finish(slot.frame, step, Clock::now() + options_.step_timeout);
  const View<float> to = local(slot, t.output);
  const float* at = slot.arena + t.receive_offset;
  const Shape s = to.shape();
  for (const Parcel& parcel : t.receives) {
    if (parcel.count > 0) {
      unpack(View<const float>(at, {s.height, s.width, parcel.count}), parcel.channels, to);
      if (is_sum(t.op)) {
        break;
      }
      at += s.pixels() * std::size_t(parcel.count);
    }
  }
}

}  // namespace sbcnn
