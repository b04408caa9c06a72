#include "net/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>

#include "core/error.h"

namespace sbcnn::net {
namespace {

unsigned char* raw(std::span<std::byte> bytes) {
  return reinterpret_cast<unsigned char*>(bytes.data());
}

const unsigned char* raw(std::span<const std::byte> bytes) {
  return reinterpret_cast<const unsigned char*>(bytes.data());
}

}  // namespace

void fill_random(std::span<std::byte> bytes) {
  if (RAND_bytes(raw(bytes), int(bytes.size())) != 1) {
    throw Error(Error::Code::io, "the system gave no random numbers for keys");
  }
}

bool equal_in_constant_time(std::span<const std::byte> a, std::span<const std::byte> b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void Cipher::Free::operator()(evp_cipher_ctx_st* context) const {
  EVP_CIPHER_CTX_free(context);
}

Cipher::Cipher(const CipherKey& key) : context_(EVP_CIPHER_CTX_new()) {
  if (!context_ || EVP_CipherInit_ex(context_.get(), EVP_chacha20_poly1305(), nullptr,
                                     raw(std::span(key)), nullptr, 1) != 1) {
    throw Error(Error::Code::io, "libcrypto has no ChaCha20-Poly1305: use Debian's libssl3");
  }
}

Cipher::~Cipher() = default;
Cipher::Cipher(Cipher&&) noexcept = default;
Cipher& Cipher::operator=(Cipher&&) noexcept = default;

std::array<unsigned char, 12> Cipher::next_nonce() {
  std::array<unsigned char, 12> nonce{};
  for (std::size_t i = 0; i < sizeof count_; ++i) {
    nonce[i] = static_cast<unsigned char>(count_ >> (8 * i));
  }
  ++count_;
  return nonce;
}

void Cipher::seal(std::span<std::byte> text) {
  require(text.size() > kTagBytes, "Cipher::seal: there is no text");
  EVP_CIPHER_CTX* const c = context_.get();
  const std::span<std::byte> tag = text.last(kTagBytes);
  const int size = int(text.size() - kTagBytes);
  int n = 0;
  const bool good = EVP_CipherInit_ex(c, nullptr, nullptr, nullptr, next_nonce().data(), 1) == 1 &&
                    EVP_CipherUpdate(c, raw(text), &n, raw(text), size) == 1 &&
                    EVP_CipherFinal_ex(c, raw(tag), &n) == 1 &&
                    EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_GET_TAG, int(kTagBytes), raw(tag)) == 1;
  if (!good) {
    throw Error(Error::Code::io, "libcrypto cannot encrypt a message");
  }
}

bool Cipher::open(std::span<const std::byte> sealed, std::span<std::byte> out) {
  if (sealed.size() <= kTagBytes) {
    return false;
  }
  require(out.size() == sealed.size() - kTagBytes, "Cipher::open: sizes differ");
  EVP_CIPHER_CTX* const c = context_.get();
  std::array<unsigned char, kTagBytes> tag{};
  std::copy_n(raw(sealed.last(kTagBytes)), kTagBytes, tag.begin());
  int n = 0;
  return EVP_CipherInit_ex(c, nullptr, nullptr, nullptr, next_nonce().data(), 0) == 1 &&
         EVP_CipherUpdate(c, raw(out), &n, raw(sealed), int(out.size())) == 1 &&
         EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_AEAD_SET_TAG, int(kTagBytes), tag.data()) == 1 &&
         EVP_CipherFinal_ex(c, tag.data(), &n) == 1;
}

}  // namespace sbcnn::net
