// What travels on a lane (lane.h), encrypted and authenticated: ChaCha20-Poly1305 (RFC 8439) by
// OpenSSL's libcrypto.
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

struct evp_cipher_ctx_st;

namespace sbcnn::net {

inline constexpr std::size_t kCipherKeyBytes = 32;
inline constexpr std::size_t kTagBytes = 16;
using CipherKey = std::array<std::byte, kCipherKeyBytes>;

// Bytes that nobody can guess. Throws Error(io).
void fill_random(std::span<std::byte>);
// Takes the same time wherever they differ.
bool equal_in_constant_time(std::span<const std::byte>, std::span<const std::byte>);

class Cipher {
 public:
  explicit Cipher(const CipherKey&);  // throws Error(io) where libcrypto has no such cipher
  ~Cipher();
  Cipher(Cipher&&) noexcept;
  Cipher& operator=(Cipher&&) noexcept;

  // Where it lies: a text of at least a byte, behind which there is room for the kTagBytes that are
  // put there. Throws Error(io) if libcrypto cannot.
  void seal(std::span<std::byte> text_and_room);
  // False if that is not the next record; then `out`, of kTagBytes less, is worth nothing. It may
  // begin where `sealed` does.
  bool open(std::span<const std::byte> sealed, std::span<std::byte> out);

 private:
  struct Free {
    void operator()(evp_cipher_ctx_st*) const;
  };
  std::array<unsigned char, 12> next_nonce();
  std::unique_ptr<evp_cipher_ctx_st, Free> context_;
  std::uint64_t count_ = 0;
};

}  // namespace sbcnn::net
