// Where a program finds its seat among the ranks that somebody started.
//
// Whoever starts ranks says so in the environment; the first of these that is there counts:
//
//   SBCNN_RANK, SBCNN_SIZE                        `sbcnn launch`
//   OMPI_COMM_WORLD_RANK, OMPI_COMM_WORLD_SIZE    Open MPI's mpirun
//   SLURM_PROCID, SLURM_NTASKS                    Slurm's srun
//
// and SBCNN_ROOT=ADDR:PORT says where all ranks find rank 0, which listens on that port. `sbcnn
// launch` sets it; with the others it has to be given, as they choose no port for us. SBCNN_IFACE
// may say on which interface or network a rank listens (interface.h), else it is the one on the way
// to rank 0. Nothing of this is secret.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "net/transport.h"

namespace sbcnn::net {

struct Seat {
  enum class Starter { nobody, launch, mpirun, srun };
  Starter starter = Starter::nobody;
  int rank = 0, size = 1;
  std::string root;   // "ADDR:PORT"; may be empty in a world of one
  std::string iface;  // where to listen; may be empty
};

// Gives the value of a variable, or null: std::getenv, but for tests.
using Environment = std::function<const char*(const char* name)>;

// A world of one when nobody started ranks. Throws Error(usage), naming the variable, when what
// is there is not whole or makes no sense.
Seat find_seat(const Environment&);

struct MeetingOptions {
  std::string token = {};    // of the job, see rendezvous.h
  std::string host = {};     // the name of this board, for messages
  std::string version = {};  // of the software; for messages
};

// Makes the ranks of a seat a world, each in its process: rank 0 waits for the others on its port,
// the others go there. Throws as rendezvous.h says.
std::unique_ptr<Transport> meet(const Seat&, const MeetingOptions&, Deadline);

}  // namespace sbcnn::net
