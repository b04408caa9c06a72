// The secret that a started process reads: the first line if that is short enough, and nothing of
// what comes behind, which is the program's. Keys within it are whole, or an Error.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "apps/lifeline.h"
#include "core/error.h"
#include "net/secret.h"

namespace {

using namespace sbcnn;

void check_keys(const std::string& secret) {
  try {
    if (const auto keys = net::keys_of(secret)) {
      require(secret == "curve:" + keys->secret_key + net::token_of(secret), "a secret changed");
      require(keys->public_key.size() == keys->secret_key.size(), "a key is cut off");
    } else {
      require(net::token_of(secret) == secret, "a token changed");
    }
  } catch (const Error& e) {
    require(e.code() == Error::Code::usage, "a wrong secret is the user's");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const int file = memfd_create("input", MFD_CLOEXEC);
  require(file >= 0 && ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == ssize_t(size) &&
              lseek(file, 0, SEEK_SET) == 0,
          "no file in memory");
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::size_t end = text.find('\n');
  const bool good = end != text.npos && end <= apps::kLongestSecret;
  try {
    const std::string secret = apps::read_secret("no secret", file);
    require(good && secret == text.substr(0, end), "not the first line");
    require(lseek(file, 0, SEEK_CUR) == off_t(end + 1), "more than a line was read");
    check_keys(secret);
  } catch (const Error&) {
    require(!good, "a secret was not read");
  }
  return 0;
}
