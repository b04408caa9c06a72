// The secret of a job: what lets a process take part in it.
//
// One line of text that rank 0 makes and hands to the others where nobody reads along; net alone
// looks inside. It is a random token and, for Security::curve, a CURVE key pair that all ranks of
// the job share: each is server on the ports on which it listens and client of the others, and a
// connection whose both ends do not own that pair brings nothing in (see doorkeeper.h). What
// travels is then encrypted and authenticated with keys of the connection's own (libzmq's CURVE,
// RFC 26/CurveZMQ: Curve25519, XSalsa20, Poly1305).
//
// Which of the two a job uses lies in the secret, so nobody on the network can talk a rank out of
// it.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

namespace sbcnn::net {

enum class Security {
  plain,  // whoever reaches a port is heard, reads along and may forge; the token guards the start
  curve,
};

// At most 128 printable characters without blanks. Throws Error(io) when the system gives no random
// numbers or its libzmq has no CURVE.
std::string make_secret(Security);

// Z85, 40 characters each.
struct CurveKeys {
  std::string public_key, secret_key;
};

// The keys within a secret; nullopt if it is a plain one, which may be any text that does not
// begin with "curve:". Throws Error(usage) if it begins so and is not whole.
std::optional<CurveKeys> keys_of(const std::string& secret);
// What a rank says to rank 0 to be let in: the secret without the keys.
std::string token_of(const std::string& secret);

// Bytes that nobody can guess. Throws Error(io) when the system gives none.
void fill_random(std::span<std::byte>);
// Takes the same time wherever two of one length differ.
bool equal_in_constant_time(std::span<const std::byte>, std::span<const std::byte>);

}  // namespace sbcnn::net
