// What travels on a lane (lane.h), encrypted and authenticated: ChaCha20-Poly1305 (RFC 8439) by
// libgcrypt.
//
// One Cipher for each direction of one connection, on either end, with a key that was never used
// before: the nonce is the number of the record, counted on both ends. So records cannot be left
// out, repeated or exchanged unnoticed. Nothing is worth more after an `open` that failed.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

struct gcry_cipher_handle;

namespace sbcnn::net {

inline constexpr std::size_t kCipherKeyBytes = 32;
inline constexpr std::size_t kTagBytes = 16;
using CipherKey = std::array<std::byte, kCipherKeyBytes>;

class Cipher {
 public:
  explicit Cipher(const CipherKey&);  // throws Error(io), as all do, where libgcrypt cannot

  // Where it lies: a text of at least a byte, behind which there is room for the kTagBytes that are
  // put there.
  void seal(std::span<std::byte> text_and_room);
  // False if that is not the next record; then `out`, of kTagBytes less, is worth nothing. It may
  // begin where `sealed` does.
  bool open(std::span<const std::byte> sealed, std::span<std::byte> out);

 private:
  struct Close {
    void operator()(gcry_cipher_handle*) const;
  };
  void begin_record();

  std::unique_ptr<gcry_cipher_handle, Close> handle_;
  std::uint64_t count_ = 0;
};

}  // namespace sbcnn::net
