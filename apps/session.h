// A network running over all boards: what applications embed.
//
//   sbcnn::Session session(sbcnn::load_model("net.onnx"), {.hostfile = "hosts"});
//   sbcnn::Result r = session.infer(input);             // one frame, or
//   sbcnn::Ticket t = session.submit(input);            // several in flight
//   sbcnn::Result r = session.collect();                // in the order of submission
//
// The constructor starts the workers (local processes, or ssh for boards of the hostfile),
// agrees with them on the plan and streams each its slice of the weights; rank 0 lives in this
// process. The destructor ends them all. Inputs and outputs are H x W x C floats of one frame,
// already preprocessed (image.h does that for images).
//
// Threads: a Session computes on a thread of its own. submit and collect may be called from
// two different threads, each by one at a time. Errors: what the world does wrong is an Error
// naming rank and host; after one, every further call throws it again and nothing hangs.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/encryption.h"
#include "core/model.h"
#include "core/plan.h"
#include "kernels/isa.h"

namespace sbcnn {

struct SessionOptions {
  int ranks = 0;  // 0: every slot of the hostfile; one without a hostfile
  std::filesystem::path hostfile = {};
  int in_flight = 2;  // frames under way at once
  int threads = 0;  // compute threads of each rank; 0: the board's physical cores that affinity and
                    // control groups leave us, shared by its ranks
  std::string rsh = "ssh";
  Encryption encryption = Encryption::automatic;
  // Which of its addresses each board tells the others: of an interface ("eth0") or within a
  // network ("192.168.0.0/24"). Empty: rank 0 the one on the route to the first other board, the
  // others the one on the route to rank 0.
  std::string iface = {};
  // The `sbcnn` that workers run. Empty: the running program if it is sbcnn, else the first in
  // PATH.
  std::filesystem::path binary = {};
  std::chrono::milliseconds connect_timeout{10'000};  // for all boards together
  std::chrono::milliseconds step_timeout{30'000};     // how long one exchange may take
  // The kernels' instruction set, which every board that computes then has to have; none: each
  // board takes its best.
  std::optional<kernels::Isa> isa = {};
  // What convolutions and dense layers multiply in. A board that has no fp16 computes in fp32, and
  // a warning names it.
  kernels::Precision precision = kernels::Precision::fp32;
  // Measures on each board which algorithm computes which layer fastest, unless an earlier run did,
  // and keeps that in the folder `cache` of the board (empty: $XDG_CACHE_HOME/sbcnn, else
  // ~/.cache/sbcnn). Otherwise rules decide that know no board.
  bool tune = true;
  std::filesystem::path cache = {};
  bool reference_kernels = false;  // plain and slow, for comparison
  // Gets what people should know at once, a line without a break, from a thread that waits.
  std::function<void(const std::string&)> tell = {};
  // Asked a few times a second while waiting; true ends the wait with Error(usage, "interrupted").
  std::function<bool()> interrupted = {};
};

using Ticket = std::uint64_t;  // counts frames from 0

struct Result {
  Ticket ticket = 0;
  std::vector<float> output;           // of Session::output_shape()
  std::chrono::nanoseconds waited{};   // from submit until the boards took it up
  std::chrono::nanoseconds latency{};  // from then on to the result
};

struct BoardInfo {
  int rank = 0;
  std::string host;
  int weight = 1;  // relative speed that the plan assumed
  int threads = 1;
  std::string isa;  // of the kernels: "neon", ..., "reference"
  kernels::Precision precision = kernels::Precision::fp32;
  std::size_t weight_bytes = 0;  // of its slice: as planned, once the session is closed as held
  std::size_t peak_memory = 0;   // resident, known when the session is closed; 0 before
};

class Session {
 public:
  Session(Model model, SessionOptions options);
  ~Session();
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;

  const Model& model() const;  // its structure, labels and preprocessing; no weights
  const Shape& input_shape() const;
  const Shape& output_shape() const;
  const Plan& plan() const;
  std::vector<BoardInfo> boards() const;
  // Idle ranks, boards without fp16; what boards told at their end comes behind when it is closed.
  std::vector<std::string> warnings() const;
  std::size_t bytes_per_frame() const;  // exchanged between ranks, all together

  // Blocks while options.in_flight frames are being computed; results wait to be collected for
  // as long as they like.
  Ticket submit(View<const float> input);
  Result collect();
  Result infer(View<const float> input);
  std::size_t pending() const;  // submitted, not collected

  // Ends the stream: workers report and exit. Throws what went wrong; the destructor does not.
  void close();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sbcnn
