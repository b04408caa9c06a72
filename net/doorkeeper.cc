#include "net/doorkeeper.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <string_view>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "core/error.h"

namespace sbcnn::net {
namespace {

constexpr const char* kDomain = "sbcnn";
constexpr const char* kHandler = "inproc://zeromq.zap.01";  // libzmq's name for it
constexpr const char* kMonitor = "inproc://door";
constexpr int kFailures = ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL |
                          ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL | ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
constexpr std::size_t kKeyBytes = 32;

std::string binary_of(const std::string& z85) {
  std::array<std::uint8_t, kKeyBytes> key{};
  require(zmq_z85_decode(key.data(), z85.c_str()) != nullptr, "Doorkeeper: not a key");
  return {key.begin(), key.end()};
}

// All parts of a message that is here; empty when none is.
std::vector<zmq::message_t> receive_now(zmq::socket_t& socket) {
  std::vector<zmq::message_t> parts;
  do {
    zmq::message_t part;
    if (!socket.recv(part, zmq::recv_flags::dontwait)) {
      return {};
    }
    parts.push_back(std::move(part));
  } while (parts.back().more());
  return parts;
}

}  // namespace

class Doorkeeper::Impl {
 public:
  Impl(zmq::context_t& context, zmq::socket_t& socket, const CurveKeys& keys);
  ~Impl();
  Impl(Impl&&) = delete;

  std::uint64_t refused() const { return refused_; }

 private:
  void run();
  bool answer_one();
  bool count_one();

  const std::string key_;  // of everybody who may come in
  zmq::socket_t handler_, monitor_;
  int wake_ = -1;  // an eventfd; readable when it is time to end
  std::atomic<std::uint64_t> refused_{0};
  std::thread thread_;
};

Doorkeeper::Impl::Impl(zmq::context_t& context, zmq::socket_t& socket, const CurveKeys& keys)
    : key_(binary_of(keys.public_key)),
      handler_(context, zmq::socket_type::rep),
      monitor_(context, zmq::socket_type::pair) {
  socket.set(zmq::sockopt::curve_server, true);
  socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
  socket.set(zmq::sockopt::zap_domain, kDomain);
  // Before the socket is bound: without a handler libzmq would let everybody in.
  handler_.set(zmq::sockopt::linger, 0);
  handler_.bind(kHandler);
  if (zmq_socket_monitor(socket.handle(), kMonitor, kFailures) != 0) {
    throw zmq::error_t();
  }
  monitor_.set(zmq::sockopt::linger, 0);
  monitor_.connect(kMonitor);
  wake_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (wake_ < 0) {
    throw zmq::error_t();  // which reads errno
  }
  thread_ = std::thread([this] {
    try {
      run();
    } catch (const zmq::error_t&) {  // the context ends, and with it all that could be guarded
    }
  });
}

Doorkeeper::Impl::~Impl() {
  const std::uint64_t one = 1;
  (void)!write(wake_, &one, sizeof one);
  thread_.join();
  close(wake_);
}

void Doorkeeper::Impl::run() {
  std::array<zmq::pollitem_t, 3> items{{{handler_.handle(), 0, ZMQ_POLLIN, 0},
                                        {monitor_.handle(), 0, ZMQ_POLLIN, 0},
                                        {nullptr, wake_, ZMQ_POLLIN, 0}}};
  while (items[2].revents == 0) {
    try {
      zmq::poll(items.data(), items.size(), std::chrono::milliseconds(-1));
      while (answer_one() || count_one()) {
      }
    } catch (const zmq::error_t& e) {
      if (e.num() != EINTR) {
        throw;
      }
    }
  }
}

bool Doorkeeper::Impl::answer_one() {
  const auto parts = receive_now(handler_);
  if (parts.empty()) {
    return false;
  }
  std::vector<std::string_view> request;
  for (const zmq::message_t& part : parts) {
    request.push_back(part.to_string_view());
  }
  const std::string_view number = request.size() > 1 ? request[1] : "";
  const bool welcome = may_enter(request, key_);
  const std::array<std::string_view, 6> reply{
      "1.0", number, welcome ? "200" : "400", welcome ? "OK" : "unknown key", "", ""};
  for (std::size_t i = 0; i < reply.size(); ++i) {
    const bool last = i + 1 == reply.size();
    handler_.send(zmq::buffer(reply[i]), last ? zmq::send_flags::none : zmq::send_flags::sndmore);
  }
  return true;
}

bool Doorkeeper::Impl::count_one() {
  const auto parts = receive_now(monitor_);
  if (parts.empty()) {
    return false;
  }
  std::uint16_t event = 0;
  if (parts[0].size() >= sizeof event) {
    std::memcpy(&event, parts[0].data(), sizeof event);
  }
  refused_ += (event & kFailures) != 0 ? 1 : 0;  // and not the end of the monitor
  return true;
}

Doorkeeper::Doorkeeper(zmq::context_t& context, zmq::socket_t& socket, const CurveKeys& keys) {
  try {
    impl_ = std::make_unique<Impl>(context, socket, keys);
  } catch (const zmq::error_t& e) {
    throw Error(Error::Code::io, std::string("cannot guard the job's ports: ") + e.what());
  }
}

Doorkeeper::~Doorkeeper() = default;

std::uint64_t Doorkeeper::refused() const {
  return impl_->refused();
}

bool Doorkeeper::first_refusal() {
  return !told_ && (told_ = impl_->refused() > 0);
}

// Version, request, domain, address, identity, mechanism, credentials: as ZAP orders them.
bool may_enter(std::span<const std::string_view> request, std::string_view key) {
  return request.size() == 7 && request[0] == "1.0" && request[2] == kDomain &&
         request[5] == "CURVE" && request[6] == key;
}

void become_client(zmq::socket_t& socket, const CurveKeys& keys) {
  socket.set(zmq::sockopt::curve_serverkey, keys.public_key);
  socket.set(zmq::sockopt::curve_publickey, keys.public_key);
  socket.set(zmq::sockopt::curve_secretkey, keys.secret_key);
}

std::string refusal_text(int port) {
  return "a program without this job's key knocked at port " + std::to_string(port) +
         " and was turned away; further ones are not told";
}

}  // namespace sbcnn::net
