#include "net/exchanger.h"

#include <array>
#include <limits>

namespace sbcnn::net {
namespace {

struct Form {
  std::string_view verb;
  SendForm send = SendForm::packed;
  ReceiveForm receive = ReceiveForm::packed;
};

Form form_of(Collective op) {
  switch (op) {
    case Collective::local:
      return {"local exchange", SendForm::packed, ReceiveForm::packed};
    case Collective::broadcast:
      return {"broadcast", SendForm::shared, ReceiveForm::packed};
    case Collective::scatter:
      return {"scatter", SendForm::packed, ReceiveForm::packed};
    case Collective::gather:
      return {"gather", SendForm::packed, ReceiveForm::packed};
    case Collective::allgather:
      return {"allgather", SendForm::shared, ReceiveForm::packed};
    case Collective::alltoall:
      return {"alltoall", SendForm::packed, ReceiveForm::packed};
    case Collective::reduce:
      return {"reduce", SendForm::shared, ReceiveForm::summed};
    case Collective::allreduce:
      return {"allreduce", SendForm::shared, ReceiveForm::summed};
    case Collective::reduce_scatter:
      return {"reduce_scatter", SendForm::packed, ReceiveForm::summed};
  }
  throw ContractViolation("CommExchanger: no such collective");
}

// A signal: its turn, little endian, and the Signal itself.
constexpr std::size_t kSignalBytes = 9;
constexpr int kSignals = 3;

Tag signal_tag(std::uint32_t epoch, std::uint64_t turn) {
  return {.context = Context::control, .epoch = epoch, .frame = std::uint32_t(turn)};
}

}  // namespace

void CommExchanger::start(Frame frame, int step, Collective op, const MessageBuffers& buffers) {
  require(0 <= step && step <= std::numeric_limits<std::uint16_t>::max(),
          "CommExchanger: step out of range");
  const Form form = form_of(op);
  const Tag tag{
      .context = Context::data, .epoch = epoch_, .frame = frame, .step = std::uint16_t(step)};
  const auto [at, fresh] = open_.try_emplace(
      {frame, step}, comm_.start(direct(form.verb, comm_.rank(), form.send, buffers.send_counts,
                                        form.receive, buffers.receive_counts),
                                 buffers.send, buffers.receive, tag));
  require(fresh, "CommExchanger: this exchange is open already");
}

void CommExchanger::finish(Frame frame, int step, Deadline deadline) {
  auto node = open_.extract({frame, step});
  require(!node.empty(), "CommExchanger: finish without start");
  node.mapped().wait(deadline);
}

void CommExchanger::announce(std::uint64_t turn, Signal signal) {
  require(comm_.rank() == 0, "CommExchanger: only rank 0 announces");
  std::array<std::byte, kSignalBytes> body{};
  for (std::size_t i = 0; i < 8; ++i) {
    body[i] = std::byte(turn >> (8 * i));
  }
  body[8] = std::byte(signal);
  for (int peer = 1; peer < comm_.size(); ++peer) {
    comm_.send(peer, signal_tag(epoch_, turn), body);
  }
}

Signal CommExchanger::await_signal(std::uint64_t turn) {
  require(comm_.rank() != 0, "CommExchanger: rank 0 does not wait for itself");
  const Message message = comm_.recv(0, signal_tag(epoch_, turn), Deadline::max());
  std::uint64_t sent_turn = 0;
  for (std::size_t i = 0; i < 8 && message.body.size() == kSignalBytes; ++i) {
    sent_turn |= std::uint64_t(message.body[i]) << (8 * i);
  }
  if (message.body.size() != kSignalBytes || sent_turn != turn ||
      int(message.body[8]) >= kSignals) {
    throw Error(Error::Code::protocol, comm_.peer_name(0) + " sent an unknown signal for turn " +
                                           std::to_string(turn) +
                                           ": do both run the same version?");
  }
  return Signal(message.body[8]);
}

}  // namespace sbcnn::net
