#include "apps/lifeline.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

ssize_t read_byte(int from, char* c) {
  for (;;) {
    const ssize_t n = ::read(from, c, 1);
    if (n >= 0 || errno != EINTR) {
      return n;
    }
  }
}

}  // namespace

std::string read_secret(const char* otherwise, int from) {
  std::string secret;
  for (char c = 0; read_byte(from, &c) == 1;) {
    if (c == '\n') {
      return secret;
    }
    if (secret.size() == kLongestSecret) {
      break;
    }
    secret += c;
  }
  throw Error(Error::Code::usage, otherwise);
}

void hold_lifeline() {
  std::thread([] {
    char c = 0;
    while (read_byte(STDIN_FILENO, &c) == 1) {
    }
    std::_Exit(1);
  }).detach();
}

}  // namespace sbcnn::apps
