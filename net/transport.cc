#include "net/transport.h"

namespace sbcnn::net {

std::string describe_rank(int rank, std::string_view host) {
  std::string name = "rank " + std::to_string(rank);
  if (!host.empty()) {
    name.append(" (").append(host).append(")");
  }
  return name;
}

Error abort_error(const std::string& reason, const std::string& peer_name) {
  return {Error::Code::peer_lost, reason + " [told by " + peer_name + "]"};
}

Error lost_error(const std::string& peer_name, const std::string& when) {
  return {Error::Code::peer_lost,
          peer_name + " is lost: its connection broke or fell silent" +
              (when.empty() ? "" : " (" + when + ")") +
              "; look whether the process was killed or stopped, or the board went off the "
              "network"};
}

}  // namespace sbcnn::net
