// A rank that tests stop and kill: net_peer ROOT RANK SIZE SECRET. Prints what ended it.
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>
#include <exception>
#include <string_view>

#include "net/rendezvous.h"
#include "peer_process.h"

using namespace sbcnn;
using namespace sbcnn::net;

namespace {

// Answers every barrier until rank 0 ends; once, computes for as long as it is asked to.
void serve(const std::string& root, int rank, int size, const std::string& secret) {
  const Deadline deadline = Clock::now() + std::chrono::seconds(30);
  const JoinOptions options{.root = root, .rank = rank, .size = size, .token = secret};
  Communicator comm(join(options, deadline));
  std::vector<float> milliseconds(1);
  Request request = comm.irecv(0, test::kPeerRequest, milliseconds);
  try {
    for (bool asked = false; true;) {
      comm.barrier(Deadline::max());
      if (!asked && request.test()) {
        asked = true;
        const Deadline end = Clock::now() + std::chrono::milliseconds(int(milliseconds[0]));
        while (Clock::now() < end) {
        }
      }
    }
  } catch (const Error& e) {  // rank 0 has ended, or another rank was killed
    const std::string_view words = e.what();
    (void)!write(STDOUT_FILENO, words.data(), words.size());
    throw;
  }
}

}  // namespace

int main(int argc, char** argv) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  try {
    if (argc == 5) {
      serve(argv[1], std::atoi(argv[2]), std::atoi(argv[3]), argv[4]);
    }
  } catch (const std::exception&) {
  }
  return 1;
}
