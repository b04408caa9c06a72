#include "net/interface.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

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
bool link_local(const sockaddr* a) {
  return a->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(a)->sin6_addr);
}

// The bytes of a numeric address: 4, 16, or none if it is not one.
std::vector<std::uint8_t> bytes_of(const std::string& address) {
  std::array<std::uint8_t, 16> bytes{};
  if (inet_pton(AF_INET, address.c_str(), bytes.data()) == 1) {
    return {bytes.begin(), bytes.begin() + 4};
  }
  if (inet_pton(AF_INET6, address.c_str(), bytes.data()) == 1) {
    return {bytes.begin(), bytes.end()};
  }
  return {};
}

int prefix_of(const sockaddr* mask) {
  if (mask == nullptr) {
    return 0;
  }
  const bool four = mask->sa_family == AF_INET;
  const auto* const bytes = four ? reinterpret_cast<const std::uint8_t*>(
                                       &reinterpret_cast<const sockaddr_in*>(mask)->sin_addr)
                                 : reinterpret_cast<const std::uint8_t*>(
                                       &reinterpret_cast<const sockaddr_in6*>(mask)->sin6_addr);
  int bits = 0;
  for (int i = 0; i < (four ? 4 : 16); ++i) {
    bits += std::popcount(bytes[i]);
  }
  return bits;
}

// "10.0.0.0/8", or an address.
struct Network {
  std::vector<std::uint8_t> bytes;
  int prefix = 0;

  bool contains(const std::string& address) const {
    const auto other = bytes_of(address);
    bool same = other.size() == bytes.size();
    for (int bit = 0; same && bit < prefix; ++bit) {
      const std::size_t at = std::size_t(bit) / 8;
      same = (((bytes[at] ^ other[at]) >> (7 - bit % 8)) & 1) == 0;
    }
    return same;
  }
};

std::optional<Network> network_of(const std::string& text) {
  const auto slash = std::min(text.find('/'), text.size());
  Network network{bytes_of(text.substr(0, slash)), 0};
  const int most = int(network.bytes.size()) * 8;
  network.prefix = most;
  if (slash < text.size()) {
    const char* const end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, network.prefix);
    if (error != std::errc() || stop != end) {
      return std::nullopt;
    }
  }
  const bool good = most > 0 && network.prefix >= 0 && network.prefix <= most;
  return good ? std::optional(std::move(network)) : std::nullopt;
}

bool is_ipv6(const std::string& address) {
  return address.find(':') != std::string::npos;
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
      if (link_local(a->ai_addr) != wanted) {
        continue;
      }
      if (auto route = route_over(*a)) {
        return *route;
      }
    }
  }
  throw Error(Error::Code::io, "no route to host '" + host + "': " + std::strerror(errno));
}

std::vector<Interface> local_interfaces() {
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    throw Error(Error::Code::io,
                std::string("cannot list this board's interfaces: ") + std::strerror(errno));
  }
  const std::unique_ptr<ifaddrs, decltype(&freeifaddrs)> owner(first, freeifaddrs);
  std::vector<Interface> all;
  for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
    const sockaddr* const address = i->ifa_addr;
    const bool usable = address != nullptr && (i->ifa_flags & IFF_UP) != 0 &&
                        (address->sa_family == AF_INET || address->sa_family == AF_INET6) &&
                        !link_local(address);
    if (usable) {
      const bool four = address->sa_family == AF_INET;
      all.push_back({i->ifa_name,
                     numeric(address, four ? sizeof(sockaddr_in) : sizeof(sockaddr_in6)),
                     prefix_of(i->ifa_netmask)});
    }
  }
  return all;
}

bool leads_inside(std::string_view name) {
  // Docker's own networks are called br- and 12 digits; other bridges may well be a board's port.
  const bool docker_network = name.size() == 15 && name.starts_with("br-") &&
                              std::all_of(name.begin() + 3, name.end(), [](char c) {
                                return std::isxdigit(static_cast<unsigned char>(c)) != 0;
                              });
  constexpr std::string_view kinds[] = {"docker", "virbr",  "veth", "vnet", "lxcbr",
                                        "lxdbr",  "podman", "cni",  "cali", "flannel"};
  return docker_network ||
         std::ranges::any_of(kinds, [&](std::string_view kind) { return name.starts_with(kind); });
}

std::string select_address(const std::vector<Interface>& all, const std::string& wanted,
                           const std::string& like) {
  const auto network = network_of(wanted);
  std::string known, best;
  bool inside = false;
  const auto rank = [&](const std::string& address) {  // the lower the better
    return like.empty() ? is_ipv6(address) : is_ipv6(address) != is_ipv6(like);
  };
  for (const Interface& i : all) {
    known += (known.empty() ? "" : ", ") + i.name + " (" + i.address + ")";
    if (network ? !network->contains(i.address) : i.name != wanted) {
      continue;
    }
    if (leads_inside(i.name)) {
      inside = true;
    } else if (best.empty() || rank(i.address) < rank(best)) {
      best = i.address;
    }
  }
  if (best.empty()) {
    throw Error(Error::Code::usage,
                "--iface " + wanted + ": " +
                    (inside    ? "leads to containers or virtual machines on this board, where no "
                                 "other board reaches it"
                     : network ? "no address of this board lies there"
                               : "no such interface with an address here, and no network") +
                    "; there are: " + (known.empty() ? "none" : known));
  }
  return best;
}

std::string local_address_towards(const std::string& host, const std::string& wanted) {
  if (!wanted.empty()) {
    return select_address(local_interfaces(), wanted, bytes_of(host).empty() ? "" : host);
  }
  const auto inside = [all = local_interfaces()](const std::string& address) {
    return std::ranges::any_of(
        all, [&](const Interface& i) { return i.address == address && leads_inside(i.name); });
  };
  const std::string address = route_to(host).local;
  if (inside(address)) {
    // Documentation's networks: nobody has a route of its own to them, and nothing is sent.
    for (const char* const anywhere : {"192.0.2.1", "2001:db8::1"}) {
      try {
        const std::string other = route_to(anywhere).local;
        if (!inside(other)) {
          return other;
        }
      } catch (const Error&) {  // no default route
      }
    }
    throw Error(Error::Code::io, "the way to '" + host + "' leads over " + address +
                                     ", which other boards do not reach, and there is no default "
                                     "route: say --iface");
  }
  return address;
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
  const bool brackets = result.host.starts_with('[') && result.host.ends_with(']');
  if (brackets) {
    result.host = result.host.substr(1, result.host.size() - 2);
  }
  // Of a name, an IPv4 or, in brackets, an IPv6 address with its zone.
  const auto fits = [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view(brackets ? ".-_%:" : ".-_").find(c) != std::string_view::npos;
  };
  const bool colons = result.host.find(':') != std::string::npos;
  if (result.host.empty() || brackets != colons || !std::ranges::all_of(result.host, fits) ||
      result.port < 1 || result.port > 65535) {
    throw Error(Error::Code::usage, "'" + text + "' is not an address: write HOST:PORT");
  }
  return result;
}

}  // namespace sbcnn::net
