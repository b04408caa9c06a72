#include "apps/session.h"

#include <algorithm>
#include <exception>
#include <optional>
#include <thread>
#include <utility>

#include "apps/board.h"
#include "apps/frame_queue.h"
#include "apps/job.h"
#include "apps/launcher.h"
#include "apps/ranks.h"
#include "core/model_file.h"
#include "core/pipeline.h"
#include "core/weight_slice.h"
#include "net/exchanger.h"
#include "net/interface.h"
#include "net/rendezvous.h"
#include "net/secret.h"

namespace sbcnn {
namespace {

using apps::Job;
using apps::Launcher;
using apps::RankHost;

constexpr std::size_t kGiveBack = std::size_t{1} << 20;

// For a world of one: a plan without exchanges.
class NoExchanger final : public Exchanger {
 public:
  void start(Frame, int, Collective, const MessageBuffers&) override { never(); }
  void finish(Frame, int, Deadline) override { never(); }
  void announce(std::uint64_t, Signal) override { never(); }
  Signal await_signal(std::uint64_t) override {
    never();
    return Signal::stop;
  }

 private:
  static void never() { require(false, "a world of one rank exchanges nothing"); }
};

std::string seconds(std::chrono::milliseconds t) {
  return std::to_string(double(t.count()) / 1e3);
}

void check(const SessionOptions& o) {
  const auto want = [](bool ok, const char* what) {
    if (!ok) {
      throw Error(Error::Code::usage, what);
    }
  };
  want(o.ranks >= 0, "the number of ranks cannot be negative");
  want(o.in_flight >= 1 && o.in_flight <= 1024, "frames in flight: give 1 to 1024");
  want(o.threads >= 0 && o.threads <= 1024, "threads: give 0 (all cores) to 1024");
  want(o.connect_timeout.count() > 0 && o.step_timeout.count() > 0, "timeouts must be positive");
}

}  // namespace

class Session::Impl {
 public:
  Impl(Model model, SessionOptions options)
      : model_(std::move(model)),
        options_(std::move(options)),
        ranks_((check(options_), apps::place_ranks(options_))),
        queue_(options_.in_flight, [this] { watch(); }) {
    plan_ = make_plan(model_, apps::cluster_of(ranks_));
    describe_boards();
    settings_ = settle_here();
    try {
      if (ranks_.size() > 1) {
        connect();
        agree();
      }
      make_kernels();
      build();
    } catch (const Error& e) {
      rethrow_better(e);
    }
    model_ = skeleton_of(model_);  // every rank has its slice now
    apps::give_memory_back();
    pipeline_->reserve();
    thread_ = std::thread([this] { run(); });
  }

  ~Impl() {
    try {
      close();
    } catch (...) {  // a destructor has nobody to tell; close() is there for those who ask
    }
  }

  apps::FrameQueue& queue() { return queue_; }
  const apps::FrameQueue& queue() const { return queue_; }

  void close() {
    if (closed_) {
      return;
    }
    closed_ = true;
    queue_.close();
    if (thread_.joinable()) {
      thread_.join();
    }
    const auto end = [this] {  // the launcher's destructor ends whatever still runs
      comm_.reset();
      launcher_.reset();
    };
    try {
      queue_.rethrow();
      collect_reports();
    } catch (...) {
      end();
      throw;
    }
    end();
  }

  const Model& model() const { return model_; }
  const Plan& plan() const { return plan_; }
  const std::vector<BoardInfo>& boards() const { return boards_; }
  std::size_t bytes_per_frame() const { return bytes_per_frame_; }

  const std::vector<std::string>& warnings() const { return warnings_; }

 private:
  // --- setting up, on the caller's thread ----------------------------------------------------

  void describe_boards() {
    for (int r = 0; r < plan_.world; ++r) {
      const RankCost cost = cost_of(model_, plan_, make_program(model_, plan_, r));
      const RankHost& at = ranks_[std::size_t(r)];
      BoardInfo board;
      board.rank = r;
      board.host = at.host.name;
      board.weight = at.weight;
      board.weight_bytes = cost.weight_bytes;
      boards_.push_back(std::move(board));
      bytes_per_frame_ += cost.bytes_sent;
    }
    for (const int r : plan_.idle_ranks()) {
      warnings_.push_back(rank_name(r) +
                          " has nothing to compute: the network splits over fewer ranks");
    }
  }

  std::string rank_name(int rank) const {
    return net::describe_rank(rank, boards_[std::size_t(rank)].host);
  }

  apps::ComputeSettings settle_here() {
    const apps::ComputeSettings settings =
        apps::settle(apps::wishes_for(ranks_, 0, options_), rank_name(0));
    note_compute(0, settings.threads, settings.isa_name(), settings.precision);
    return settings;
  }

  void note_compute(int rank, int threads, const std::string& isa, kernels::Precision precision) {
    BoardInfo& board = boards_[std::size_t(rank)];
    board.threads = threads;
    board.isa = isa;
    board.precision = precision;
    if (precision != options_.precision && board.weight > 0 && !options_.reference_kernels) {
      note_warning(rank, "computes in " + std::string(name_of(precision)) + ", for there is no " +
                             std::string(name_of(options_.precision)) + " with " + isa + " there");
    }
  }

  // Once a board, however many of its ranks say so.
  void note_warning(int rank, const std::string& what) {
    const std::string line = boards_[std::size_t(rank)].host + ": " + what;
    if (!what.empty() && std::ranges::find(warnings_, line) == warnings_.end()) {
      warnings_.push_back(line);
    }
  }

  // The address under which boards reach this one. A name that only ssh knows (an alias in its
  // configuration) has no route of its own: then the default route's, and ssh has the last word.
  std::string address_towards(const std::string& host) const {
    try {
      return net::local_address_towards(host, options_.iface);
    } catch (const Error& e) {
      if (e.code() == Error::Code::usage) {  // there is no such interface
        throw;
      }
      return net::local_address_towards("192.0.2.1");  // TEST-NET; nothing is sent
    }
  }

  void connect() {
    const auto remote = std::ranges::find_if(ranks_.begin() + 1, ranks_.end(),
                                             [](const RankHost& r) { return !r.local; });
    const bool here = remote == ranks_.end();
    const std::string address = !here                    ? address_towards(remote->host.name)
                                : options_.iface.empty() ? "127.0.0.1"
                                                         : address_towards("127.0.0.1");
    const bool encrypted = encrypts(options_.encryption, here);
    if (!here && !encrypted && options_.tell) {
      options_.tell(kNotEncrypted);
    }
    net::RendezvousOptions meeting_options;
    meeting_options.size = plan_.world;
    const std::string bind = net::host_and_port(address, 0);
    meeting_options.bind = here || !options_.iface.empty() ? bind.substr(0, bind.rfind(':')) : "*";
    meeting_options.token =
        net::make_secret(encrypted ? net::Security::curve : net::Security::plain);
    meeting_options.transport.on_refusal = options_.tell;
    meeting_options.version = apps::version();
    for (const BoardInfo& b : boards_) {
      meeting_options.hosts.push_back(b.host);
    }
    net::Rendezvous meeting(meeting_options);
    std::vector<apps::WorkerSpec> workers;
    std::vector<std::string> arguments{"--connect-timeout", seconds(options_.connect_timeout)};
    if (!options_.iface.empty()) {
      arguments.insert(arguments.end(), {"--iface", options_.iface});
    }
    for (int r = 1; r < plan_.world; ++r) {
      workers.push_back({r, ranks_[std::size_t(r)], meeting.endpoint(address), arguments});
    }
    apps::LauncherOptions launch;
    launch.world = plan_.world;
    launch.token = meeting_options.token;
    launch.rsh = options_.rsh;
    launch.hostfile = options_.hostfile.string();
    launch.connect_timeout = options_.connect_timeout;
    launch.binary = apps::worker_binary(options_.binary);
    launcher_ = std::make_unique<Launcher>(workers, launch);
    comm_ = std::make_unique<net::Communicator>(
        meeting.accept(Clock::now() + options_.connect_timeout, [this] { watch(); }));
    launcher_->note_connected();
    comm_->set_watch([this] { watch(); });
  }

  // Every worker plans for itself and must come to our plan.
  void agree() {
    Job job;
    job.skeleton = encode_skeleton(model_);
    job.weights = plan_.weights;
    job.plan_hash = plan_.hash();
    job.in_flight = options_.in_flight;
    job.step_timeout_ms = options_.step_timeout.count();
    for (int r = 1; r < plan_.world; ++r) {
      job.compute = apps::wishes_for(ranks_, r, options_);
      const std::vector<std::byte> message = encode(job);
      comm_->send(r, apps::job_tag(), message);
    }
    const Deadline deadline = Clock::now() + options_.connect_timeout;
    for (int r = 1; r < plan_.world; ++r) {
      const auto ready = apps::decode_ready(comm_->recv(r, apps::ready_tag(), deadline).body);
      if (ready.plan_hash != job.plan_hash) {
        throw Error(Error::Code::protocol, comm_->peer_name(r) + " came to another plan than " +
                                               comm_->peer_name(0) +
                                               ": install one version of sbcnn on both");
      }
      if (!ready.refusal.empty()) {
        launcher_.reset();  // first, so that no worker has anything to say about its end
        throw Error(Error::Code::usage, ready.refusal);
      }
      note_compute(r, ready.threads, ready.isa, ready.precision);
    }
  }

  // Measures what is to be measured, on all boards at once.
  void make_kernels() {
    program_ = make_program(model_, plan_, 0);
    kernels_ = std::make_unique<apps::RankKernels>(settings_, program_);
    kernels_->measure(program_, [this] { watch(); });
    const Deadline deadline = Clock::now() + apps::kTuningTimeout;
    const std::span<const std::byte> nothing;
    for (int r = 1; r < plan_.world; ++r) {
      comm_->recv(r, apps::tuned_tag(), deadline);
    }
    for (int r = 1; r < plan_.world; ++r) {
      comm_->send(r, apps::begin_tag(), nothing);
    }
  }

  // Streams everybody's weights, step by step, so that nobody holds more than its slice.
  void build() {
    if (comm_) {
      exchanger_ = std::make_unique<net::CommExchanger>(*comm_);
    } else {
      exchanger_ = std::make_unique<NoExchanger>();
    }
    std::vector<apps::WeightSender> senders;
    for (int r = 1; r < plan_.world; ++r) {
      senders.emplace_back(*comm_, r, options_.step_timeout);
    }
    int next = 0;
    const auto distribute_up_to = [&](int end) {
      for (; next < end; ++next) {
        release(next - 1);
        for (int r = 1; r < plan_.world; ++r) {
          if (std::holds_alternative<Compute>(plan_.steps[std::size_t(next)])) {
            senders[std::size_t(r - 1)].send(slice_weights(model_, plan_, next, r));
          }
        }
      }
    };
    const auto source = [&](int step) {
      distribute_up_to(step + 1);
      Weights w = slice_weights(model_, plan_, step, 0);
      boards_[0].weight_bytes += (w.weight.size() + w.bias.size()) * sizeof(float);
      return w;
    };
    boards_[0].weight_bytes = 0;
    pipeline_ =
        std::make_unique<Pipeline>(program_, kernels_->factory(), *exchanger_, source,
                                   PipelineOptions{options_.in_flight, options_.step_timeout});
    note_warning(0, kernels_->keep());
    distribute_up_to(int(plan_.steps.size()));
    release(next - 1);
    for (apps::WeightSender& s : senders) {
      s.finish();
    }
  }

  // Nobody needs the weights of this step any more.
  void release(int step) {
    if (const auto* c =
            step < 0 ? nullptr : std::get_if<Compute>(&plan_.steps[std::size_t(step)])) {
      const Node& node = model_.node(c->node);
      dropped_ += node.weight.mapped ? 0 : node.weight.size() * sizeof(float);
      model_.drop_weights(c->node);
      if (dropped_ >= kGiveBack) {  // small weights lie in pieces in the allocator's memory
        dropped_ = 0;
        apps::give_memory_back();
      }
    }
  }

  // --- the stream, on the session's thread -----------------------------------------------------

  void run() noexcept {
    try {
      try {
        pipeline_->run(&queue_);
      } catch (const Error& e) {
        rethrow_better(e);
      }
    } catch (...) {
      queue_.fail(std::current_exception());
    }
  }

  // Called a few times a second by whoever waits.
  void watch() {
    if (launcher_) {
      launcher_->check();
    }
    if (options_.interrupted && options_.interrupted()) {
      throw Error(Error::Code::usage, "interrupted");
    }
  }

  // A lost peer's process tells better than its socket why it went; it may need a moment to be
  // reaped.
  [[noreturn]] void rethrow_better(const Error& e) {
    const bool lost = e.code() == Error::Code::peer_lost || e.code() == Error::Code::timeout;
    for (int i = 0; launcher_ && lost && i < 10; ++i) {
      launcher_->check();
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    throw e;
  }

  // --- the end -----------------------------------------------------------------------------------

  void collect_reports() {
    if (comm_) {
      const Deadline deadline = Clock::now() + std::chrono::seconds(10);
      for (int r = 1; r < plan_.world; ++r) {
        const auto report = apps::decode_report(comm_->recv(r, apps::report_tag(), deadline).body);
        boards_[std::size_t(r)].weight_bytes = report.weight_bytes;
        boards_[std::size_t(r)].peak_memory = report.peak_memory;
        note_warning(r, report.warning);
      }
      comm_->set_watch({});
      comm_->close();
      launcher_->wait(deadline);
    }
    boards_[0].peak_memory = apps::peak_memory_of_self();
  }

  Model model_;
  const SessionOptions options_;
  const std::vector<RankHost> ranks_;
  Plan plan_;
  Program program_;  // rank 0's
  std::vector<BoardInfo> boards_;
  std::vector<std::string> warnings_;
  apps::ComputeSettings settings_;  // rank 0's
  std::size_t bytes_per_frame_ = 0;
  std::size_t dropped_ = 0;  // bytes of weights since memory was given back

  // Ended in the reverse order.
  std::unique_ptr<Launcher> launcher_;
  std::unique_ptr<net::Communicator> comm_;
  std::unique_ptr<Exchanger> exchanger_;
  std::unique_ptr<apps::RankKernels> kernels_;
  std::unique_ptr<Pipeline> pipeline_;

  apps::FrameQueue queue_;
  bool closed_ = false;
  std::thread thread_;
};

Session::Session(Model model, SessionOptions options)
    : impl_(std::make_unique<Impl>(std::move(model), std::move(options))) {}
Session::~Session() = default;
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;

const Model& Session::model() const {
  return impl_->model();
}
const Shape& Session::input_shape() const {
  return impl_->model().shape(0);
}
const Shape& Session::output_shape() const {
  return impl_->model().shape(impl_->model().output());
}
const Plan& Session::plan() const {
  return impl_->plan();
}
std::vector<BoardInfo> Session::boards() const {
  return impl_->boards();
}
std::vector<std::string> Session::warnings() const {
  return impl_->warnings();
}
std::size_t Session::bytes_per_frame() const {
  return impl_->bytes_per_frame();
}
Ticket Session::submit(View<const float> input) {
  require(input.shape() == input_shape(), "Session: the input has another shape");
  return impl_->queue().submit(input);
}
Result Session::collect() {
  return impl_->queue().collect();
}
Result Session::infer(View<const float> input) {
  require(input.shape() == input_shape(), "Session: the input has another shape");
  return impl_->queue().infer(input);
}
std::size_t Session::pending() const {
  return impl_->queue().pending();
}
void Session::close() {
  impl_->close();
}

}  // namespace sbcnn
