#include "apps/worker.h"

#include <thread>

#include "apps/board.h"
#include "apps/compute.h"
#include "apps/console.h"
#include "apps/job.h"
#include "apps/lifeline.h"
#include "core/error.h"
#include "core/model_file.h"
#include "core/pipeline.h"
#include "core/weight_slice.h"
#include "net/exchanger.h"
#include "net/rendezvous.h"

namespace sbcnn::apps {
namespace {

// Rank 0 knows why, tells people, and ends us through the lifeline.
[[noreturn]] void await_the_end(const std::string& why, std::chrono::milliseconds timeout) {
  std::this_thread::sleep_for(timeout);
  throw Error(Error::Code::usage, why);
}

Ready ready_of(const ComputeSettings& settings, std::uint64_t plan_hash) {
  Ready ready;
  ready.plan_hash = plan_hash;
  ready.threads = settings.threads;
  ready.isa = settings.isa_name();
  ready.precision = settings.precision;
  return ready;
}

void serve(net::Communicator& comm, const WorkerOptions& options) {
  const Job job = decode_job(comm.recv(0, job_tag(), Clock::now() + options.connect_timeout).body);
  const Model model = decode_skeleton(job.skeleton, "the model that rank 0 sent");
  const Plan plan = make_plan(model, {job.weights});
  ComputeSettings settings;
  Ready ready;
  try {
    settings = settle(job.compute, comm.peer_name(comm.rank()));
    ready = ready_of(settings, plan.hash());
  } catch (const Error& e) {
    ready.plan_hash = plan.hash();
    ready.refusal = e.what();
  }
  const auto answer = encode(ready);
  comm.send(0, ready_tag(), answer);
  if (plan.hash() != job.plan_hash || plan.world != comm.size()) {
    throw Error(Error::Code::protocol, comm.peer_name(comm.rank()) + " came to another plan than " +
                                           comm.peer_name(0) +
                                           ": install one version of sbcnn on both");
  }
  if (!ready.refusal.empty()) {
    await_the_end(ready.refusal, options.connect_timeout);
  }
  const std::chrono::milliseconds step_timeout(job.step_timeout_ms);
  const Program program = make_program(model, plan, comm.rank());
  RankKernels kernels(settings, program);
  kernels.measure(program);
  const std::span<const std::byte> nothing;
  comm.send(0, tuned_tag(), nothing);
  comm.recv(0, begin_tag(), Clock::now() + kTuningTimeout);
  net::CommExchanger exchanger(comm);
  WeightReceiver receiver(comm, step_timeout);
  Pipeline pipeline(
      program, kernels.factory(), exchanger,
      [&](int step) { return receiver.receive(slice_shape(model, plan, step, comm.rank())); },
      {job.in_flight, step_timeout});
  const std::string warning = kernels.keep();
  give_memory_back();
  pipeline.reserve();
  pipeline.run(nullptr);
  const auto report = encode(Report{receiver.bytes(), peak_memory_of_self(), warning});
  comm.send(0, report_tag(), report);
}

}  // namespace

void work(const WorkerOptions& options) {
  net::JoinOptions join;
  join.token = read_secret("a worker is started by `sbcnn run`, which hands it the job's secret");
  hold_lifeline();
  join.root = options.root;
  join.rank = options.rank;
  join.size = options.size;
  join.host = host_name();
  join.iface = options.iface;
  join.version = version();
  join.transport.on_refusal = [](const std::string& line) {
    print_line("sbcnn: warning: " + line);
  };
  net::Communicator comm(net::join(join, Clock::now() + options.connect_timeout));
  serve(comm, options);
  comm.close();
}

}  // namespace sbcnn::apps
