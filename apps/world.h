// A program's way into its world: MPI_Init and MPI_COMM_WORLD in one.
//
//   int main() {
//     const auto world = sbcnn::world();
//     std::vector<float> mine(3, float(world->rank())), sum(3);
//     world->allreduce(mine, sum, sbcnn::Clock::now() + 10s);
//   }
//
// Under `sbcnn launch` every rank of the job gets its place and the job's secret from there, the
// secret on standard input, which the program must leave alone from then on: when it ends, so does
// the program, for then the launcher is gone. Under mpirun and srun rank and size are theirs,
// SBCNN_ROOT=ADDR:PORT says where rank 0 listens (see net/world.h), and SBCNN_SECRET_FILE names a
// file whose first line is the secret, the same on all boards; SBCNN_INSECURE=1 does without, and
// then anybody who reaches the port may take part. Started alone, a program is a world of one.
//
// Before it returns, ranks time their links (Communicator::measure_link), some 50 ms at 100 Mbit/s.
//
// Once in a process. Throws Error: usage when the environment makes no sense, timeout naming who
// did not come, and what else net/rendezvous.h says.
#pragma once

#include <chrono>
#include <memory>

#include "net/communicator.h"

namespace sbcnn {

std::unique_ptr<net::Communicator> world(
    std::chrono::milliseconds connect_timeout = std::chrono::seconds(30));

}  // namespace sbcnn
