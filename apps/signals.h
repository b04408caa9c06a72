// Signals as something to poll for: SIGCHLD and those that ask a process to end.
//
// While one of these exists, the calling thread's SIGCHLD, SIGINT, SIGTERM and SIGHUP come here
// alone; in a process of one thread.
#pragma once

#include <signal.h>

#include "apps/process.h"

namespace sbcnn::apps {

class Signals {
 public:
  Signals();  // throws Error(io)
  ~Signals();
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_.get(); }
  int next();                                         // the number of one that came; 0: none
  const sigset_t& before() const { return before_; }  // the mask that a child should have

 private:
  sigset_t before_{};
  Descriptor fd_;
};

}  // namespace sbcnn::apps
