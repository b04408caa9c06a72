// Hostfiles, and the commands that are made of their names: nothing may look like an option.
#include <cstdint>
#include <string_view>

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
  try {
    apps::split_command(text);
  } catch (const Error&) {
  }
  return 0;
}
