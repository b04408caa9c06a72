#include "apps/job.h"

#include <algorithm>
#include <cstring>
#include <msgpack.hpp>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

constexpr std::size_t kPiece = std::size_t{1} << 13;  // floats in one message: 32 KiB
constexpr std::uint32_t kWindow = 4;                  // pieces under way to one worker
constexpr std::size_t kMostElements = 1024;           // of a list: ranks
constexpr std::size_t kDepth = 3;                     // of lists within lists
constexpr std::uint32_t kJob = 0, kReady = 1, kReport = 2, kPieces = 3, kAcknowledgements = 4,
                        kTuned = 5, kBegin = 6;

net::Tag tag(std::uint32_t kind, std::uint32_t count = 0) {
  return {net::Context::user, kind, count, 0, 0};
}

template <class... T>
std::vector<std::byte> pack(const T&... values) {
  msgpack::sbuffer buffer;
  msgpack::packer<msgpack::sbuffer> packer(buffer);
  packer.pack_array(sizeof...(values));
  (packer.pack(values), ...);
  const auto* begin = reinterpret_cast<const std::byte*>(buffer.data());
  return {begin, begin + buffer.size()};
}

template <class... T>
void unpack(std::span<const std::byte> bytes, const char* what, T&... values) {
  try {
    // Elements of a list and of a map, bytes of str, bin and ext, depth: before memory is taken.
    const msgpack::unpack_limit limit(kMostElements, 0, bytes.size(), 0, 0, kDepth);
    std::size_t used = 0;
    const auto handle = msgpack::unpack(reinterpret_cast<const char*>(bytes.data()), bytes.size(),
                                        used, nullptr, nullptr, limit);
    std::tuple<T...> all;
    const msgpack::object& object = handle.get();
    if (object.type != msgpack::type::ARRAY || object.via.array.size != sizeof...(T) ||
        used != bytes.size()) {
      throw msgpack::type_error();
    }
    object.convert(all);
    std::tie(values...) = std::move(all);
  } catch (const std::exception&) {  // msgpack's own errors and bad_alloc of absurd sizes
    throw Error(Error::Code::protocol, std::string("malformed ") + what +
                                           " message: install one version of sbcnn on all boards");
  }
}

kernels::Precision decode_precision(const std::string& name) {
  if (const auto precision = kernels::precision_named(name)) {
    return *precision;
  }
  throw Error(Error::Code::protocol, "a message names a precision that is not known here");
}

}  // namespace

net::Tag job_tag() {
  return tag(kJob);
}
net::Tag ready_tag() {
  return tag(kReady);
}
net::Tag tuned_tag() {
  return tag(kTuned);
}
net::Tag begin_tag() {
  return tag(kBegin);
}
net::Tag report_tag() {
  return tag(kReport);
}

std::vector<std::byte> encode(const Job& j) {
  const std::string skeleton(reinterpret_cast<const char*>(j.skeleton.data()), j.skeleton.size());
  const ComputeWishes& c = j.compute;
  const std::string isa(c.isa ? name_of(*c.isa) : "");
  return pack(skeleton, j.weights, j.plan_hash, j.in_flight, j.step_timeout_ms, c.threads, c.slots,
              isa, std::string(name_of(c.precision)), c.reference, c.tune, c.cache.string());
}

Job decode_job(std::span<const std::byte> bytes) {
  Job j;
  ComputeWishes& c = j.compute;
  std::string skeleton, isa, precision, cache;
  unpack(bytes, "job", skeleton, j.weights, j.plan_hash, j.in_flight, j.step_timeout_ms, c.threads,
         c.slots, isa, precision, c.reference, c.tune, cache);
  const auto* begin = reinterpret_cast<const std::byte*>(skeleton.data());
  j.skeleton.assign(begin, begin + skeleton.size());
  c.isa = kernels::isa_named(isa);
  c.precision = decode_precision(precision);
  c.cache = cache;
  if (j.in_flight < 1 || j.in_flight > 1024 || c.threads < 0 || c.slots < 1 ||
      j.step_timeout_ms < 1 || c.isa.has_value() == isa.empty()) {
    throw Error(Error::Code::protocol, "job message with values out of range");
  }
  return j;
}

std::vector<std::byte> encode(const Ready& r) {
  return pack(r.plan_hash, r.refusal, r.threads, r.isa, std::string(name_of(r.precision)));
}

Ready decode_ready(std::span<const std::byte> bytes) {
  Ready r;
  std::string precision;
  unpack(bytes, "ready", r.plan_hash, r.refusal, r.threads, r.isa, precision);
  r.precision = decode_precision(precision);
  return r;
}

std::vector<std::byte> encode(const Report& r) {
  return pack(std::uint64_t{r.weight_bytes}, std::uint64_t{r.peak_memory}, r.warning);
}

Report decode_report(std::span<const std::byte> bytes) {
  std::uint64_t weights = 0, peak = 0;
  std::string warning;
  unpack(bytes, "report", weights, peak, warning);
  return {std::size_t(weights), std::size_t(peak), std::move(warning)};
}

std::size_t weight_window_bytes() {
  return kWindow * kPiece * sizeof(float);
}

WeightSender::WeightSender(net::Communicator& comm, int peer, std::chrono::milliseconds timeout)
    : comm_(comm), peer_(peer), timeout_(timeout) {}

void WeightSender::send(const Weights& w) {
  send_piece(w.weight);
  send_piece(w.bias);
}

void WeightSender::send_piece(std::span<const float> values) {
  while (!values.empty()) {
    if (sent_ - acknowledged_ >= kWindow) {
      await_acknowledgement();
    }
    const std::size_t n = std::min(values.size(), kPiece);
    comm_.send(peer_, tag(kPieces, sent_++), values.first(n));
    values = values.subspan(n);
  }
}

void WeightSender::await_acknowledgement() {
  comm_.recv(peer_, tag(kAcknowledgements, acknowledged_++), Clock::now() + timeout_);
}

void WeightSender::finish() {
  while (acknowledged_ != sent_) {
    await_acknowledgement();
  }
}

WeightReceiver::WeightReceiver(net::Communicator& comm, std::chrono::milliseconds timeout)
    : comm_(comm), timeout_(timeout) {}

Weights WeightReceiver::receive(const WeightShape& shape) {
  Weights w{std::vector<float>(shape.weight), std::vector<float>(shape.bias)};
  receive_pieces(w.weight);
  receive_pieces(w.bias);
  return w;
}

void WeightReceiver::receive_pieces(std::span<float> values) {
  while (!values.empty()) {
    const std::size_t n = std::min(values.size(), kPiece);
    const net::Message m = comm_.recv(0, tag(kPieces, received_), Clock::now() + timeout_);
    if (m.body.size() != n * sizeof(float)) {
      throw Error(Error::Code::protocol,
                  "rank 0 sent weights of another size than planned: install one version of sbcnn "
                  "on all boards");
    }
    std::memcpy(values.data(), m.body.data(), m.body.size());
    bytes_ += m.body.size();
    comm_.send(0, tag(kAcknowledgements, received_++), std::span<const std::byte>());
    values = values.subspan(n);
  }
}

}  // namespace sbcnn::apps
