#include "core/pipeline.h"

#include <algorithm>
#include <utility>

#include "core/error.h"

namespace sbcnn {
namespace {

constexpr std::size_t kSlack = kAlignment / sizeof(float);

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

View<float> Pipeline::local(const Slot& slot, int index) const {
  const Local& l = program_.locals[std::size_t(index)];
  return View<float>::inside(slot.arena + l.offset, l.shape, l.border);
}

View<float> Pipeline::part(const Slot& slot, const Part& p) const {
  return local(slot, p.local).channels(p.channels);
}

void Pipeline::copy_all(const Slot& slot, const std::vector<Copy>& copies) const {
  for (const Copy& c : copies) {
    copy(part(slot, c.from), part(slot, c.to));
  }
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
  outputs_.clear();
  for (const int b : task.inputs) {
    inputs_.push_back(local(slot, b));
  }
  for (const Part& p : task.outputs) {
    outputs_.push_back(part(slot, p));
  }
  kernels_[action]->run(inputs_, outputs_);
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    clear_border(outputs_[i], program_.locals[std::size_t(task.outputs[i].local)].border);
  }
}

MessageBuffers Pipeline::messages(const Slot& slot, const Transfer& t) const {
  const View<float> send = local(slot, t.send), receive = local(slot, t.receive);
  return {send.flat(), t.send_counts, receive.flat(), t.receive_counts};
}

void Pipeline::start(const Slot& slot, int step) {
  const Transfer& t = std::get<Transfer>(program_.actions[std::size_t(step)]);
  copy_all(slot, t.pack);
  clear_border(local(slot, t.output), program_.locals[std::size_t(t.output)].border);
  if (t.op != Collective::local) {
    exchanger_.start(slot.frame, step, t.op, messages(slot, t));
  }
}

void Pipeline::finish(const Slot& slot, int step) {
  const Transfer& t = std::get<Transfer>(program_.actions[std::size_t(step)]);
  exchanger_.finish(slot.frame, step, Clock::now() + options_.step_timeout);
  copy_all(slot, t.unpack);
}

}  // namespace sbcnn
