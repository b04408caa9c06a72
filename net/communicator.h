// MPI's verbs over any Transport.
//
// One thread; many requests may be in flight. Nonblocking verbs send what they can at once (sends
// only queue) and return a Request; blocking ones are the same and wait. Buffers hold floats,
// halves, int8, int32 or bytes (buffers.h), the same type on every rank; counts and sizes are in
// elements. Segments of several ranks stand one after the other in rank order.
//
// Algorithms (algorithms.h): per call, else what set_algorithm said, else `choose`. All ranks must
// take the same one. Reductions fold in the algorithm's fixed order: same world, same algorithm,
// same bits, whatever arrives first.
//
// Tags: a verb without one is numbered by the communicator, so all ranks call such verbs in the
// same order. A verb with one may be called in any order; a tag names one message between two
// ranks and is used once. Messages that come before they are asked for rest in a mailbox.
//
// Errors: peer_lost, timeout and protocol (a size that differs between ranks, a second message
// under one tag, a rank that calls another verb, root, type, operation or algorithm under the same
// number, as far as its messages show it), naming the peer, frame and step. What is wrong on this
// rank alone is a ContractViolation before anything is sent: counts that are not for every rank or
// larger than the buffers, a root or peer out of range, buffers that overlap though MPI forbids it,
// types that differ. A communicator that threw an Error stays failed: every later call throws the
// same at once.
//
// dup and split make communicators on the same transport whose messages never meet: their number
// is the upper half of the tag's epoch, so a user's epoch has 16 bits, and 65535 can be made in a
// job. The communicator that was given the transport owns it: its end is the end of all. Its
// destructor says goodbye to the peers, or, when one of them failed or an exception is in flight,
// tells them to give up, and why; the end of the others tells nobody. One failure fails all of
// them, on this rank at once and, once the owner ends, on the others. Peers' names in errors are
// those of the world.
#pragma once

#include <exception>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "net/algorithms.h"
#include "net/buffers.h"
#include "net/reduce_op.h"
#include "net/request.h"
#include "net/schedule.h"
#include "net/transport.h"

namespace sbcnn::net {

struct Station;

using MaybeTag = std::optional<Tag>;

// How a call differs from others: converts from a tag or an algorithm.
struct How {
  How() = default;
  How(const Tag& t) : tag(t) {}       // NOLINT(google-explicit-constructor)
  How(MaybeTag t) : tag(t) {}         // NOLINT(google-explicit-constructor)
  How(Algorithm a) : algorithm(a) {}  // NOLINT(google-explicit-constructor)
  How(const Tag& t, Algorithm a) : tag(t), algorithm(a) {}
  MaybeTag tag;
  std::optional<Algorithm> algorithm;
};

inline constexpr int kEpochBits = 16;
inline constexpr int kAnySource = -1;
inline constexpr int kUndefined = -1;  // a colour: in no communicator

// What probe found.
struct Status {
  int source = -1;
  std::size_t bytes = 0;
};

class Communicator {
 public:
  using MaybeTag = net::MaybeTag;

  explicit Communicator(std::unique_ptr<Transport>);
  ~Communicator();
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int rank() const { return rank_; }
  int size() const { return int(group_.size()); }
  std::string peer_name(int rank) const;
  std::uint64_t dropped() const;
  void set_watch(Transport::Watch);

  // For `choose`; the same on every rank. Communicators made from this one inherit them.
  void set_link(const Link& link) { link_ = link; }
  void set_algorithm(Verb, std::optional<Algorithm>);
  // Collective: times messages between neighbours, 0.6 MB from each rank, on fast links 5 MB more,
  // and gives what it found, which is the slowest link's and the same on every rank. From then on
  // verbs that fold nothing are chosen by that; what folds is not, or its bits would change from
  // run to run.
  Link measure_link(Deadline);
  const Link& link() const { return measured_ ? *measured_ : link_; }

  // Collective. split: ranks of one colour (from 0) make a communicator, in the order of their keys
  // and then ranks; kUndefined: null.
  std::unique_ptr<Communicator> dup(Deadline);
  std::unique_ptr<Communicator> split(int colour, int key, Deadline);

  // Point to point. `recv` takes a message of any size; a peer may be the rank itself.
  void send(int peer, const Tag&, SendBuffer);
  Message recv(int peer, const Tag&, Deadline);
  Request isend(int peer, const Tag&, SendBuffer);
  Request irecv(int peer, const Tag&, ReceiveBuffer);
  void sendrecv(SendBuffer in, int to, ReceiveBuffer out, int from, const Tag& tag, Deadline d) {
    isendrecv(in, to, out, from, tag).wait(d);
  }
  Request isendrecv(SendBuffer, int to, ReceiveBuffer, int from, const Tag&);
  // Whether a message is here, which stays; from kAnySource: of the lowest rank that has one.
  Status probe(int peer, const Tag&, Deadline);
  std::optional<Status> iprobe(int peer, const Tag&);

  // counts: elements by rank, the same on every rank; of alltoallv: to and from each peer.
  // Without counts, every rank's block has the same. A buffer that only the root uses is ignored
  // elsewhere.
  void barrier(Deadline d) { ibarrier().wait(d); }
  void bcast(ReceiveBuffer data, int root, Deadline d) { ibcast(data, root).wait(d); }
  void scatter(SendBuffer in, ReceiveBuffer out, int root, Deadline d) {
    iscatter(in, out, root).wait(d);
  }
  void scatterv(SendBuffer in, Counts counts, ReceiveBuffer out, int root, Deadline d) {
    iscatterv(in, counts, out, root).wait(d);
  }
  void gather(SendBuffer in, ReceiveBuffer out, int root, Deadline d) {
    igather(in, out, root).wait(d);
  }
  void gatherv(SendBuffer in, ReceiveBuffer out, Counts counts, int root, Deadline d) {
    igatherv(in, out, counts, root).wait(d);
  }
  void allgather(SendBuffer in, ReceiveBuffer out, Deadline d) { iallgather(in, out).wait(d); }
  void allgatherv(SendBuffer in, ReceiveBuffer out, Counts counts, Deadline d) {
    iallgatherv(in, out, counts).wait(d);
  }
  void reduce(Addends in, Totals out, const ReduceOp& op, int root, Deadline d) {
    ireduce(in, out, op, root).wait(d);
  }
  void allreduce(Addends in, Totals out, const ReduceOp& op, Deadline d) {
    iallreduce(in, out, op).wait(d);
  }
  void allreduce(Addends in, Totals out, Deadline d) { allreduce(in, out, Op::sum, d); }
  void reduce_scatter(Addends in, Totals out, Counts counts, const ReduceOp& op, Deadline d) {
    ireduce_scatter(in, out, counts, op).wait(d);
  }
  void scan(Addends in, Totals out, const ReduceOp& op, Deadline d) { iscan(in, out, op).wait(d); }
  void alltoall(SendBuffer in, ReceiveBuffer out, Deadline d) { ialltoall(in, out).wait(d); }
  void alltoallv(SendBuffer in, Counts sends, ReceiveBuffer out, Counts receives, Deadline d) {
    ialltoallv(in, sends, out, receives).wait(d);
  }
  void neighbor_alltoallv(SendBuffer in, std::span<const Neighbor> sends, ReceiveBuffer out,
                          std::span<const Neighbor> receives, Deadline d) {
    ineighbor_alltoallv(in, sends, out, receives).wait(d);
  }

  Request ibarrier(MaybeTag = {});
  Request ibcast(ReceiveBuffer, int root, const How& = {});
  Request iscatter(SendBuffer, ReceiveBuffer, int root, const How& = {});
  Request iscatterv(SendBuffer, Counts, ReceiveBuffer, int root, const How& = {});
  Request igather(SendBuffer, ReceiveBuffer, int root, const How& = {});
  Request igatherv(SendBuffer, ReceiveBuffer, Counts, int root, const How& = {});
  Request iallgather(SendBuffer, ReceiveBuffer, const How& = {});
  Request iallgatherv(SendBuffer, ReceiveBuffer, Counts, const How& = {});
  Request ireduce(Addends, Totals, const ReduceOp&, int root, const How& = {});
  Request iallreduce(Addends, Totals, const ReduceOp&, const How& = {});
  Request ireduce_scatter(Addends, Totals, Counts, const ReduceOp&, const How& = {});
  Request iscan(Addends, Totals, const ReduceOp&, const How& = {});  // inclusive
  Request ialltoall(SendBuffer, ReceiveBuffer, const How& = {});
  Request ialltoallv(SendBuffer, Counts, ReceiveBuffer, Counts, const How& = {});
  // Every rank calls it, with neighbours or without. Segments stand as the neighbours are listed.
  Request ineighbor_alltoallv(SendBuffer, std::span<const Neighbor> sends, ReceiveBuffer,
                              std::span<const Neighbor> receives, MaybeTag = {});
  // Any schedule. Of one round the buffers may overlap, if the rank sends nothing to itself.
  Request start(Schedule, SendBuffer, ReceiveBuffer, MaybeTag = {}, const ReduceOp& = Op::sum);

  // Ends: peers are told that this rank is done, or why they should give up. `close` of a
  // communicator made by dup or split ends it alone; `abort` ends the job.
  void close();
  void abort(std::string_view reason);

 private:
  friend class Operation;
  friend class Request;
  friend std::optional<std::size_t> wait_any(std::span<Request>, Deadline);

  Communicator(const Communicator& parent, std::uint32_t number, std::vector<int> group);
  void check() const;                    // throws the failure if there was one
  [[noreturn]] void fail(const Error&);  // throws and remembers
  void check_peer(int peer) const;
  void check_counts(Counts) const;
  Algorithm algorithm(Verb, const How&, std::size_t bytes, bool commutative = true) const;
  Tag numbered(const Tag&) const;  // a user's tag as one of this communicator
  // Checks buffers and starts. `algorithm` and `root` only to find ranks that differ.
  struct Call;
  Request begin(Schedule, const Call&);
  void post(std::span<const int> peers, const Tag&, const Payload&);
  std::optional<Message> take(int source, const Tag&);
  const Message* mail(int source, const Tag&) const;
  // Moves one message into the mailbox; false at the deadline, and when somebody has left.
  bool pump(Deadline, const Wait&);
  // The same for somebody who waits since `begin`: throws at the deadline.
  void await(const Wait&, Deadline begin, Deadline);
  void check_missing(const Wait&);  // throws if what is missing will not come
  void check_strangers(const Wait&);
  Wait probe_wait(int peer, const Tag&) const;
  std::optional<Status> find(int peer, const Tag&) const;
  std::string names(const std::vector<int>& ranks) const;
  bool shares_transport(const Communicator& other) const { return station_ == other.station_; }

  std::shared_ptr<Station> station_;
  std::vector<int> group_;  // the world's ranks by this one's
  int rank_ = 0;
  std::uint32_t number_ = 0;  // 0: owns the transport
  std::uint32_t next_automatic_ = 0;
  Link link_;
  std::optional<Link> measured_;
  std::map<Verb, Algorithm> algorithms_;
  int exceptions_ = std::uncaught_exceptions();
  bool closed_ = false;
};

}  // namespace sbcnn::net
