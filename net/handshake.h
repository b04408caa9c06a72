// What ranks say to each other before they are a world (see rendezvous.h): msgpack arrays.
//
//   ["sbcnn", "hello", protocol, token, rank, host, version, size, endpoint]
//   ["sbcnn", "welcome", job, [[endpoint, host], ...]]
//   ["sbcnn", "refuse", reason]
//
// The first six fields of a hello, and all of a refusal, are the same in every version of the
// protocol: two versions can always say that they do not fit. Pure functions; decode takes
// whatever a socket brings and gives nullopt for everything else: wrong types, other lengths,
// trailing bytes, strings and lists beyond the limits below.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "net/zmq_transport.h"

namespace sbcnn::net {

inline constexpr std::uint32_t kProtocolVersion = 1;
inline constexpr std::size_t kLongestText = 2048;  // bytes of a string
inline constexpr std::size_t kLargestWorld = 1024;

struct Hello {
  std::uint32_t protocol = kProtocolVersion;
  std::string token;
  int rank = 0;
  std::string host;
  // Only filled in when the protocol is ours.
  std::string version;  // of the software
  int size = 0;
  std::string endpoint;

  friend bool operator==(const Hello&, const Hello&) = default;
};

struct Welcome {
  std::uint64_t job = 0;
  std::vector<Peer> peers;  // by rank

  friend bool operator==(const Welcome&, const Welcome&) = default;
};

struct Refusal {
  std::string reason;

  friend bool operator==(const Refusal&, const Refusal&) = default;
};

using Handshake = std::variant<Hello, Welcome, Refusal>;

std::vector<std::byte> encode(const Handshake&);
std::optional<Handshake> decode_handshake(std::span<const std::byte>);

// Whether a rank's address is one that a socket may be told to connect to: "tcp://", a host and a
// port, spelled as host_and_port does (interface.h). Libzmq's syntax has more, such as sources,
// wildcards and interfaces.
bool is_endpoint(const std::string&);

// How rank 0 calls its own address, before the port: where you found me.
inline constexpr const char* kWildcard = "tcp://*:";

// The world of `size` as a welcome describes it to `rank`, which has found rank 0 at the address
// `root`; nullopt if it makes no sense.
std::optional<World> world_of(Welcome, int rank, int size, const std::string& root);

}  // namespace sbcnn::net
