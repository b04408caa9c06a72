// Which addresses two boards have for each other.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sbcnn::net {

// Numeric addresses, IPv4 or IPv6, without brackets.
struct Route {
  std::string local, remote;
};

// The address of `host`, a name or a number, and the address that packets from here to there
// carry as their source: the one under which `host` can reach us. Asks the resolver and the routing
// table; sends nothing. Throws Error(io) when the name is unknown or there is no route.
Route route_to(const std::string& host);

// An address of this board.
struct Interface {
  std::string name;     // "eth0"
  std::string address;  // numeric
  int prefix = 0;       // bits of it that name the network
};
// Of interfaces that are up, without link-local addresses, which mean nothing elsewhere.
std::vector<Interface> local_interfaces();

// Whether an interface of that name leads to containers or virtual machines on this board (docker0,
// virbr0, veth..., br-..., and their like): no other board reaches its address.
bool leads_inside(std::string_view name);

// The address to advertise, out of `all`: of the interface `wanted` ("eth0"), or the one within a
// network ("192.168.0.0/16", "fd00::/8", or one address). Of several those of the family of `like`
// go first, then IPv4. Never one that leads inside. Throws Error(usage) listing what there is.
std::string select_address(const std::vector<Interface>& all, const std::string& wanted,
                           const std::string& like = {});

// The address of this board to advertise to others: as `wanted` says, or if that is empty the one
// on the route to `host`. Should that lead inside (a container is one of the boards), it is the
// default route's, which containers reach, too. Throws Error(io | usage).
std::string local_address_towards(const std::string& host, const std::string& wanted = {});

// "192.168.0.7:4711", "[fd00::7]:4711".
std::string host_and_port(const std::string& host, int port);

// Splits that, with or without "tcp://" in front: a host of letters, digits and ".-_", or an IPv6
// address in brackets, with or without a zone. Throws Error(usage) if it is something else; what
// comes out, host_and_port puts together again.
struct HostPort {
  std::string host;
  int port = 0;
};
HostPort split_host_and_port(const std::string& text);

}  // namespace sbcnn::net
