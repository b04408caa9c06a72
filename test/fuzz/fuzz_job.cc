// What rank 0 and workers tell each other around a stream: it decodes, or is an Error.
#include <cstdint>
#include <span>

#include "apps/job.h"
#include "core/error.h"

namespace {

template <class F>
void try_one(std::span<const std::byte> bytes, F decode) {
  try {
    const auto message = decode(bytes);
    decode(sbcnn::apps::encode(message));  // must be good
  } catch (const sbcnn::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto bytes = std::as_bytes(std::span(data, size));
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_job(b); });
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_ready(b); });
  try_one(bytes, [](auto b) { return sbcnn::apps::decode_report(b); });
  return 0;
}
