#include "bench/side.h"

namespace sbcnn::bench {

Sides make_peers([[maybe_unused]] const SideOptions& options, std::vector<std::string>& missing) {
  Sides peers;
  [[maybe_unused]] const auto add = [&](std::unique_ptr<Side> peer, const char* name) {
    if (peer) {
      peers.push_back(std::move(peer));
    } else {
      missing.push_back(std::string(name) +
                        ": does not start here, or not with this instruction set");
    }
  };
#ifdef SBCNN_ONEDNN
  add(make_onednn(options), "oneDNN");
#else
  missing.emplace_back("oneDNN: libdnnl-dev was not there when this was built");
#endif
#ifdef SBCNN_XNNPACK
  add(make_xnnpack(options), "XNNPACK");
#else
  missing.emplace_back(
      "XNNPACK: libxnnpack-dev, libpthreadpool-dev or libcpuinfo-dev was not there when this was "
      "built");
#endif
  return peers;
}

}  // namespace sbcnn::bench
