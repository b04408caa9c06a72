// What rank 0 and the workers tell each other around a stream of frames.
//
// In this order: rank 0 sends each worker its Job; the worker plans for itself and answers Ready
// with the hash of its plan, measures its kernels if need be, all boards at once, and says Tuned;
// when all have, rank 0 says Begin and streams the slices of the weights, step by step in pieces,
// and the worker acknowledges; frames flow; the worker sends its Report and leaves. All of it is
// msgpack over Communicator's send and recv, decoded strictly: what does not fit is an
// Error(protocol). A worker whose board cannot compute as wished says so in Ready, and waits to be
// ended: so rank 0 tells people, once.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "apps/compute.h"
#include "core/model.h"
#include "core/ports.h"
#include "net/communicator.h"

namespace sbcnn::apps {

struct Job {
  std::vector<std::byte> skeleton;  // see model_file.h
  std::vector<int> weights;         // the cluster's
  std::uint64_t plan_hash = 0;
  int in_flight = 1;
  std::int64_t step_timeout_ms = 0;
  ComputeWishes compute;

  friend bool operator==(const Job&, const Job&) = default;
};

struct Ready {
  std::uint64_t plan_hash = 0;
  std::string refusal;  // why the board cannot compute as wished; empty: it can, and here is how
  int threads = 1;
  std::string isa;
  kernels::Precision precision = kernels::Precision::fp32;

  friend bool operator==(const Ready&, const Ready&) = default;
};

struct Report {
  std::size_t weight_bytes = 0;  // received
  std::size_t peak_memory = 0;   // bytes resident at most
  std::string warning;           // or ""

  friend bool operator==(const Report&, const Report&) = default;
};

std::vector<std::byte> encode(const Job&);
std::vector<std::byte> encode(const Ready&);
std::vector<std::byte> encode(const Report&);
Job decode_job(std::span<const std::byte>);
Ready decode_ready(std::span<const std::byte>);
Report decode_report(std::span<const std::byte>);

// Tags of these messages, between rank 0 and one worker. Pieces of weights and their
// acknowledgements count up.
net::Tag job_tag();
net::Tag ready_tag();
net::Tag tuned_tag();  // no body
net::Tag begin_tag();  // no body
net::Tag report_tag();

// How long boards may take to measure their kernels.
inline constexpr std::chrono::minutes kTuningTimeout{10};

// Most of the weights that are under way to one worker.
std::size_t weight_window_bytes();

// Sends one worker its weights, never more than a window ahead of what it acknowledged: no queue
// holds the model.
class WeightSender {
 public:
  WeightSender(net::Communicator&, int peer, std::chrono::milliseconds timeout);
  void send(const Weights&);
  void finish();  // waits until all is acknowledged

 private:
  void send_piece(std::span<const float>);
  void await_acknowledgement();

  net::Communicator& comm_;
  int peer_;
  std::chrono::milliseconds timeout_;
  std::uint32_t sent_ = 0, acknowledged_ = 0;  // pieces
};

class WeightReceiver {
 public:
  WeightReceiver(net::Communicator&, std::chrono::milliseconds timeout);
  // What the peer sent next; must be of that size.
  Weights receive(const WeightShape&);
  std::size_t bytes() const { return bytes_; }  // received so far

 private:
  void receive_pieces(std::span<float>);

  net::Communicator& comm_;
  std::chrono::milliseconds timeout_;
  std::uint32_t received_ = 0;  // pieces
  std::size_t bytes_ = 0;
};

}  // namespace sbcnn::apps
