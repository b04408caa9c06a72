#include "apps/world.h"

#include <array>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>

#include "apps/board.h"
#include "apps/lifeline.h"
#include "core/error.h"
#include "net/world.h"

namespace sbcnn {
namespace {

constexpr const char* kSecretFile = "SBCNN_SECRET_FILE";
constexpr const char* kInsecure = "SBCNN_INSECURE";

std::string secret_from_file() {
  const char* const path = std::getenv(kSecretFile);
  if (path == nullptr) {
    const char* const insecure = std::getenv(kInsecure);
    if (insecure != nullptr && std::strcmp(insecure, "1") == 0) {
      return {};
    }
    throw Error(Error::Code::usage,
                std::string("the job has no secret: set ") + kSecretFile +
                    " to a file whose first line is one, the same for all ranks, or " + kInsecure +
                    "=1 to do without");
  }
  std::ifstream file(path);
  std::array<char, apps::kLongestSecret + 1> line{};
  if (file.getline(line.data(), line.size())) {  // fails if there is nothing, or more
    const std::size_t size = std::size_t(file.gcount()) - (file.eof() ? 0 : 1);
    if (size > 0) {
      return {line.data(), size};
    }
  }
  throw Error(Error::Code::io, std::string(kSecretFile) + ": no secret in '" + path +
                                   "': put a line there that nobody can guess, of at most " +
                                   std::to_string(apps::kLongestSecret) + " bytes");
}

}  // namespace

std::unique_ptr<net::Communicator> world(std::chrono::milliseconds connect_timeout) {
  const net::Seat seat = net::find_seat([](const char* name) { return std::getenv(name); });
  net::MeetingOptions meeting;
  meeting.host = apps::host_name();
  meeting.version = apps::version();
  if (seat.starter == net::Seat::Starter::launch) {
    meeting.token = apps::read_secret(
        "SBCNN_RANK is set, but no secret stands on standard input: `sbcnn launch` starts ranks");
    apps::hold_lifeline();
  } else if (seat.size > 1) {
    meeting.token = secret_from_file();
  }
  const Deadline deadline = Clock::now() + connect_timeout;
  auto comm = std::make_unique<net::Communicator>(net::meet(seat, meeting, deadline));
  // A rank with little to do must not be gone before all others have connected to it.
  comm->barrier(deadline);
  comm->measure_link(deadline);
  return comm;
}

}  // namespace sbcnn
