// Whatever the peers of a rank say while it calls a verb: the verb ends with a result or an Error
// that stays, and messages in another order do not give another result.
//
// The first byte chooses the verb and its algorithm. Then come messages of ranks 1 and 2, little
// endian: source, what it is (a message of some context, a goodbye, an abort), epoch (4 bytes),
// frame (4), step (2), round (2), how many bytes the body has, and those.
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "net/communicator.h"
#include "net/inproc.h"

namespace {

using namespace sbcnn;

constexpr int kRanks = 3;
constexpr std::size_t kCount = 2;  // elements of a rank
constexpr int kVerbs = 12;         // net::Verb, recv and split
enum class Kind : std::uint8_t { data, control, user, automatic, goodbye, abort };
constexpr int kKinds = 6;

struct Letter {
  int source = 1;
  Kind kind = Kind::data;
  net::Tag tag;
  std::span<const std::byte> body;
};

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  template <class T>
  T number() {
    std::uint64_t value = 0;
    const auto from = bytes(sizeof(T));
    for (std::size_t i = 0; i < from.size(); ++i) {
      value |= std::uint64_t(from[i]) << (8 * i);
    }
    return T(value);
  }
  std::span<const std::byte> bytes(std::size_t count) {
    const auto some = rest_.first(std::min(count, rest_.size()));
    rest_ = rest_.subspan(some.size());
    return some;
  }

 private:
  std::span<const std::byte> rest_;
};

std::vector<Letter> read_letters(Reader& reader) {
  std::vector<Letter> letters;
  while (!reader.empty()) {
    Letter& l = letters.emplace_back();
    l.source = 1 + reader.number<std::uint8_t>() % (kRanks - 1);
    l.kind = Kind(reader.number<std::uint8_t>() % kKinds);
    l.tag.context = l.kind <= Kind::automatic ? net::Context(l.kind) : net::Context::data;
    l.tag.epoch = reader.number<std::uint32_t>();
    l.tag.frame = reader.number<std::uint32_t>();
    l.tag.step = reader.number<std::uint16_t>();
    l.tag.round = reader.number<std::uint16_t>();
    l.body = reader.bytes(reader.number<std::uint8_t>());
  }
  return letters;
}

void say(net::Transport& transport, const Letter& letter) {
  if (letter.kind == Kind::goodbye) {
    transport.close();
  } else if (letter.kind == Kind::abort) {
    const auto* const begin = reinterpret_cast<const char*>(letter.body.data());
    transport.abort(std::string(begin, letter.body.size()));
  } else {
    transport.send(0, letter.tag, letter.body);
  }
}

// The verb, which finds all there is to find in its inbox, and no more.
std::vector<std::byte> call(net::Communicator& comm, int choice) {
  std::array<float, kCount> own = {1.5F, -2.0F};
  const std::array<float, kCount* kRanks> many = {1.5F, -2.0F, 3.0F, 1e30F, 0.1F, 7.0F};
  std::array<float, kCount * kRanks> out{};
  const std::array<std::size_t, kRanks> counts = {kCount, kCount, kCount};
  const Deadline now = Clock::now();
  const int which = choice % kVerbs;
  if (which == 10) {
    const net::Message message = comm.recv(1, {.context = net::Context::user, .frame = 7}, now);
    return {message.body.begin(), message.body.end()};
  }
  if (which == 11) {
    const auto part = comm.split(choice / kVerbs % 2, 0, now);
    return std::vector<std::byte>(std::size_t(part->size()), std::byte(part->rank()));
  }
  const auto verb = net::Verb(which);
  const auto all = net::algorithms(verb);
  const net::Algorithm algorithm = all[std::size_t(choice / kVerbs) % all.size()];
  switch (verb) {
    case net::Verb::barrier:
      comm.ibarrier().wait(now);
      break;
    case net::Verb::bcast:
      comm.ibcast(own, 1, algorithm).wait(now);
      std::ranges::copy(own, out.begin());
      break;
    case net::Verb::scatter:
      comm.iscatter(many, own, 2, algorithm).wait(now);
      std::ranges::copy(own, out.begin());
      break;
    case net::Verb::gather:
      comm.igather(own, out, 0, algorithm).wait(now);
      break;
    case net::Verb::allgather:
      comm.iallgather(own, out, algorithm).wait(now);
      break;
    case net::Verb::reduce:
      comm.ireduce(many, out, net::Op::sum, 0, algorithm).wait(now);
      break;
    case net::Verb::allreduce:
      comm.iallreduce(many, out, net::Op::sum, algorithm).wait(now);
      break;
    case net::Verb::reduce_scatter:
      comm.ireduce_scatter(many, own, counts, net::Op::sum, algorithm).wait(now);
      std::ranges::copy(own, out.begin());
      break;
    case net::Verb::scan:
      comm.iscan(many, out, net::Op::sum, algorithm).wait(now);
      break;
    case net::Verb::alltoall:
      comm.ialltoall(many, out, algorithm).wait(now);
      break;
  }
  const auto bytes = std::as_bytes(std::span(out));
  return {bytes.begin(), bytes.end()};
}

void check_stays_failed(net::Communicator& comm, const std::string& why) {
  try {
    comm.barrier(Clock::now());
  } catch (const Error& e) {
    require(e.what() == why, "a failure changed");
    return;
  }
  require(false, "a failure was forgotten");
}

std::optional<std::vector<std::byte>> run(int choice, std::span<const Letter> letters) {
  net::Hub hub(kRanks);
  net::Communicator comm(hub.join(0));
  std::array<std::unique_ptr<net::Transport>, kRanks> peers{nullptr, hub.join(1), hub.join(2)};
  std::array<bool, kRanks> ended{};
  for (const Letter& letter : letters) {
    const auto source = std::size_t(letter.source);
    if (!ended[source]) {
      say(*peers[source], letter);
      ended[source] = letter.kind == Kind::goodbye || letter.kind == Kind::abort;
    }
  }
  try {
    return call(comm, choice);
  } catch (const Error& e) {
    require(e.code() == Error::Code::protocol || e.code() == Error::Code::timeout ||
                e.code() == Error::Code::peer_lost || e.code() == Error::Code::unsupported,
            "an error of another kind");
    check_stays_failed(comm, e.what());
    return std::nullopt;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Reader reader(std::as_bytes(std::span(data, size)));
  const int choice = reader.number<std::uint8_t>();
  std::vector<Letter> letters = read_letters(reader);
  const auto result = run(choice, letters);
  std::ranges::stable_sort(letters, std::greater<>(), &Letter::source);
  const auto other = run(choice, letters);
  require(!result || !other || *result == *other, "the order of messages changed a result");
  return 0;
}
