// A lane: a TCP connection between two ranks that their own threads serve, for small messages.
//
// What libzmq sends is handed to a thread of its own and, on the other side, by another one to the
// receiver: two switches of threads a message, which cost more than a small message itself
// (docs/collectives.md, 'Where a small message's time goes'). On a lane it is one system call, as
// in the eager protocol of an MPI. A lane never waits: what its kernel may not take at once it
// declines, and the caller sends that the other way.
//
// What travels is a row of records: four bytes, little endian, that say how many follow, and a
// frame (wire.h) with a payload of at most kLongestLaneBody bytes; with keys it is sealed
// (cipher.h). How lanes come to be, whose keys they have and who may connect: lanes.h.
//
// Copies: none on the way out but the cipher's; one on the way in, or none for a record that comes
// in several parts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/descriptor.h"
#include "net/cipher.h"
#include "net/frame.h"
#include "net/wire.h"

namespace sbcnn::net {

inline constexpr std::size_t kLengthBytes = 4;  // before a record
inline constexpr std::size_t kLongestLaneBody = 32 * 1024;

struct LaneKeys {
  CipherKey out{}, in{};
};

// Finds records in a stream of bytes. Knows no socket.
class RecordReader {
 public:
  // `overhead`: bytes that a record has besides its frame.
  explicit RecordReader(std::size_t overhead) : overhead_(overhead) {}

  // Where the rest of a record that has begun belongs; empty between records. Who puts bytes there
  // says how many.
  std::span<std::byte> room();
  void filled(std::size_t bytes) { have_ += bytes; }

  // The next record that is whole, in memory of its own (`owner`) or within `bytes`, off which
  // goes what was read. nullopt when more is wanted, and for ever after a length that no record
  // has.
  std::optional<std::span<std::byte>> next(std::span<std::byte>& bytes);
  std::shared_ptr<std::byte[]> owner() { return std::move(owner_); }  // of the last one, or none
  bool good() const { return good_; }

 private:
  std::optional<std::span<std::byte>> begin(std::span<std::byte>& bytes);

  std::size_t overhead_;
  std::array<std::byte, kLengthBytes> length_{};
  std::size_t have_ = 0, wanted_ = kLengthBytes;  // of the length, or of the record
  std::shared_ptr<std::byte[]> record_, owner_;   // one that has begun; the last one
  bool good_ = true;
};

class Lane {
 public:
  // A connected socket that does not block. Keys: none on a plain lane.
  Lane(Descriptor, const std::optional<LaneKeys>&);

  int descriptor() const { return fd_.get(); }
  // Nothing comes or goes any more: the other end has closed, the connection broke, or what came
  // was no record.
  bool ended() const { return ended_; }

  // Sends it whole, or declines: it is too long, the other end is behind, or the lane has ended.
  bool send(Header, std::span<const std::byte> body);
  // The kernel has not taken all of the last record: flush when it can.
  bool blocked() const { return !rest_.empty(); }
  void flush();

  // Takes in what is here, by way of `scratch`, which lanes may share.
  void receive(std::span<std::byte> scratch, std::deque<WireFrame>&);
  // The same for bytes that were read already.
  void take(std::span<std::byte> bytes, std::deque<WireFrame>&);

  // Sends `last`, whatever is before it, and then nothing more. What was sent is still delivered.
  void finish(const Header& last);
  bool delivered() const;  // to the other end's kernel

 private:
  void push(Header, std::span<const std::byte> body);
  void write(std::span<const std::byte> head, std::span<const std::byte> body);
  std::optional<WireFrame> open(std::span<std::byte> record, std::shared_ptr<std::byte[]> owner);
  void wake_for(std::size_t bytes);
  std::size_t unacknowledged() const;
  bool has_room(std::size_t bytes);

  Descriptor fd_;
  std::optional<Cipher> out_, in_;
  RecordReader reader_;
  std::vector<std::byte> sealed_, rest_;
  std::size_t room_ = 0;  // that much may be sent without asking the kernel
  int wakes_for_ = 1;
  bool ended_ = false, finished_ = false;
};

}  // namespace sbcnn::net
