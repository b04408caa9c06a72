#include "net/cipher.h"

#include <gcrypt.h>

#include <string>

#include "core/error.h"

namespace sbcnn::net {
namespace {

// Once for the process, unless the program has done it. Its guarded memory would be a few pages
// that cannot be swapped; our keys last as long as a job and lie beside what they encrypt.
void initialize() {
  if (gcry_control(GCRYCTL_INITIALIZATION_FINISHED_P) == 0) {
    gcry_check_version(nullptr);
    gcry_control(GCRYCTL_DISABLE_SECMEM, 0);
    gcry_control(GCRYCTL_INITIALIZATION_FINISHED, 0);
  }
}

void check(gcry_error_t error) {
  if (error != 0) {
    throw Error(Error::Code::io, std::string("libgcrypt cannot encrypt: ") + gcry_strerror(error));
  }
}

}  // namespace

void Cipher::Close::operator()(gcry_cipher_handle* handle) const {
  gcry_cipher_close(handle);
}

Cipher::Cipher(const CipherKey& key) {
  static const bool initialized = (initialize(), true);
  (void)initialized;
  gcry_cipher_hd_t handle = nullptr;
  check(gcry_cipher_open(&handle, GCRY_CIPHER_CHACHA20, GCRY_CIPHER_MODE_POLY1305, 0));
  handle_.reset(handle);
  check(gcry_cipher_setkey(handle, key.data(), key.size()));
}

void Cipher::begin_record() {
  std::array<unsigned char, 12> nonce{};
  for (std::size_t i = 0; i < sizeof count_; ++i) {
    nonce[i] = static_cast<unsigned char>(count_ >> (8 * i));
  }
  ++count_;
  check(gcry_cipher_setiv(handle_.get(), nonce.data(), nonce.size()));
}

void Cipher::seal(std::span<std::byte> text) {
  require(text.size() > kTagBytes, "Cipher::seal: there is no text");
  begin_record();
  check(gcry_cipher_encrypt(handle_.get(), text.data(), text.size() - kTagBytes, nullptr, 0));
  check(gcry_cipher_gettag(handle_.get(), text.last(kTagBytes).data(), kTagBytes));
}

bool Cipher::open(std::span<const std::byte> sealed, std::span<std::byte> out) {
  if (sealed.size() <= kTagBytes) {
    return false;
  }
  require(out.size() == sealed.size() - kTagBytes, "Cipher::open: sizes differ");
  begin_record();
  const bool in_place = out.data() == sealed.data();
  check(gcry_cipher_decrypt(handle_.get(), out.data(), out.size(),
                            in_place ? nullptr : sealed.data(), in_place ? 0 : out.size()));
  return gcry_cipher_checktag(handle_.get(), sealed.last(kTagBytes).data(), kTagBytes) == 0;
}

}  // namespace sbcnn::net
