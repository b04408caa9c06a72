// Hostfiles, and the commands that are made of their names: nothing may look like an option. And
// command lines: what a shell is to read as one word is one.
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "apps/hostfile.h"
#include "apps/shell.h"
#include "core/error.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    for (const apps::Host& host : apps::parse_hostfile(text, "hosts")) {
      require(!host.name.empty() && host.name.front() != '-', "a name looks like an option");
      require(host.user.empty() || host.user.front() != '-', "a user looks like an option");
      require(host.slots >= 1 && host.weight > 0, "a host has no slots");
    }
  } catch (const Error&) {
  }
  require(apps::split_command(apps::quote(text)) == std::vector{std::string(text)},
          "a word came apart");
  std::vector<std::string> words;
  try {
    words = apps::split_command(text);
  } catch (const Error&) {
    return 0;
  }
  std::string line;
  for (const std::string& word : words) {
    line += apps::quote(word) + ' ';
  }
  require(apps::split_command(line) == words, "a command changed");
  return 0;
}
