#include "net/world.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "core/error.h"
#include "net/handshake.h"
#include "net/inproc.h"
#include "net/interface.h"
#include "net/rendezvous.h"

namespace sbcnn::net {
namespace {

struct Names {
  Seat::Starter starter;
  const char* rank;
  const char* size;
};

constexpr Names kStarters[] = {
    {Seat::Starter::launch, "SBCNN_RANK", "SBCNN_SIZE"},
    {Seat::Starter::mpirun, "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},
    {Seat::Starter::srun, "SLURM_PROCID", "SLURM_NTASKS"},
};
constexpr const char* kRoot = "SBCNN_ROOT";
constexpr const char* kIface = "SBCNN_IFACE";

int number(const char* name, std::string_view text, int low, int high) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < low || value > high) {
    throw Error(Error::Code::usage, std::string(name) + "='" + std::string(text) + "': want " +
                                        std::to_string(low) + " to " + std::to_string(high));
  }
  return value;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

}  // namespace

Seat find_seat(const Environment& environment) {
  for (const Names& names : kStarters) {
    const char* const rank = environment(names.rank);
    if (rank == nullptr) {
      continue;
    }
    const char* const size = environment(names.size);
    if (size == nullptr) {
      throw Error(Error::Code::usage, std::string(names.rank) + " is set, but not " + names.size +
                                          ": set both, or neither");
    }
    Seat seat;
    seat.starter = names.starter;
    seat.size = number(names.size, size, 1, int(kLargestWorld));
    seat.rank = number(names.rank, rank, 0, seat.size - 1);
    if (const char* const root = environment(kRoot)) {
      seat.root = root;
      try {
        split_host_and_port(seat.root);
      } catch (const Error& e) {
        throw Error(Error::Code::usage, std::string(kRoot) + ": " + e.what());
      }
    } else if (seat.size > 1) {
      throw Error(Error::Code::usage,
                  "a world of " + std::to_string(seat.size) + " ranks, but no " + kRoot +
                      ": set it on all ranks to the address of rank 0's board and a free port "
                      "there, ADDR:PORT");
    }
    if (const char* const iface = environment(kIface)) {
      seat.iface = iface;
    }
    return seat;
  }
  return {};
}

std::unique_ptr<Transport> meet(const Seat& seat, const MeetingOptions& options,
                                Deadline deadline) {
  if (seat.size == 1) {
    return Hub(1, {options.host}).join(0);
  }
  if (seat.rank == 0) {
    const HostPort at = split_host_and_port(seat.root);
    if (!seat.iface.empty()) {
      local_address_towards(at.host, seat.iface);  // throws if there is no such interface
    }
    RendezvousOptions meeting;
    meeting.size = seat.size;
    if (is_loopback(at.host) || !seat.iface.empty()) {  // nobody else need knock
      const std::string address = route_to(at.host).remote;
      meeting.bind = address.find(':') == std::string::npos ? address : "[" + address + "]";
    }
    meeting.port = at.port;
    meeting.token = options.token;
    meeting.version = options.version;
    return Rendezvous(std::move(meeting)).accept(deadline);
  }
  JoinOptions join;
  join.root = seat.root;
  join.rank = seat.rank;
  join.size = seat.size;
  join.token = options.token;
  join.host = options.host;
  join.iface = seat.iface;
  join.version = options.version;
  return net::join(join, deadline);
}

}  // namespace sbcnn::net
