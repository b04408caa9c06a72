// The API that applications embed, over real worker processes.
#include "apps/session.h"

#include <doctest/doctest.h>
#include <signal.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <thread>

#include "apps/tuning_cache.h"
#include "core/error.h"
#include "test/apps/temporary.h"
#include "test/support/networks.h"
#include "test/support/world.h"

using namespace sbcnn;
using namespace sbcnn::test;

namespace {

const Model& network() {
  static const Model model = synthetic_networks()[4].model;  // residual, 4 groups
  return model;
}

SessionOptions options(int ranks) {
  SessionOptions o;
  o.ranks = ranks;
  o.binary = std::getenv("SBCNN_BINARY");
  o.threads = 1;
  return o;
}

Tensor input(unsigned seed) {
  const Shape s = network().shape(0);
  Tensor t(s);
  const auto values = noise(s.size(), seed);
  copy(View<const float>(values.data(), s), t.view());
  return t;
}

Result infer(Session& session, unsigned seed) {
  const Tensor x = input(seed);
  return session.infer(x.view());
}

// Children of this process that run `sbcnn worker`.
std::vector<pid_t> workers() {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat"), line(entry.path() / "cmdline");
    std::string pid, name, state, parent, command;
    if (stat >> pid >> name >> state >> parent && std::getline(line, command) &&
        parent == std::to_string(getpid()) && command.find("worker") != std::string::npos) {
      found.push_back(pid_t(std::stol(pid)));
    }
  }
  return found;
}

}  // namespace

TEST_CASE("a session over several ranks gives one rank's answers") {
  Session one(network(), options(1)), three(network(), options(3));
  CHECK(three.plan().world == 3);
  CHECK(three.boards().size() == 3);
  CHECK(one.bytes_per_frame() == 0);
  CHECK(three.bytes_per_frame() > 0);
  for (unsigned seed = 1; seed <= 5; ++seed) {
    const Result a = infer(one, seed), b = infer(three, seed);
    CHECK(a.ticket == seed - 1);
    REQUIRE(a.output.size() == b.output.size());
    for (std::size_t i = 0; i < a.output.size(); ++i) {
      CHECK(std::abs(a.output[i] - b.output[i]) < 1e-5f);
    }
  }
}

TEST_CASE("results come in the order of submission, from whatever thread submits") {
  Session session(network(), options(3));
  Session one(network(), options(1));
  constexpr unsigned kFrames = 40;
  std::thread camera([&] {
    for (unsigned i = 0; i < kFrames; ++i) {
      const Tensor x = input(i);
      session.submit(x.view());
    }
  });
  for (unsigned i = 0; i < kFrames; ++i) {
    while (session.pending() == 0) {
      std::this_thread::yield();
    }
    const Result r = session.collect();
    CHECK(r.ticket == i);
    const Result alone = infer(one, i);
    CHECK(std::abs(r.output[0] - alone.output[0]) < 1e-5f);
    CHECK(r.latency.count() > 0);
  }
  camera.join();
}

TEST_CASE("boards tell what they compute with") {
  SessionOptions o = options(3);
  o.isa = kernels::available_isas().front();
  Session session(network(), o);
  for (const BoardInfo& b : session.boards()) {
    CHECK(b.isa == kernels::name_of(*o.isa));
    CHECK(b.precision == kernels::Precision::fp32);
    CHECK(b.threads == 1);
  }
  CHECK(session.warnings().empty());
}

TEST_CASE("an instruction set that is not here is refused before anything starts") {
  SessionOptions o = options(3);
  o.isa = kernels::best_isa() == kernels::Isa::neon ? kernels::Isa::avx2 : kernels::Isa::neon;
  CHECK_THROWS_AS(Session(network(), o), Error);
  CHECK(workers().empty());
}

TEST_CASE("choices are kept where the application says, or nowhere") {
  const TemporaryFolder folder;
  SessionOptions o = options(2);
  o.cache = folder / "cache";
  o.tune = false;
  Session(network(), o).close();
  CHECK(apps::count_tunings(o.cache).files == 0);
  o.tune = true;
  Session(network(), o).close();
  CHECK(apps::count_tunings(o.cache).choices > 0);
}

TEST_CASE("one thread may submit more than is in flight") {
  Session session(network(), options(2));
  for (unsigned i = 0; i < 20; ++i) {
    const Tensor x = input(i);
    CHECK(session.submit(x.view()) == i);
  }
  CHECK(session.pending() == 20);
  for (unsigned i = 0; i < 20; ++i) {
    CHECK(session.collect().ticket == i);
  }
}

TEST_CASE("closing reports each board's memory, leaves no process, and may be repeated") {
  Session session(network(), options(3));
  CHECK(workers().size() == 2);
  infer(session, 1);
  session.close();
  session.close();
  CHECK(workers().empty());
  for (const BoardInfo& b : session.boards()) {
    CHECK(b.peak_memory > 0);
  }
}

TEST_CASE("a session that goes away in the middle of a stream leaves no process") {
  {
    Session session(network(), options(3));
    for (unsigned i = 0; i < 3; ++i) {
      const Tensor x = input(i);
      session.submit(x.view());
    }
  }
  CHECK(workers().empty());
}

TEST_CASE("a lost worker is named by every further call") {
  Session session(network(), options(3));
  infer(session, 1);
  kill(workers().at(0), SIGKILL);
  const auto stream = [&] {
    for (unsigned i = 0; i < 1000; ++i) {
      infer(session, i);
    }
  };
  for (int again = 0; again < 2; ++again) {
    try {
      stream();
      FAIL("the loss went unnoticed");
    } catch (const Error& e) {
      CHECK(e.code() == Error::Code::peer_lost);
      CHECK(std::string(e.what()).find("killed by signal 9") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(session.close(), Error);
  CHECK(workers().empty());
}

TEST_CASE("whoever waits can be interrupted") {
  SessionOptions o = options(2);
  o.binary = "/bin/true";  // a worker that says nothing and ends
  CHECK_THROWS_AS(Session(network(), o), Error);
  o.binary = std::getenv("SBCNN_BINARY");
  o.interrupted = [] { return true; };
  CHECK_THROWS_AS(Session(network(), o), Error);
}

TEST_CASE("options out of range and misuse are refused") {
  CHECK_THROWS_AS(Session(network(), {.ranks = -1}), Error);
  CHECK_THROWS_AS(Session(network(), {.in_flight = 0}), Error);
  CHECK_THROWS_AS(Session(network(), {.threads = -2}), Error);
  Session session(network(), options(1));
  CHECK_THROWS_AS(session.collect(), ContractViolation);
  const Tensor wrong({1, 1, 1});
  CHECK_THROWS_AS(session.submit(wrong.view()), ContractViolation);
}
