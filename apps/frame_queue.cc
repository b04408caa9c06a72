#include "apps/frame_queue.h"

#include <utility>

#include "core/error.h"

namespace sbcnn::apps {

FrameQueue::FrameQueue(int in_flight, std::function<void()> watch)
    : in_flight_(std::size_t(in_flight)), watch_(std::move(watch)) {}

void FrameQueue::rethrow_locked() const {
  if (failure_) {
    std::rethrow_exception(failure_);
  }
}

void FrameQueue::rethrow() const {
  const std::lock_guard lock(mutex_);
  rethrow_locked();
}

Ticket FrameQueue::submit(View<const float> input) {
  const Clock::time_point now = Clock::now();
  std::unique_lock lock(mutex_);
  // One more than is in flight waits at the door, so that a slot never stands empty.
  changed_.wait(lock, [&] {
    return failure_ || closed_ || waiting_.size() + under_way_.size() <= in_flight_;
  });
  rethrow_locked();
  Waiting frame{std::exchange(spare_, {}), now};
  lock.unlock();  // nobody else submits meanwhile: the place stays free
  if (frame.input.shape() != input.shape()) {
    frame.input = Tensor(input.shape());
  }
  copy(input, frame.input.view());
  lock.lock();
  rethrow_locked();
  require(!closed_, "Session::submit after close");
  waiting_.push_back(std::move(frame));
  changed_.notify_all();
  return submitted_++;
}

Result FrameQueue::collect() {
  std::unique_lock lock(mutex_);
  require(submitted_ > collected_, "Session::collect: nothing was submitted");
  changed_.wait(lock, [&] { return failure_ || !done_.empty(); });
  if (done_.empty()) {
    rethrow_locked();
  }
  Result r = std::move(done_.front());
  done_.pop_front();
  ++collected_;
  return r;
}

Result FrameQueue::infer(View<const float> input) {
  {
    const std::lock_guard lock(mutex_);
    rethrow_locked();
    require(submitted_ == collected_, "Session::infer: collect what was submitted first");
  }
  submit(input);
  return collect();
}

std::size_t FrameQueue::pending() const {
  const std::lock_guard lock(mutex_);
  return std::size_t(submitted_ - collected_);
}

void FrameQueue::close() {
  const std::lock_guard lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

Signal FrameQueue::next(bool idle, View<float> input) {
  std::unique_lock lock(mutex_);
  while (waiting_.empty()) {
    if (!idle) {
      return Signal::bubble;
    }
    if (closed_) {
      return Signal::stop;
    }
    changed_.wait_for(lock, std::chrono::milliseconds(100));
    lock.unlock();
    watch_();
    lock.lock();
  }
  copy(std::as_const(waiting_.front().input).view(), input);
  under_way_.push_back({waiting_.front().submitted, Clock::now()});
  spare_ = std::move(waiting_.front().input);
  waiting_.pop_front();
  return Signal::frame;
}

void FrameQueue::deliver(View<const float> output) {
  Result r;
  r.output.resize(output.shape().size());
  copy(output, View<float>(r.output.data(), output.shape()));
  const std::lock_guard lock(mutex_);
  const UnderWay times = under_way_.front();
  r.ticket = delivered_++;
  r.waited = times.admitted - times.submitted;
  r.latency = Clock::now() - times.admitted;
  under_way_.pop_front();
  done_.push_back(std::move(r));
  changed_.notify_all();
}

void FrameQueue::fail(std::exception_ptr failure) {
  const std::lock_guard lock(mutex_);
  failure_ = std::move(failure);
  changed_.notify_all();
}

}  // namespace sbcnn::apps
