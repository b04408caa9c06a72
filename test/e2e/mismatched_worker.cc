// A worker that does not fit: of another protocol (MISMATCH_PROTOCOL), with another plan
// (MISMATCH_PLAN), or on a board that cannot compute as wished (MISMATCH_ISA).
#include <cstdio>
#include <iostream>
#include <string>

#include "apps/job.h"
#include "core/error.h"
#include "net/rendezvous.h"

using namespace sbcnn;

int main(int argc, char** argv) try {
  net::JoinOptions options;
  for (int i = 1; i + 1 < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--rank") {
      options.rank = std::stoi(argv[i + 1]);
    } else if (word == "--size") {
      options.size = std::stoi(argv[i + 1]);
    } else if (word == "--root") {
      options.root = argv[i + 1];
    }
  }
  std::getline(std::cin, options.token);
#ifdef MISMATCH_PROTOCOL
  options.protocol += 1;
#endif
  const Deadline deadline = Clock::now() + std::chrono::seconds(10);
  net::Communicator comm(net::join(options, deadline));
  const apps::Job job = apps::decode_job(comm.recv(0, apps::job_tag(), deadline).body);
  apps::Ready ready;
  ready.plan_hash = job.plan_hash;
#ifdef MISMATCH_ISA
  ready.refusal = comm.peer_name(options.rank) + " lacks the instruction set avx2, it has neon";
#else
  ready.plan_hash += 1;
#endif
  const auto answer = apps::encode(ready);
  comm.send(0, apps::ready_tag(), answer);
  std::getchar();  // until rank 0 hangs up
  return 0;
} catch (const Error& e) {
  std::cerr << e.what() << '\n';
  return 1;
}
