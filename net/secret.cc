#include "net/secret.h"

#include <sys/random.h>
#include <zmq.h>

#include <array>
#include <string_view>

#include "core/error.h"

namespace sbcnn::net {
namespace {

constexpr std::string_view kCurve = "curve:";
constexpr std::size_t kKey = 40;  // characters, and a 0 behind them for libzmq
using Key = std::array<char, kKey + 1>;

std::string random_token() {
  std::array<std::byte, 16> bytes{};
  fill_random(bytes);
  static constexpr char digits[] = "0123456789abcdef";
  std::string token;
  for (const std::byte b : bytes) {
    token += {digits[unsigned(b) >> 4], digits[unsigned(b) & 15]};
  }
  return token;
}

}  // namespace

// "TOKEN", or "curve:" SECRET_KEY TOKEN; the public key follows from the secret one.
std::string make_secret(Security security) {
  if (security == Security::plain) {
    return random_token();
  }
  Key public_key{}, secret_key{};
  if (zmq_curve_keypair(public_key.data(), secret_key.data()) != 0) {
    throw Error(Error::Code::io, std::string("libzmq cannot make keys for the job (") +
                                     zmq_strerror(zmq_errno()) + "): install one that has CURVE");
  }
  return std::string(kCurve) + secret_key.data() + random_token();
}

std::optional<CurveKeys> keys_of(const std::string& secret) {
  if (!secret.starts_with(kCurve)) {
    return std::nullopt;
  }
  const std::string secret_key = secret.substr(kCurve.size(), kKey);
  Key public_key{};
  if (secret_key.size() != kKey || zmq_curve_public(public_key.data(), secret_key.c_str()) != 0) {
    throw Error(Error::Code::usage, "the job's secret is not whole: hand it on as it was made");
  }
  return CurveKeys{public_key.data(), secret_key};
}

std::string token_of(const std::string& secret) {
  const bool plain = !secret.starts_with(kCurve);
  return plain ? secret : secret.substr(std::min(secret.size(), kCurve.size() + kKey));
}

void fill_random(std::span<std::byte> bytes) {
  if (getrandom(bytes.data(), bytes.size(), 0) != ssize_t(bytes.size())) {
    throw Error(Error::Code::io, "the system gave no random numbers for the job's secrets");
  }
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  unsigned difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    difference |= unsigned(a[i] ^ b[i]);
  }
  return difference == 0;
}

}  // namespace sbcnn::net
