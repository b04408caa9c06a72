// Where a program finds its seat, whoever started it.
#include <doctest/doctest.h>

#include <map>

#include "net/communicator.h"
#include "net/world.h"
#include "world.h"

using namespace sbcnn;
using namespace sbcnn::net;
using namespace sbcnn::net::test;

namespace {

using Variables = std::map<std::string, std::string>;

Seat place_in(const Variables& variables) {
  return find_seat([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? nullptr : found->second.c_str();
  });
}

std::string refusal_of(const Variables& variables) {
  try {
    place_in(variables);
  } catch (const Error& e) {
    CHECK(e.code() == Error::Code::usage);
    return e.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

const std::string kRoot = "10.0.0.1:4711";

}  // namespace

TEST_CASE("nobody started ranks: a world of one, which talks to itself") {
  const Seat seat = place_in({{"PATH", "/bin"}, {"SBCNN_ROOT", kRoot}});
  CHECK(seat.starter == Seat::Starter::nobody);
  CHECK(seat.size == 1);
  Communicator comm(meet(seat, {}, soon()));
  std::vector<float> in{1, 2}, out(2);
  comm.allreduce(in, out, soon());
  CHECK(out == in);
}

TEST_CASE("each starter's variables are understood, ours first") {
  Variables v{{"SBCNN_ROOT", kRoot}, {"SLURM_PROCID", "5"}, {"SLURM_NTASKS", "8"}};
  Seat seat = place_in(v);
  CHECK(seat.starter == Seat::Starter::srun);
  CHECK(seat.rank == 5);
  CHECK(seat.size == 8);
  CHECK(seat.root == kRoot);
  CHECK(seat.iface == "");
  v["SBCNN_IFACE"] = "eth0";
  CHECK(place_in(v).iface == "eth0");
  v["OMPI_COMM_WORLD_RANK"] = "0";
  v["OMPI_COMM_WORLD_SIZE"] = "2";
  seat = place_in(v);
  CHECK(seat.starter == Seat::Starter::mpirun);
  CHECK(seat.rank == 0);
  CHECK(seat.size == 2);
  v["SBCNN_RANK"] = "3";
  v["SBCNN_SIZE"] = "4";
  seat = place_in(v);
  CHECK(seat.starter == Seat::Starter::launch);
  CHECK(seat.rank == 3);
  CHECK(seat.size == 4);
}

TEST_CASE("a world of one needs no root") {
  CHECK(place_in({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}).size == 1);
}

TEST_CASE("what is not whole or makes no sense is named") {
  CHECK(contains(refusal_of({{"SBCNN_RANK", "0"}}), "SBCNN_SIZE"));
  CHECK(contains(refusal_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "2"}}), "SBCNN_ROOT"));
  for (const char* rank : {"4", "-1", "", "1x", " 1", "99999999999999999999"}) {
    CAPTURE(rank);
    const auto refusal =
        refusal_of({{"SBCNN_RANK", rank}, {"SBCNN_SIZE", "4"}, {"SBCNN_ROOT", kRoot}});
    CHECK(contains(refusal, "SBCNN_RANK='" + std::string(rank) + "'"));
    CHECK(contains(refusal, "0 to 3"));
  }
  for (const char* size : {"0", "1025", "many"}) {
    CAPTURE(size);
    CHECK(contains(refusal_of({{"SBCNN_RANK", "0"}, {"SBCNN_SIZE", size}, {"SBCNN_ROOT", kRoot}}),
                   "SBCNN_SIZE"));
  }
  for (const char* root : {"10.0.0.1", "10.0.0.1:0", ":4711", "10.0.0.1:port", ""}) {
    CAPTURE(root);
    CHECK(contains(refusal_of({{"SBCNN_RANK", "0"}, {"SBCNN_SIZE", "2"}, {"SBCNN_ROOT", root}}),
                   "SBCNN_ROOT"));
  }
}

TEST_CASE("an interface that is not there is an error on every rank") {
  for (const int rank : {0, 1}) {
    const Seat seat{Seat::Starter::launch, rank, 2, "127.0.0.1:4711", "eth77"};
    try {
      meet(seat, {.token = "secret"}, in(std::chrono::milliseconds(500)));
      FAIL("it met somebody");
    } catch (const Error& e) {
      CHECK(e.code() == Error::Code::usage);
      CHECK(contains(e.what(), "eth77"));
    }
  }
}
