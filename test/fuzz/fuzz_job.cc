// What rank 0 and workers tell each other around a stream: it is an Error, or what decodes comes
// out the same when it is encoded and decoded again.
#include <cstdint>
#include <optional>
#include <span>
#include <type_traits>

#include "apps/job.h"
#include "core/error.h"

namespace {

template <class F>
void try_one(std::span<const std::byte> bytes, F decode) {
  std::optional<std::invoke_result_t<F, std::span<const std::byte>>> message;
  try {
    message = decode(bytes);
  } catch (const sbcnn::Error&) {
    return;
  }
  sbcnn::require(decode(sbcnn::apps::encode(*message)) == *message, "a message changed");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_job(b); });
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_ready(b); });
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_report(b); });
  return 0;
}
