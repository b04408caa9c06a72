// Which addresses two boards have for each other.
#pragma once

#include <string>

namespace sbcnn::net {

// Numeric addresses, IPv4 or IPv6, without brackets.
struct Route {
  std::string local, remote;
};

// The address of `host`, a name or a number, and the address that packets from here to there
// carry as their source: the one under which `host` can reach us. Bridges of containers and
// virtual machines are thus never picked. Asks the resolver and the routing table; sends nothing.
// Throws Error(io) when the name is unknown or there is no route.
Route route_to(const std::string& host);
std::string local_address_towards(const std::string& host);

// "192.168.0.7:4711", "[fd00::7]:4711".
std::string host_and_port(const std::string& host, int port);

// Splits that, with or without "tcp://" in front. Throws Error(usage) if it is something else.
struct HostPort {
  std::string host;
  int port = 0;
};
HostPort split_host_and_port(const std::string& text);

}  // namespace sbcnn::net
