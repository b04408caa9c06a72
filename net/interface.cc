#include "net/interface.h"

#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>

#include "core/error.h"

namespace sbcnn::net {
namespace {

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

constexpr const char* kAnyService = "9";  // discard; nothing is sent there

Addresses resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  addrinfo* found = nullptr;
  const int status = getaddrinfo(host.c_str(), kAnyService, &hints, &found);
  if (status != 0) {
    const char* why = status == EAI_SYSTEM ? std::strerror(errno) : gai_strerror(status);
    throw Error(Error::Code::io, "cannot find host '" + host + "': " + why);
  }
  return {found, freeaddrinfo};
}

std::string numeric(const sockaddr* address, socklen_t length) {
  char text[NI_MAXHOST] = {};
  if (getnameinfo(address, length, text, sizeof text, nullptr, 0, NI_NUMERICHOST) != 0) {
    return {};
  }
  return text;
}

// Link-local addresses carry a zone that means nothing on another board.
bool link_local(const addrinfo& a) {
  return a.ai_family == AF_INET6 &&
         IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(a.ai_addr)->sin6_addr);
}

std::optional<Route> route_over(const addrinfo& a) {
  const int fd = socket(a.ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    return std::nullopt;
  }
  std::optional<Route> route;
  sockaddr_storage local{};
  socklen_t length = sizeof local;
  auto* const address = reinterpret_cast<sockaddr*>(&local);
  if (connect(fd, a.ai_addr, a.ai_addrlen) == 0 && getsockname(fd, address, &length) == 0) {
    route = Route{numeric(address, length), numeric(a.ai_addr, a.ai_addrlen)};
  }
  const int reason = errno;
  close(fd);
  errno = reason;
  return route;
}

}  // namespace

Route route_to(const std::string& host) {
  const Addresses addresses = resolve(host);
  for (const bool wanted : {false, true}) {
    for (const addrinfo* a = addresses.get(); a != nullptr; a = a->ai_next) {
      if (link_local(*a) != wanted) {
        continue;
      }
      if (auto route = route_over(*a)) {
        return *route;
      }
    }
  }
  throw Error(Error::Code::io, "no route to host '" + host + "': " + std::strerror(errno));
}

std::string local_address_towards(const std::string& host) {
  return route_to(host).local;
}

std::string host_and_port(const std::string& host, int port) {
  const bool brackets = host.find(':') != std::string::npos;
  return (brackets ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

HostPort split_host_and_port(const std::string& text) {
  const std::string scheme = "tcp://";
  const std::string rest = text.starts_with(scheme) ? text.substr(scheme.size()) : text;
  const auto colon = rest.rfind(':');
  HostPort result;
  if (colon != std::string::npos) {
    result.host = rest.substr(0, colon);
    const char* const end = rest.data() + rest.size();
    const auto [stop, error] = std::from_chars(rest.data() + colon + 1, end, result.port);
    if (error != std::errc() || stop != end) {
      result.port = 0;
    }
  }
  if (result.host.starts_with('[') && result.host.ends_with(']')) {
    result.host = result.host.substr(1, result.host.size() - 2);
  } else if (result.host.find(':') != std::string::npos) {
    result.host.clear();
  }
  if (result.host.empty() || result.port < 1 || result.port > 65535) {
    throw Error(Error::Code::usage, "'" + text + "' is not an address: write HOST:PORT");
  }
  return result;
}

}  // namespace sbcnn::net
