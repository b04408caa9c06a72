#include "net/communicator.h"

#include <algorithm>
#include <array>
#include <functional>
#include <numeric>

#include "net/operation.h"

namespace sbcnn::net {
namespace {

using CountVector = std::vector<std::size_t>;

constexpr std::uint32_t kCommunicators = 1U << (32 - kEpochBits);

Schedule one_way(std::string_view verb, std::vector<Send> sends, std::vector<Receive> receives) {
  return {verb, {{std::move(sends), std::move(receives)}}};
}

CountVector equal(int size, std::size_t count) {
  return CountVector(std::size_t(size), count);
}

std::size_t mean_bytes(Counts counts, std::size_t element) {
  return std::reduce(counts.begin(), counts.end()) * element / counts.size();
}

bool overlap(std::span<const std::byte> a, std::span<const std::byte> b) {
  const std::less<const std::byte*> before;
  return !a.empty() && !b.empty() && before(a.data(), b.data() + b.size()) &&
         before(b.data(), a.data() + a.size());
}

// Renamed, for errors.
Schedule as(std::string_view verb, Schedule schedule) {
  schedule.verb = verb;
  return schedule;
}

}  // namespace

struct Communicator::Call {
  SendBuffer in;
  ReceiveBuffer out;
  ElementType type = ElementType::bytes;
  MaybeTag tag = {};
  std::optional<Algorithm> algorithm = {};
  int root = 0;
  std::optional<ReduceOp> op = {};
  bool may_overlap = false;

  // What all ranks must agree on, as a number: FNV-1a (Fowler, Noll and Vo), folded to 16 bits.
  std::uint16_t signature(std::string_view verb) const {
    std::uint32_t hash = 2166136261U;
    const auto add = [&](int value) { hash = (hash ^ std::uint8_t(value)) * 16777619U; };
    for (const char c : verb) {
      add(c);
    }
    add(algorithm && algorithm != Algorithm::pairwise ? int(*algorithm) : 0);  // as direct
    add(int(type));
    add(op ? op->number() : 254);
    add(root);
    add(root >> 8);
    return std::uint16_t(hash ^ (hash >> 16));
  }
};

Communicator::Communicator(std::unique_ptr<Transport> transport)
    : station_(std::make_shared<Station>()) {
  require(transport != nullptr, "Communicator: a transport is wanted");
  rank_ = transport->rank();
  group_.resize(std::size_t(transport->size()));
  std::iota(group_.begin(), group_.end(), 0);
  station_->transport = std::move(transport);
}

Communicator::Communicator(const Communicator& parent, std::uint32_t number, std::vector<int> group)
    : station_(parent.station_),
      group_(std::move(group)),
      rank_(int(std::ranges::find(group_, parent.group_[std::size_t(parent.rank_)]) -
                group_.begin())),
      number_(number),
      link_(parent.link_),
      measured_(parent.measured_),
      algorithms_(parent.algorithms_) {}

Communicator::~Communicator() {
  if (number_ != 0) {
    return;
  }
  try {
    if (station_->failure) {
      abort(station_->reason);
    } else if (std::uncaught_exceptions() > exceptions_) {
      abort(peer_name(rank()) + " ended after an error: see its own output");
    } else {
      close();
    }
  } catch (...) {  // the peers will see a broken connection instead
  }
  station_->ended = true;
  station_->transport.reset();  // whoever still holds the station can no longer use it
}

std::string Communicator::peer_name(int rank) const {
  require(station_->transport != nullptr, "Communicator: used after its owner's end");
  return station_->transport->peer_name(group_.at(std::size_t(rank)));
}

std::uint64_t Communicator::dropped() const {
  require(station_->transport != nullptr, "Communicator: used after its owner's end");
  return station_->transport->dropped();
}

void Communicator::set_watch(Transport::Watch watch) {
  require(station_->transport != nullptr, "Communicator: used after its owner's end");
  station_->transport->set_watch(std::move(watch));
}

void Communicator::set_algorithm(Verb verb, std::optional<Algorithm> algorithm) {
  if (!algorithm) {
    algorithms_.erase(verb);
    return;
  }
  require(std::ranges::count(algorithms(verb), *algorithm) == 1,
          "Communicator::set_algorithm: the verb has no such algorithm");
  algorithms_.insert_or_assign(verb, *algorithm);
}

void Communicator::close() {
  closed_ = true;
  if (number_ == 0 && !std::exchange(station_->ended, true)) {
    station_->transport->close();
  }
}

void Communicator::abort(std::string_view reason) {
  closed_ = true;
  if (!std::exchange(station_->ended, true)) {
    station_->transport->abort(reason);
  }
}

void Communicator::check() const {
  if (station_->failure) {
    std::rethrow_exception(station_->failure);
  }
  require(!closed_ && !station_->ended, "Communicator: used after close");
}

void Communicator::check_peer(int peer) const {
  require(0 <= peer && peer < size(), "Communicator: the peer is no rank of it");
}

void Communicator::check_counts(Counts counts) const {
  require(counts.size() == group_.size(), "Communicator: counts of every rank are wanted");
}

void Communicator::fail(const Error& error) {
  station_->failure = std::make_exception_ptr(error);
  station_->reason = error.what();
  throw error;
}

Tag Communicator::numbered(const Tag& tag) const {
  require(tag.context != Context::automatic,
          "Communicator: tags in the context `automatic` are the communicator's own");
  require(tag.epoch >> kEpochBits == 0, "Communicator: an epoch has 16 bits");
  require(tag.round == 0, "Communicator: a tag's round is the communicator's own");
  Tag own = tag;
  own.epoch |= number_ << kEpochBits;
  return own;
}

void Communicator::post(std::span<const int> peers, const Tag& tag, const Payload& body) {
  std::vector<int> world;
  for (const int peer : peers) {
    world.push_back(group_[std::size_t(peer)]);
  }
  try {
    station_->transport->send_all(world, tag, body);
  } catch (const Error& e) {
    fail(e);
  }
}

std::optional<Message> Communicator::take(int source, const Tag& tag) {
  const auto found = station_->mailbox.find({group_[std::size_t(source)], tag});
  if (found == station_->mailbox.end()) {
    return std::nullopt;
  }
  Message message = std::move(found->second);
  station_->mailbox.erase(found);
  message.source = source;
  return message;
}

const Message* Communicator::mail(int source, const Tag& tag) const {
  const auto found = station_->mailbox.find({group_[std::size_t(source)], tag});
  return found == station_->mailbox.end() ? nullptr : &found->second;
}

std::string Communicator::names(const std::vector<int>& ranks) const {
  std::string text;
  for (const int rank : ranks) {
    text += (text.empty() ? "" : ", ") + peer_name(rank);
  }
  return text;
}

bool Communicator::pump(Deadline deadline, const Wait& wait) {
  std::optional<Message> message;
  try {
    message = station_->transport->receive(deadline);
  } catch (const Error& e) {
    fail({e.code(), std::string(e.what()) + "; " + peer_name(rank()) + " was waiting for " +
                        names(wait.missing) + " in the " + wait.place()});
  } catch (const std::exception& e) {
    station_->failure = std::current_exception();
    station_->reason = peer_name(rank()) + " gave up: " + e.what();
    throw;
  }
  if (!message) {
    return false;
  }
  const std::pair key(message->source, message->tag);
  if (!station_->mailbox.emplace(key, std::move(*message)).second) {
    fail({Error::Code::protocol,
          station_->transport->peer_name(key.first) + " sent a message twice (frame " +
              std::to_string(key.second.frame) + ", step " + std::to_string(key.second.step) +
              "): do all ranks run the same version?"});
  }
  for (Operation* const operation : station_->operations) {
    operation->progress();
  }
  return true;
}

void Communicator::check_missing(const Wait& wait) {
  for (const int peer : wait.missing) {
    // A goodbye is the last that comes from a peer: what is not here by then will not come.
    if (station_->transport->has_left(group_[std::size_t(peer)])) {
      fail({Error::Code::peer_lost, peer_name(peer) + " has ended, but its part of the " +
                                        wait.place() + " is missing: see its own output"});
    }
  }
  if (wait.tag.context == Context::automatic) {
    check_strangers(wait);
  }
}

// Messages under the number of the verb that waits, but of another verb: see Call::signature.
void Communicator::check_strangers(const Wait& wait) {
  Tag first = wait.tag;
  first.step = 0;
  first.round = 0;
  for (int peer = 0; peer < size(); ++peer) {
    const int source = group_[std::size_t(peer)];
    for (auto m = station_->mailbox.lower_bound({source, first});
         m != station_->mailbox.end() && m->first.first == source; ++m) {
      Tag other = m->first.second;
      const bool differs = std::exchange(other.step, 0) != wait.tag.step;
      other.round = 0;
      if (other != first) {
        break;
      }
      if (differs) {
        fail({Error::Code::protocol,
              peer_name(peer) + " is not in the same " + wait.place() + " as " + peer_name(rank()) +
                  ": all ranks call the same verbs in the same order, with the same root, element "
                  "type, operation and algorithm"});
      }
    }
  }
}

void Communicator::await(const Wait& wait, Deadline begin, Deadline deadline) {
  check_missing(wait);
  if (pump(deadline, wait) || Clock::now() < deadline) {
    return;  // a message, or somebody has left
  }
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
  fail({Error::Code::timeout, names(wait.missing) + " sent nothing to " + peer_name(rank()) +
                                  " for " + std::to_string(waited.count()) + " ms, in the " +
                                  wait.place() +
                                  ": is it stopped, overloaded or off the network?"});
}

Request Communicator::begin(Schedule schedule, const Call& call) {
  check();
  const std::size_t element = size_of(call.type);
  const std::size_t sent = schedule.extent(Place::in), received = schedule.extent(Place::out);
  require(sent == 0 || call.in.type == call.type,
          "Communicator: send and receive buffers differ in their element type");
  require(received == 0 || call.out.type == call.type,
          "Communicator: send and receive buffers differ in their element type");
  require(call.in.count() >= sent, "Communicator: the send buffer is smaller than its counts say");
  require(call.out.count() >= received,
          "Communicator: the receive buffer is smaller than its counts say");
  require(call.may_overlap || !overlap(call.in.bytes.first(sent * element),
                                       call.out.bytes.first(received * element)),
          "Communicator: send and receive buffers overlap: give it two");
  if (schedule.folds()) {
    require(call.op && call.op->folds(call.type),
            "Communicator: the operation does not take elements of this type");
  }
  const Tag tag = call.tag ? numbered(*call.tag)
                           : Tag{.context = Context::automatic,
                                 .epoch = number_ << kEpochBits,
                                 .frame = next_automatic_++,
                                 .step = call.signature(schedule.verb)};
  return Request(std::make_unique<Operation>(*this, tag, std::move(schedule),
                                             Operands{call.in, call.out, call.type, call.op}));
}

Request Communicator::start(Schedule schedule, SendBuffer in, ReceiveBuffer out, MaybeTag tag,
                            const ReduceOp& op) {
  const ElementType type = in.bytes.empty() ? out.type : in.type;
  return begin(std::move(schedule),
               {.in = in, .out = out, .type = type, .tag = tag, .op = op, .may_overlap = true});
}

std::unique_ptr<Communicator> Communicator::dup(Deadline deadline) {
  return split(0, 0, deadline);
}

// All ranks take the largest number that is free on any of them. The colours may share it, for
// they share no rank.
std::unique_ptr<Communicator> Communicator::split(int colour, int key, Deadline deadline) {
  require(colour >= kUndefined, "Communicator::split: colours begin at 0");
  const std::array<std::int32_t, 3> mine = {colour, key, std::int32_t(station_->next_communicator)};
  std::vector<std::int32_t> all(mine.size() * std::size_t(size()));
  allgather(mine, all, deadline);
  std::uint32_t number = 0;
  std::vector<std::pair<int, int>> members;  // key, rank
  for (int r = 0; r < size(); ++r) {
    const std::int32_t* const theirs = &all[mine.size() * std::size_t(r)];
    number = std::max(number, std::uint32_t(theirs[2]));
    if (theirs[0] == colour) {
      members.emplace_back(theirs[1], r);
    }
  }
  if (number >= kCommunicators) {
    fail({Error::Code::unsupported,
          peer_name(rank()) + " cannot make a communicator: " + std::to_string(kCommunicators - 1) +
              " were made already; keep one instead of making many"});
  }
  station_->next_communicator = number + 1;
  if (colour == kUndefined) {
    return nullptr;
  }
  std::ranges::sort(members);
  std::vector<int> group;
  for (const auto& [at, r] : members) {
    group.push_back(group_[std::size_t(r)]);
  }
  return std::unique_ptr<Communicator>(new Communicator(*this, number, std::move(group)));
}

Message Communicator::recv(int peer, const Tag& tag, Deadline deadline) {
  check();
  check_peer(peer);
  const Tag own = numbered(tag);
  const Deadline begin = Clock::now();
  while (true) {
    if (auto message = take(peer, own)) {
      message->tag = tag;
      return std::move(*message);
    }
    await({"recv", own, {peer}}, begin, deadline);
  }
}

void Communicator::send(int peer, const Tag& tag, SendBuffer data) {
  isend(peer, tag, data).wait(Deadline::max());  // a send has nothing to wait for
}

Request Communicator::isend(int peer, const Tag& tag, SendBuffer data) {
  check();
  check_peer(peer);
  if (peer != rank()) {
    return start(one_way("send", {{.peer = peer, .count = data.count()}}, {}), data, {}, tag);
  }
  const int self = group_[std::size_t(rank_)];
  const Tag own = numbered(tag);
  auto copy = std::make_shared<std::vector<std::byte>>(data.bytes.begin(), data.bytes.end());
  const bool fresh =
      station_->mailbox.emplace(std::pair(self, own), Message{self, own, *copy, copy}).second;
  require(fresh, "Communicator::send: the tag is in use");
  return start({"send", {}}, {}, {}, tag);
}

Request Communicator::irecv(int peer, const Tag& tag, ReceiveBuffer data) {
  check();
  check_peer(peer);
  return start(one_way("recv", {}, {{.peer = peer, .count = data.count()}}), {}, data, tag);
}

Request Communicator::isendrecv(SendBuffer in, int to, ReceiveBuffer out, int from,
                                const Tag& tag) {
  check();
  check_peer(to);
  check_peer(from);
  require(!overlap(in.bytes, out.bytes),
          "Communicator: send and receive buffers overlap: give it two");
  isend(to, tag, in).wait(Deadline::max());
  return start(one_way("sendrecv", {}, {{.peer = from, .count = out.count()}}), {}, out, tag);
}

std::optional<Status> Communicator::find(int peer, const Tag& own) const {
  for (int source = 0; source < size(); ++source) {
    const Message* const message =
        peer == kAnySource || peer == source ? mail(source, own) : nullptr;
    if (message != nullptr) {
      return Status{source, message->body.size()};
    }
  }
  return std::nullopt;
}

// Of any source those are missing that have not ended; of a world that has ended, all.
Wait Communicator::probe_wait(int peer, const Tag& own) const {
  Wait wait{"probe", own, {}};
  if (peer != kAnySource) {
    wait.missing = {peer};
    return wait;
  }
  std::vector<int> others;
  for (int source = 0; source < size(); ++source) {
    if (source != rank_) {
      others.push_back(source);
      if (!station_->transport->has_left(group_[std::size_t(source)])) {
        wait.missing.push_back(source);
      }
    }
  }
  if (wait.missing.empty()) {
    wait.missing = others;
  }
  return wait;
}

Status Communicator::probe(int peer, const Tag& tag, Deadline deadline) {
  check();
  const Tag own = numbered(tag);
  if (peer != kAnySource) {
    check_peer(peer);
  }
  const Deadline begin = Clock::now();
  while (true) {
    if (const auto found = find(peer, own)) {
      return *found;
    }
    await(probe_wait(peer, own), begin, deadline);
  }
}

std::optional<Status> Communicator::iprobe(int peer, const Tag& tag) {
  check();
  const Tag own = numbered(tag);
  if (peer != kAnySource) {
    check_peer(peer);
  }
  while (true) {
    if (const auto found = find(peer, own)) {
      return found;
    }
    const Wait wait = probe_wait(peer, own);
    if (!pump(Clock::now(), wait)) {
      check_missing(wait);
      return std::nullopt;
    }
  }
}

Algorithm Communicator::algorithm(Verb verb, const How& how, std::size_t bytes,
                                  bool commutative) const {
  const auto ours = algorithms_.find(verb);
  const Algorithm chosen =
      how.algorithm ? *how.algorithm
      : ours != algorithms_.end()
          ? ours->second
          : choose(verb, bytes, size(), folds(verb) ? link_ : link(), commutative);
  require(commutative || chosen != Algorithm::ring,
          "Communicator: a ring changes the order of ranks, and the function is not commutative");
  return chosen;
}

Request Communicator::ibarrier(MaybeTag tag) {
  return begin(net::barrier(rank(), size()), {.in = {}, .out = {}, .tag = tag});
}

Request Communicator::ibcast(ReceiveBuffer data, int root, const How& how) {
  const Algorithm a = algorithm(Verb::bcast, how, data.bytes.size());
  return begin(
      net::bcast(a, rank(), size(), root, data.count()),
      {.in = {}, .out = data, .type = data.type, .tag = how.tag, .algorithm = a, .root = root});
}

Request Communicator::iscatter(SendBuffer in, ReceiveBuffer out, int root, const How& how) {
  require(
      rank() != root || in.count() == out.count() * std::size_t(size()),
      "Communicator::scatter: the root sends as many as each rank receives, times their number");
  const Algorithm a = algorithm(Verb::scatter, how, out.bytes.size());
  return begin(
      as("scatter", net::scatterv(a, rank(), root, equal(size(), out.count()))),
      {.in = in, .out = out, .type = out.type, .tag = how.tag, .algorithm = a, .root = root});
}

Request Communicator::iscatterv(SendBuffer in, Counts counts, ReceiveBuffer out, int root,
                                const How& how) {
  check_counts(counts);
  const Algorithm a = algorithm(Verb::scatter, how, mean_bytes(counts, out.element()));
  return begin(
      net::scatterv(a, rank(), root, counts),
      {.in = in, .out = out, .type = out.type, .tag = how.tag, .algorithm = a, .root = root});
}

Request Communicator::igather(SendBuffer in, ReceiveBuffer out, int root, const How& how) {
  require(rank() != root || out.count() == in.count() * std::size_t(size()),
          "Communicator::gather: the root receives as many as each rank sends, times their number");
  const Algorithm a = algorithm(Verb::gather, how, in.bytes.size());
  return begin(
      as("gather", net::gatherv(a, rank(), root, equal(size(), in.count()))),
      {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a, .root = root});
}

Request Communicator::igatherv(SendBuffer in, ReceiveBuffer out, Counts counts, int root,
                               const How& how) {
  check_counts(counts);
  const Algorithm a = algorithm(Verb::gather, how, mean_bytes(counts, in.element()));
  return begin(
      net::gatherv(a, rank(), root, counts),
      {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a, .root = root});
}

Request Communicator::iallgather(SendBuffer in, ReceiveBuffer out, const How& how) {
  require(out.count() == in.count() * std::size_t(size()),
          "Communicator::allgather: a rank receives as many as each sends, times their number");
  const Algorithm a = algorithm(Verb::allgather, how, in.bytes.size());
  return begin(as("allgather", net::allgatherv(a, rank(), equal(size(), in.count()))),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a});
}

Request Communicator::iallgatherv(SendBuffer in, ReceiveBuffer out, Counts counts, const How& how) {
  check_counts(counts);
  const Algorithm a = algorithm(Verb::allgather, how, mean_bytes(counts, in.element()));
  return begin(net::allgatherv(a, rank(), counts),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a});
}

Request Communicator::ireduce(Addends in, Totals out, const ReduceOp& op, int root,
                              const How& how) {
  const Algorithm a = algorithm(Verb::reduce, how, in.bytes.size(), op.commutative());
  return begin(net::reduce(a, rank(), size(), root, in.count()), {.in = in,
                                                                  .out = out,
                                                                  .type = in.type,
                                                                  .tag = how.tag,
                                                                  .algorithm = a,
                                                                  .root = root,
                                                                  .op = op});
}

Request Communicator::iallreduce(Addends in, Totals out, const ReduceOp& op, const How& how) {
  const Algorithm a = algorithm(Verb::allreduce, how, in.bytes.size(), op.commutative());
  return begin(net::allreduce(a, rank(), size(), in.count()),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a, .op = op});
}

Request Communicator::ireduce_scatter(Addends in, Totals out, Counts counts, const ReduceOp& op,
                                      const How& how) {
  check_counts(counts);
  const Algorithm a =
      algorithm(Verb::reduce_scatter, how, mean_bytes(counts, in.element()), op.commutative());
  return begin(net::reduce_scatter(a, rank(), counts),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a, .op = op});
}

Request Communicator::iscan(Addends in, Totals out, const ReduceOp& op, const How& how) {
  const Algorithm a = algorithm(Verb::scan, how, in.bytes.size(), op.commutative());
  return begin(net::scan(a, rank(), size(), in.count()),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a, .op = op});
}

Request Communicator::ialltoall(SendBuffer in, ReceiveBuffer out, const How& how) {
  require(
      in.count() == out.count() && in.count() % std::size_t(size()) == 0,
      "Communicator::alltoall: a rank sends and receives the same count, a multiple of the size");
  const CountVector counts = equal(size(), in.count() / std::size_t(size()));
  const Algorithm a = algorithm(Verb::alltoall, how, mean_bytes(counts, in.element()));
  return begin(
      as("alltoall", net::alltoallv(a, rank(), counts, counts, chunk_bytes(link()) / in.element())),
      {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a});
}

Request Communicator::ialltoallv(SendBuffer in, Counts sends, ReceiveBuffer out, Counts receives,
                                 const How& how) {
  check_counts(sends);
  check_counts(receives);
  const Algorithm a = algorithm(Verb::alltoall, how, mean_bytes(sends, in.element()));
  return begin(net::alltoallv(a, rank(), sends, receives, chunk_bytes(link()) / in.element()),
               {.in = in, .out = out, .type = in.type, .tag = how.tag, .algorithm = a});
}

Request Communicator::ineighbor_alltoallv(SendBuffer in, std::span<const Neighbor> sends,
                                          ReceiveBuffer out, std::span<const Neighbor> receives,
                                          MaybeTag tag) {
  return begin(net::neighbor_alltoallv(rank(), size(), sends, receives),
               {.in = in, .out = out, .type = in.type, .tag = tag});
}

}  // namespace sbcnn::net
