#include "net/communicator.h"

namespace sbcnn::net {
namespace {

Schedule one_way(std::string_view verb, std::vector<Segment> sends, std::vector<Segment> receives) {
  return {verb, {{std::move(sends), std::move(receives), Fold::copy}}};
}

}  // namespace

Communicator::Communicator(std::unique_ptr<Transport> transport)
    : transport_(std::move(transport)) {
  require(transport_ != nullptr, "Communicator: a transport is wanted");
}

Communicator::~Communicator() {
  try {
    if (failure_) {
      abort(reason_);
    } else if (std::uncaught_exceptions() > exceptions_) {
      abort(peer_name(rank()) + " ended after an error: see its own output");
    } else {
      close();
    }
  } catch (...) {  // the peers will see a broken connection instead
  }
}

void Communicator::close() {
  if (!std::exchange(ended_, true)) {
    transport_->close();
  }
}

void Communicator::abort(std::string_view reason) {
  if (!std::exchange(ended_, true)) {
    transport_->abort(reason);
  }
}

void Communicator::check() const {
  if (failure_) {
    std::rethrow_exception(failure_);
  }
  require(!ended_, "Communicator: used after close");
}

void Communicator::fail(const Error& error) {
  failure_ = std::make_exception_ptr(error);
  reason_ = error.what();
  throw error;
}

void Communicator::post(std::span<const int> peers, const Tag& tag,
                        std::span<const std::byte> body) {
  try {
    transport_->send_all(peers, tag, body);
  } catch (const Error& e) {
    fail(e);
  }
}

std::optional<Message> Communicator::take(int source, const Tag& tag) {
  const auto found = mailbox_.find({source, tag});
  if (found == mailbox_.end()) {
    return std::nullopt;
  }
  Message message = std::move(found->second);
  mailbox_.erase(found);
  return message;
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
    message = transport_->receive(deadline);
  } catch (const Error& e) {
    fail({e.code(), std::string(e.what()) + "; " + peer_name(rank()) + " was waiting for " +
                        names(wait.missing) + " in the " + wait.place()});
  } catch (const std::exception& e) {
    failure_ = std::current_exception();
    reason_ = peer_name(rank()) + " gave up: " + e.what();
    throw;
  }
  if (!message) {
    return false;
  }
  const std::pair key(message->source, message->tag);
  if (!mailbox_.emplace(key, std::move(*message)).second) {
    fail({Error::Code::protocol, peer_name(key.first) + " sent a message twice (frame " +
                                     std::to_string(key.second.frame) + ", step " +
                                     std::to_string(key.second.step) +
                                     "): do all ranks run the same version?"});
  }
  return true;
}

// A goodbye is the last that comes from a peer: what is not here by then will not come.
void Communicator::check_leavers(const Wait& wait) {
  for (const int peer : wait.missing) {
    if (transport_->has_left(peer)) {
      fail({Error::Code::peer_lost, peer_name(peer) + " has ended, but its part of the " +
                                        wait.place() + " is missing: see its own output"});
    }
  }
}

void Communicator::await(const Wait& wait, Deadline begin, Deadline deadline) {
  check_leavers(wait);
  if (pump(deadline, wait) || Clock::now() < deadline) {
    return;  // a message, or somebody has left
  }
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin);
  fail({Error::Code::timeout, names(wait.missing) + " sent nothing to " + peer_name(rank()) +
                                  " for " + std::to_string(waited.count()) + " ms, in the " +
                                  wait.place() +
                                  ": is it stopped, overloaded or off the network?"});
}

Message Communicator::recv(int peer, const Tag& tag, Deadline deadline) {
  check();
  const Deadline begin = Clock::now();
  while (true) {
    if (auto message = take(peer, tag)) {
      return std::move(*message);
    }
    await({"recv", tag, {peer}}, begin, deadline);
  }
}

Request Communicator::start(Schedule schedule, SendBuffer in, ReceiveBuffer out, MaybeTag tag) {
  check();
  require(in.bytes.size() >= schedule.send_extent() * in.element,
          "Communicator: the send buffer is smaller than its counts say");
  require(out.bytes.size() >= schedule.receive_extent() * out.element,
          "Communicator: the receive buffer is smaller than its counts say");
  for (const Round& round : schedule.rounds) {
    require(round.fold == Fold::copy || out.element == sizeof(float),
            "Communicator: only floats are summed");
  }
  if (!tag) {
    tag = Tag{.context = Context::automatic, .frame = next_automatic_++};
  }
  return {*this, *tag, std::move(schedule), in, out};
}

void Communicator::send(int peer, const Tag& tag, SendBuffer data) {
  isend(peer, tag, data).wait(Deadline::max());  // a send has nothing to wait for
}

Request Communicator::isend(int peer, const Tag& tag, SendBuffer data) {
  if (peer != rank()) {
    return start(one_way("send", {{peer, 0, data.bytes.size() / data.element}}, {}), data, {}, tag);
  }
  check();
  auto copy = std::make_shared<std::vector<std::byte>>(data.bytes.begin(), data.bytes.end());
  const bool fresh = mailbox_.emplace(std::pair(peer, tag), Message{peer, tag, *copy, copy}).second;
  require(fresh, "Communicator::send: the tag is in use");
  return start({"send", {}}, {}, {}, tag);
}

Request Communicator::irecv(int peer, const Tag& tag, ReceiveBuffer data) {
  return start(one_way("recv", {}, {{peer, 0, data.bytes.size() / data.element}}), {}, data, tag);
}

Request Communicator::ibarrier(MaybeTag tag) {
  return start(net::barrier(rank(), size()), {}, {}, tag);
}

Request Communicator::ibcast(ReceiveBuffer data, int root, MaybeTag tag) {
  SendBuffer in;
  in.bytes = data.bytes;
  in.element = data.element;
  return start(net::bcast(rank(), size(), root, data.bytes.size() / data.element), in, data, tag);
}

Request Communicator::iscatterv(SendBuffer in, Counts counts, ReceiveBuffer out, int root,
                                MaybeTag tag) {
  return start(net::scatterv(rank(), root, counts), in, out, tag);
}

Request Communicator::igatherv(SendBuffer in, ReceiveBuffer out, Counts counts, int root,
                               MaybeTag tag) {
  return start(net::gatherv(rank(), root, counts), in, out, tag);
}

Request Communicator::iallgatherv(SendBuffer in, ReceiveBuffer out, Counts counts, MaybeTag tag) {
  return start(net::allgatherv(rank(), counts), in, out, tag);
}

Request Communicator::ireduce(SendBuffer in, ReceiveBuffer out, int root, MaybeTag tag) {
  return start(net::reduce(rank(), size(), root, in.bytes.size() / in.element), in, out, tag);
}

Request Communicator::iallreduce(SendBuffer in, ReceiveBuffer out, MaybeTag tag) {
  return start(net::allreduce(rank(), size(), in.bytes.size() / in.element), in, out, tag);
}

Request Communicator::ireduce_scatter(SendBuffer in, ReceiveBuffer out, Counts counts,
                                      MaybeTag tag) {
  return start(net::reduce_scatter(rank(), counts), in, out, tag);
}

Request Communicator::ialltoallv(SendBuffer in, Counts sends, ReceiveBuffer out, Counts receives,
                                 MaybeTag tag) {
  return start(net::alltoallv(rank(), sends, receives), in, out, tag);
}

}  // namespace sbcnn::net
