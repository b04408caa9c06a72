// Frames on their way between an application's threads and the pipeline's.
//
// The application submits and collects, the pipeline takes and delivers; results keep the order of
// submission. After fail() both sides of the application throw what went wrong. Thread-safe.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>

#include "apps/session.h"
#include "core/pipeline.h"

namespace sbcnn::apps {

class FrameQueue final : public Feed {
 public:
  // `watch` is called a few times a second while the pipeline waits for frames; may throw.
  FrameQueue(int in_flight, std::function<void()> watch);

  // The application's side; see Session.
  Ticket submit(View<const float> input);
  Result collect();
  Result infer(View<const float> input);
  std::size_t pending() const;
  void close();          // nothing will be submitted any more
  void rethrow() const;  // what fail() was told, if it was

  // The pipeline's side.
  Signal next(bool idle, View<float> input) override;
  void deliver(View<const float> output) override;
  void fail(std::exception_ptr);

 private:
  struct Waiting {
    Tensor input;
    Clock::time_point submitted;
  };
  struct UnderWay {
    Clock::time_point submitted, admitted;
  };
  void rethrow_locked() const;

  const std::size_t in_flight_;
  const std::function<void()> watch_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Waiting> waiting_;     // not admitted yet
  Tensor spare_;                    // memory for the next to wait
  std::deque<UnderWay> under_way_;  // admitted, not delivered
  std::deque<Result> done_;         // delivered, not collected
  std::exception_ptr failure_;
  Ticket submitted_ = 0, delivered_ = 0, collected_ = 0;
  bool closed_ = false;
};

}  // namespace sbcnn::apps
