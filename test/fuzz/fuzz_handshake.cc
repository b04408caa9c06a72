// What ranks say before they are a world: what decodes, comes out the same when it is encoded and
// decoded again. And the addresses that stand in it: a worker hands to its sockets those alone that
// name one host and one port.
#include <algorithm>
#include <cctype>
#include <cstdint>
#include <span>
#include <string>
#include <variant>

#include "core/error.h"
#include "net/handshake.h"
#include "net/interface.h"
#include "net/secret.h"

namespace {

using namespace sbcnn;

void check_endpoint(const std::string& endpoint) {
  const net::HostPort at = net::split_host_and_port(endpoint);
  require(endpoint == "tcp://" + net::host_and_port(at.host, at.port), "an address is ambiguous");
  require(std::ranges::all_of(at.host, [](unsigned char c) { return std::isgraph(c) != 0; }) &&
              at.host.find_first_of("*;/[]") == std::string::npos,
          "an address is more than a host and a port");
}

void check_welcome(const net::Welcome& welcome) {
  const int size = int(welcome.peers.size());
  require(!net::world_of(welcome, 1, size + 1, "fd00::7"), "a world of another size");
  if (const auto world = net::world_of(welcome, 1, size, "fd00::7")) {
    require(world->job == welcome.job && int(world->peers.size()) == size, "a world changed");
    require(world->peers[0].endpoint.starts_with("tcp://[fd00::7]:"), "rank 0 is elsewhere");
    for (const net::Peer& peer : world->peers) {
      check_endpoint(peer.endpoint);
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto handshake = net::decode_handshake(bytes)) {
    require(net::decode_handshake(net::encode(*handshake)) == handshake, "a handshake changed");
    if (const auto* const welcome = std::get_if<net::Welcome>(&*handshake)) {
      check_welcome(*welcome);
    }
  }
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const net::HostPort at = net::split_host_and_port(text);
    require(net::split_host_and_port(net::host_and_port(at.host, at.port)).host == at.host,
            "an address changed");
  } catch (const Error&) {
  }
  try {
    net::select_address({{"eth0", "192.168.0.7", 24}, {"eth1", "fd00::7", 64}}, text);
  } catch (const Error&) {
  }
  try {
    net::keys_of(text);
  } catch (const Error&) {
  }
  (void)net::token_of(text);
  return 0;
}
