// What ranks say before they are a world: what decodes, comes out the same when it is encoded and
// decoded again. And the addresses that stand in it.
#include <algorithm>
#include <cstdint>
#include <span>
#include <string>

#include "core/error.h"
#include "net/handshake.h"
#include "net/interface.h"
#include "net/secret.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  const auto bytes = std::as_bytes(std::span(data, size));
  if (const auto handshake = net::decode_handshake(bytes)) {
    const auto once = net::encode(*handshake);
    const auto again = net::decode_handshake(once);
    require(again && net::encode(*again) == once, "a handshake changed");
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
