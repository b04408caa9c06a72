#include "net/handshake.h"

#define MSGPACK_NO_BOOST
#include <algorithm>
#include <limits>
#include <msgpack.hpp>
#include <string_view>
#include <type_traits>

#include "core/error.h"
#include "net/interface.h"

namespace sbcnn::net {
namespace {

constexpr const char* kName = "sbcnn";
constexpr std::size_t kStableFields = 6;
constexpr std::size_t kHelloFields = 9;
constexpr std::size_t kMaxDepth = 4;

using Packer = msgpack::packer<msgpack::sbuffer>;
using Fields = std::span<const msgpack::object>;

void pack(Packer& p, const Hello& h) {
  p.pack_array(kHelloFields);
  p.pack(kName).pack("hello").pack(h.protocol).pack(h.token).pack(h.rank).pack(h.host);
  p.pack(h.version).pack(h.size).pack(h.endpoint);
}

void pack(Packer& p, const Welcome& w) {
  p.pack_array(4);
  p.pack(kName).pack("welcome").pack(w.job);
  p.pack_array(std::uint32_t(w.peers.size()));
  for (const Peer& peer : w.peers) {
    p.pack_array(2);
    p.pack(peer.endpoint).pack(peer.host);
  }
}

void pack(Packer& p, const Refusal& r) {
  p.pack_array(3);
  p.pack(kName).pack("refuse").pack(r.reason.substr(0, kLongestText));
}

// --- strict readers: false leaves `to` unspecified -----------------------------------------------

bool read(const msgpack::object& o, std::string& to) {
  if (o.type != msgpack::type::STR || o.via.str.size > kLongestText) {
    return false;
  }
  to.assign(o.via.str.ptr, o.via.str.size);
  return true;
}

template <class T>
requires std::is_integral_v<T>
bool read(const msgpack::object& o, T& to) {
  if (o.type != msgpack::type::POSITIVE_INTEGER ||
      o.via.u64 > std::uint64_t(std::numeric_limits<T>::max())) {
    return false;
  }
  to = T(o.via.u64);
  return true;
}

bool is_text(const msgpack::object& o, std::string_view wanted) {
  std::string text;
  return read(o, text) && text == wanted;
}

Fields array(const msgpack::object& o) {
  return o.type == msgpack::type::ARRAY ? Fields(o.via.array.ptr, o.via.array.size) : Fields();
}

std::optional<Handshake> read_hello(Fields f) {
  Hello h;
  if (f.size() < kStableFields || !read(f[2], h.protocol) || !read(f[3], h.token) ||
      !read(f[4], h.rank) || !read(f[5], h.host)) {
    return std::nullopt;
  }
  if (h.protocol == kProtocolVersion && (f.size() != kHelloFields || !read(f[6], h.version) ||
                                         !read(f[7], h.size) || !read(f[8], h.endpoint))) {
    return std::nullopt;
  }
  return h;
}

std::optional<Handshake> read_welcome(Fields f) {
  Welcome w;
  if (f.size() != 4 || !read(f[2], w.job)) {
    return std::nullopt;
  }
  for (const msgpack::object& entry : array(f[3])) {
    const Fields peer = array(entry);
    Peer p;
    if (peer.size() != 2 || !read(peer[0], p.endpoint) || !read(peer[1], p.host)) {
      return std::nullopt;
    }
    w.peers.push_back(std::move(p));
  }
  return w.peers.empty() ? std::nullopt : std::optional<Handshake>(std::move(w));
}

std::optional<Handshake> read_any(const msgpack::object& o) {
  const Fields f = array(o);
  if (f.size() < 3 || !is_text(f[0], kName)) {
    return std::nullopt;
  }
  if (is_text(f[1], "hello")) {
    return read_hello(f);
  }
  if (is_text(f[1], "welcome")) {
    return read_welcome(f);
  }
  Refusal refusal;
  if (is_text(f[1], "refuse") && f.size() == 3 && read(f[2], refusal.reason)) {
    return refusal;
  }
  return std::nullopt;
}

}  // namespace

std::vector<std::byte> encode(const Handshake& handshake) {
  msgpack::sbuffer buffer;
  Packer packer(buffer);
  std::visit([&](const auto& h) { pack(packer, h); }, handshake);
  const auto bytes = std::as_bytes(std::span(buffer.data(), buffer.size()));
  return {bytes.begin(), bytes.end()};
}

std::optional<Handshake> decode_handshake(std::span<const std::byte> bytes) {
  // Limits: elements of an array, of a map, bytes of str, bin and ext, depth.
  const msgpack::unpack_limit limit(kLargestWorld, 0, kLongestText, 0, 0, kMaxDepth);
  try {
    std::size_t used = 0;
    const msgpack::object_handle handle = msgpack::unpack(
        reinterpret_cast<const char*>(bytes.data()), bytes.size(), used, nullptr, nullptr, limit);
    return used == bytes.size() ? read_any(handle.get()) : std::nullopt;
  } catch (const msgpack::unpack_error&) {  // truncated, not msgpack, or beyond a limit
    return std::nullopt;
  }
}

bool is_endpoint(const std::string& text) {
  try {
    const HostPort at = split_host_and_port(text);
    return text == "tcp://" + host_and_port(at.host, at.port);
  } catch (const Error&) {
    return false;
  }
}

std::optional<World> world_of(Welcome welcome, int rank, int size, const std::string& root) {
  if (welcome.peers.size() != std::size_t(size)) {
    return std::nullopt;
  }
  std::string& own = welcome.peers[0].endpoint;
  if (!own.starts_with(kWildcard)) {
    return std::nullopt;
  }
  const bool brackets = root.find(':') != std::string::npos;
  own = "tcp://" + (brackets ? "[" + root + "]" : root) + own.substr(own.rfind(':'));
  const bool good = std::ranges::all_of(
      welcome.peers, [](const Peer& peer) { return is_endpoint(peer.endpoint); });
  return good ? std::optional(World{rank, welcome.job, std::move(welcome.peers)}) : std::nullopt;
}

}  // namespace sbcnn::net
