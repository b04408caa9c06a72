// Errors of sbcnn.
//
// Everything the world may do to us (a file, a peer, a board, a command line) ends
// in an `Error`: one line that says what, where and what to do about it. Only `apps`
// catches it and prints. Everything that a caller of our own code may do wrong ends in
// a `ContractViolation`, which nobody inside the library catches.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace sbcnn {

class Error : public std::runtime_error {
 public:
  enum class Code {
    usage,        // a wrong option or input of the user
    io,           // a file, a directory, a socket could not be used
    format,       // bytes from outside are not what they claim to be
    unsupported,  // well-formed, but beyond what sbcnn runs
    protocol,     // a peer broke the protocol, or is of another version
    timeout,      // a deadline passed
    peer_lost,    // a peer ended, was killed or went away
  };

  Error(Code code, std::string what) : std::runtime_error(std::move(what)), code_(code) {}
  Code code() const noexcept { return code_; }

 private:
  Code code_;
};

class ContractViolation : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Checks what only our own code can get wrong; never used on data from outside.
inline void require(bool ok, const char* what) {
  if (!ok) [[unlikely]] {
    throw ContractViolation(what);
  }
}

}  // namespace sbcnn
