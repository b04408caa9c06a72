// MPI's verbs over any Transport.
//
// One thread; many requests may be in flight. Nonblocking verbs send at once (sends only queue)
// and return a Request; blocking ones are the same and wait. Buffers hold floats or bytes;
// counts and sizes are in elements. Sums are of floats, folded in rank order: the same bits
// whatever arrives first. Segments of several ranks stand one after the other in rank order.
//
// Tags: a verb without one is numbered by the communicator, so all ranks call such verbs in the
// same order. A verb with one may be called in any order; a tag names one message between two
// ranks and is used once. Messages that come before they are asked for rest in a mailbox.
//
// Errors: peer_lost, timeout and protocol (a size that differs between ranks, a second message
// under one tag), naming the peer, frame and step. A communicator that threw one stays failed:
// every later call throws the same at once. The destructor says goodbye to the peers, or, when
// the communicator failed or an exception is in flight, tells them to give up, and why.
#pragma once

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "net/request.h"
#include "net/schedule.h"
#include "net/transport.h"

namespace sbcnn::net {

class Communicator {
 public:
  using MaybeTag = std::optional<Tag>;

  explicit Communicator(std::unique_ptr<Transport>);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return transport_->rank(); }
  int size() const { return transport_->size(); }
  std::string peer_name(int rank) const { return transport_->peer_name(rank); }
  std::uint64_t dropped() const { return transport_->dropped(); }
  void set_watch(Transport::Watch watch) { transport_->set_watch(std::move(watch)); }

  // Point to point. `recv` takes a message of any size; a peer may be the rank itself.
  void send(int peer, const Tag&, SendBuffer);
  Message recv(int peer, const Tag&, Deadline);
  Request isend(int peer, const Tag&, SendBuffer);
  Request irecv(int peer, const Tag&, ReceiveBuffer);

  // counts: elements by rank, the same on every rank; of alltoallv: to and from each peer.
  void barrier(Deadline d) { ibarrier().wait(d); }
  void bcast(ReceiveBuffer data, int root, Deadline d) { ibcast(data, root).wait(d); }
  void scatterv(SendBuffer in, Counts counts, ReceiveBuffer out, int root, Deadline d) {
    iscatterv(in, counts, out, root).wait(d);
  }
  void gatherv(SendBuffer in, ReceiveBuffer out, Counts counts, int root, Deadline d) {
    igatherv(in, out, counts, root).wait(d);
  }
  void allgatherv(SendBuffer in, ReceiveBuffer out, Counts counts, Deadline d) {
    iallgatherv(in, out, counts).wait(d);
  }
  void reduce(SendBuffer in, ReceiveBuffer out, int root, Deadline d) {
    ireduce(in, out, root).wait(d);
  }
  void allreduce(SendBuffer in, ReceiveBuffer out, Deadline d) { iallreduce(in, out).wait(d); }
  void reduce_scatter(SendBuffer in, ReceiveBuffer out, Counts counts, Deadline d) {
    ireduce_scatter(in, out, counts).wait(d);
  }
  void alltoallv(SendBuffer in, Counts sends, ReceiveBuffer out, Counts receives, Deadline d) {
    ialltoallv(in, sends, out, receives).wait(d);
  }

  Request ibarrier(MaybeTag = {});
  Request ibcast(ReceiveBuffer, int root, MaybeTag = {});
  Request iscatterv(SendBuffer, Counts, ReceiveBuffer, int root, MaybeTag = {});
  Request igatherv(SendBuffer, ReceiveBuffer, Counts, int root, MaybeTag = {});
  Request iallgatherv(SendBuffer, ReceiveBuffer, Counts, MaybeTag = {});
  Request ireduce(SendBuffer, ReceiveBuffer, int root, MaybeTag = {});
  Request iallreduce(SendBuffer, ReceiveBuffer, MaybeTag = {});
  Request ireduce_scatter(SendBuffer, ReceiveBuffer, Counts, MaybeTag = {});
  Request ialltoallv(SendBuffer, Counts, ReceiveBuffer, Counts, MaybeTag = {});
  // Any schedule; all verbs above end here.
  Request start(Schedule, SendBuffer, ReceiveBuffer, MaybeTag = {});

  // Ends: peers are told that this rank is done, or why they should give up.
  void close();
  void abort(std::string_view reason);

 private:
  friend class Request;
  void check() const;                    // throws the failure if there was one
  [[noreturn]] void fail(const Error&);  // throws and remembers
  void post(std::span<const int> peers, const Tag&, std::span<const std::byte>);
  std::optional<Message> take(int source, const Tag&);
  bool has_mail(int source, const Tag& tag) const { return mailbox_.contains({source, tag}); }
  // Moves one message into the mailbox; false at the deadline, and when somebody has left.
  bool pump(Deadline, const Wait&);
  // The same for somebody who waits since `begin`: throws at the deadline.
  void await(const Wait&, Deadline begin, Deadline);
  void check_leavers(const Wait&);
  std::string names(const std::vector<int>& ranks) const;

  std::unique_ptr<Transport> transport_;
  std::map<std::pair<int, Tag>, Message> mailbox_;
  std::exception_ptr failure_;
  std::string reason_;  // of the failure
  std::uint32_t next_automatic_ = 0;
  int exceptions_ = std::uncaught_exceptions();
  bool ended_ = false;
};

}  // namespace sbcnn::net
