#include "apps/console.h"

#include <unistd.h>

#include <cerrno>
#include <string>

namespace sbcnn::apps {
namespace {

constexpr std::string_view kWipe = "\r\x1b[K";

void write_all(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(STDERR_FILENO, text.data(), text.size());
    if (written < 0 && errno == EINTR) {
      continue;
    }
    if (written <= 0) {
      return;
    }
    text.remove_prefix(std::size_t(written));
  }
}

}  // namespace

bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) == 1;
}

void print_line(std::string_view line) {
  std::string text(stderr_is_terminal() ? kWipe : "");
  text += line;
  text += '\n';
  write_all(text);
}

void show_status(std::string_view text) {
  if (stderr_is_terminal()) {
    write_all(std::string(kWipe) + std::string(text));
  }
}

}  // namespace sbcnn::apps
