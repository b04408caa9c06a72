// Ranks as threads, over any transport.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "net/communicator.h"
#include "net/zmq_transport.h"

namespace sbcnn::net::test {

enum class Kind { inproc, tcp, ipc, curve };  // curve: encrypted, over tcp
inline constexpr Kind kKinds[] = {Kind::inproc, Kind::tcp, Kind::ipc, Kind::curve};
std::string name_of(Kind);

// The host of rank r is called "board<r>".
std::vector<std::unique_ptr<Transport>> make_world(Kind, int size, ZmqOptions = {});

Deadline in(std::chrono::milliseconds);
inline Deadline soon() {
  return in(std::chrono::milliseconds(30'000));
}  // for what must not take long

// Runs `body` on each rank in a thread of its own; what each threw, "" for nothing, by rank.
using Body = std::function<void(Communicator&)>;
std::vector<std::string> outcomes(std::vector<std::unique_ptr<Transport>>, const Body&);

// Runs it over every transport and world sizes 1, 2, 3, 4 and 7, and checks that none throws.
void on_every_world(const Body&);

// A number that tells from where an element came: `index` of the block that `from` sends `to`.
inline float mark(int from, int to, std::size_t index) {
  return float(from * 1'000'000 + to * 10'000) + float(index);
}

// Uneven block sizes, zeros among them.
std::vector<std::size_t> uneven_counts(int size, int salt = 0);
std::size_t sum(const std::vector<std::size_t>&);

}  // namespace sbcnn::net::test
