// Rank 0's word on an empty slot, as a worker takes it in: what is understood is what rank 0 would
// have said, byte for byte.
#include <algorithm>
#include <cstdint>
#include <span>

#include "core/error.h"
#include "net/exchanger.h"
#include "net/inproc.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sbcnn;
  // A tag has half of a turn's number: the rest is in the word alone.
  constexpr std::uint64_t turn = 0x1'0000'0102;
  constexpr net::Tag tag{.context = net::Context::control, .frame = std::uint32_t(turn)};
  const auto bytes = std::as_bytes(std::span(data, size));
  net::Hub hub(2);
  net::Communicator root(hub.join(0)), worker(hub.join(1));
  root.send(1, tag, bytes);
  try {
    const Signal signal = net::CommExchanger(worker).await_signal(turn);
    net::CommExchanger(root).announce(turn, signal);
    const net::Message again = worker.recv(0, tag, Clock::now());
    require(std::ranges::equal(again.body, bytes), "a signal changed");
  } catch (const Error& e) {
    require(e.code() == Error::Code::protocol, "a signal did not arrive");
  }
  return 0;
}
