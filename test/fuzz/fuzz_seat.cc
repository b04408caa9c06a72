// A program's seat as its environment has it, one variable a line in the order below: it is one
// that there can be, or an Error.
#include <array>
#include <cstdint>
#include <map>
#include <sstream>
#include <string>

#include "core/error.h"
#include "net/world.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  std::istringstream lines(std::string(reinterpret_cast<const char*>(data), size));
  std::map<std::string, std::string, std::less<>> variables;
  for (const char* name : {"SBCNN_ROOT", "SBCNN_RANK", "SBCNN_SIZE", "OMPI_COMM_WORLD_RANK",
                           "OMPI_COMM_WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SBCNN_IFACE"}) {
    if (std::string line; std::getline(lines, line) && !line.empty()) {
      variables.emplace(name, line);
    }
  }
  try {
    const net::Seat seat = net::find_seat([&](const char* name) -> const char* {
      const auto found = variables.find(name);
      return found == variables.end() ? nullptr : found->second.c_str();
    });
    require(0 <= seat.rank && seat.rank < seat.size, "a rank outside its world");
    require(seat.size == 1 || !seat.root.empty(), "nowhere to meet");
  } catch (const Error&) {
  }
  return 0;
}
