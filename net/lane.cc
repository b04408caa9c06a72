#include "net/lane.h"

#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace sbcnn::net {
namespace {

// What may be under way, so that the kernel, whose buffer is larger, takes all that we send, and a
// heartbeat of libzmq's is never far behind.
constexpr std::size_t kMostUnacknowledged = 128 * 1024;
constexpr int kSendBuffer = 512 * 1024;

void put_length(std::size_t length, std::span<std::byte, kLengthBytes> to) {
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    to[i] = std::byte(length >> (8 * i));
  }
}

std::size_t length_of(std::span<const std::byte, kLengthBytes> from) {
  std::size_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::size_t(from[i]) << (8 * i);
  }
  return length;
}

iovec part(std::span<std::byte> bytes) {
  return {bytes.data(), bytes.size()};
}

iovec part(std::span<const std::byte> bytes) {  // which sendmsg only reads
  return {const_cast<std::byte*>(bytes.data()), bytes.size()};
}

}  // namespace

// --- RecordReader --------------------------------------------------------------------------------

std::span<std::byte> RecordReader::room() {
  return record_ ? std::span(record_.get() + have_, wanted_ - have_) : std::span<std::byte>();
}

std::optional<std::span<std::byte>> RecordReader::next(std::span<std::byte>& bytes) {
  while (good_) {
    if (!record_) {
      const std::size_t some = std::min(bytes.size(), kLengthBytes - have_);
      std::copy_n(bytes.data(), some, length_.begin() + std::ptrdiff_t(have_));
      have_ += some;
      bytes = bytes.subspan(some);
      if (have_ < kLengthBytes) {
        return std::nullopt;
      }
      if (auto whole = begin(bytes)) {
        return whole;
      }
    } else {
      const std::size_t some = std::min(bytes.size(), wanted_ - have_);
      std::copy_n(bytes.data(), some, record_.get() + have_);
      have_ += some;
      bytes = bytes.subspan(some);
      if (have_ < wanted_) {
        return std::nullopt;
      }
      owner_ = std::move(record_);
      return std::span(owner_.get(), std::exchange(wanted_, std::exchange(have_, 0)));
    }
  }
  return std::nullopt;
}

// A record whose length is here: returns it if it is whole, else makes room for it.
std::optional<std::span<std::byte>> RecordReader::begin(std::span<std::byte>& bytes) {
  const std::size_t size = length_of(length_);
  have_ = 0;
  owner_.reset();
  good_ = size >= kHeaderBytes + overhead_ && size <= kHeaderBytes + kLongestLaneBody + overhead_;
  if (!good_) {
    return std::nullopt;
  }
  if (bytes.size() >= size) {
    const auto whole = bytes.first(size);
    bytes = bytes.subspan(size);
    return whole;
  }
  wanted_ = size;
  record_ = std::make_shared_for_overwrite<std::byte[]>(size);
  return std::nullopt;
}

// --- Lane ----------------------------------------------------------------------------------------

Lane::Lane(Descriptor fd, const std::optional<LaneKeys>& keys)
    : fd_(std::move(fd)), reader_(keys ? kTagBytes : 0) {
  if (keys) {
    out_.emplace(keys->out);
    in_.emplace(keys->in);
  }
  // Both may fail without harm: messages are late then, or declined more often.
  const int yes = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof kSendBuffer);
}

std::size_t Lane::unacknowledged() const {
  int bytes = 0;
  return ::ioctl(fd_.get(), SIOCOUTQ, &bytes) == 0 ? std::size_t(bytes) : 0;
}

bool Lane::has_room(std::size_t bytes) {
  if (room_ < bytes) {
    const std::size_t under_way = unacknowledged();
    room_ = kMostUnacknowledged - std::min(under_way, kMostUnacknowledged);
  }
  return room_ >= bytes;
}

bool Lane::send(Header header, std::span<const std::byte> body) {
  if (ended_ || finished_ || body.size() > kLongestLaneBody) {
    return false;
  }
  flush();
  const std::size_t size = kLengthBytes + kHeaderBytes + body.size() + (out_ ? kTagBytes : 0);
  if (blocked() || !has_room(size)) {
    return false;
  }
  room_ -= size;
  push(header, body);
  return true;
}

void Lane::push(Header header, std::span<const std::byte> body) {
  header.payload = body.size();
  std::array<std::byte, kLengthBytes + kHeaderBytes> head;
  encode(header, std::span(head).subspan<kLengthBytes>());
  const std::size_t size = kHeaderBytes + body.size() + (out_ ? kTagBytes : 0);
  put_length(size, std::span(head).first<kLengthBytes>());
  if (!out_) {
    write(head, body);
    return;
  }
  // One text: the cipher takes longer for two than copying does.
  sealed_.resize(std::max(sealed_.size(), kLengthBytes + size));
  const std::span<std::byte> record = std::span(sealed_).first(kLengthBytes + size);
  std::ranges::copy(head, record.begin());
  std::ranges::copy(body, record.begin() + std::ptrdiff_t(head.size()));
  out_->seal(record.subspan(kLengthBytes));
  write(record, {});
}

void Lane::write(std::span<const std::byte> head, std::span<const std::byte> body) {
  if (blocked()) {
    rest_.insert(rest_.end(), head.begin(), head.end());
    rest_.insert(rest_.end(), body.begin(), body.end());
    return;
  }
  std::array<iovec, 2> parts = {part(head), part(body)};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  ssize_t n = 0;
  do {
    n = ::sendmsg(fd_.get(), &message, MSG_DONTWAIT | MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK) {
    return;  // broken, as receive() will see
  }
  const std::size_t sent = std::size_t(std::max<ssize_t>(n, 0));
  if (sent < head.size() + body.size()) {
    const auto a = head.subspan(std::min(sent, head.size()));
    const auto b = body.subspan(sent - std::min(sent, head.size()));
    rest_.assign(a.begin(), a.end());
    rest_.insert(rest_.end(), b.begin(), b.end());
  }
}

void Lane::flush() {
  if (blocked()) {
    const std::vector<std::byte> rest = std::exchange(rest_, {});
    write(rest, {});
    if (finished_ && !blocked()) {
      ::shutdown(fd_.get(), SHUT_WR);
    }
  }
}

void Lane::receive(std::span<std::byte> scratch, std::deque<WireFrame>& to) {
  const std::span<std::byte> room = reader_.room();
  std::array<iovec, 2> parts = {part(room), part(scratch)};
  const ssize_t n = ::readv(fd_.get(), parts.data(), int(parts.size()));
  if (n > 0) {
    const std::size_t first = std::min(std::size_t(n), room.size());
    reader_.filled(first);
    take(scratch.first(std::size_t(n) - first), to);
    wake_for(std::max<std::size_t>(reader_.room().size(), 1));
  } else if (n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)) {
    ended_ = true;
  }
}

// Lets the kernel tell us of so many bytes, not of every packet of a long record. Where it cannot,
// we are only woken more often.
void Lane::wake_for(std::size_t bytes) {
  if (const int least = int(bytes); least != wakes_for_) {
    wakes_for_ = least;
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVLOWAT, &least, sizeof least);
  }
}

void Lane::take(std::span<std::byte> bytes, std::deque<WireFrame>& to) {
  while (const auto record = reader_.next(bytes)) {
    auto frame = open(*record, reader_.owner());
    if (!frame) {
      ended_ = true;
      return;
    }
    to.push_back(std::move(*frame));
  }
  ended_ = ended_ || !reader_.good();
}

std::optional<WireFrame> Lane::open(std::span<std::byte> record,
                                    std::shared_ptr<std::byte[]> owner) {
  const std::size_t size = record.size() - (in_ ? kTagBytes : 0);
  std::span<std::byte> frame = record.first(size);
  if (!owner) {
    owner = std::make_shared_for_overwrite<std::byte[]>(size);
    frame = std::span(owner.get(), size);
  }
  if (in_) {
    if (!in_->open(record, frame)) {
      return std::nullopt;
    }
  } else if (frame.data() != record.data()) {
    std::ranges::copy(record, frame.begin());
  }
  const auto header = decode(frame);
  return header ? std::optional(WireFrame{*header, frame.subspan(kHeaderBytes), std::move(owner)})
                : std::nullopt;
}

void Lane::finish(const Header& last) {
  if (!ended_ && !finished_) {
    push(last, {});
    finished_ = true;
    flush();
    if (!blocked()) {
      ::shutdown(fd_.get(), SHUT_WR);
    }
  }
}

bool Lane::delivered() const {
  return ended_ || (!blocked() && unacknowledged() == 0);
}

}  // namespace sbcnn::net
