// Hostfiles in Open MPI's form, and which rank runs on which board.
//
//   # name [key=value ...]
//   pi1  slots=2
//   me@pi2  port=2222  weight=0.5  threads=3  binary=/opt/sbcnn
//   [fe80::1%eth0]
//
// Keys: `slots` ranks on that board (default 1), `port` of its ssh, compute `threads` of each
// rank, `weight` relative speed of each rank (0.001 to 1000, default 1), `binary` path of sbcnn
// there. Comments begin with #. A board listed twice gets the ranks of both lines. Anything else
// is an Error(usage) naming file, line and text.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace sbcnn::apps {

struct Host {
  std::string name;  // host name or address, an IPv6 address without its brackets
  std::string user;  // empty: whoever ssh takes
  int slots = 1;
  int port = 0;     // 0: whatever ssh takes
  int threads = 0;  // 0: not said
  double weight = 1;
  std::string binary;  // empty: the same path as on this board
  int line = 0;        // in the hostfile; 0: from none
};

// `origin` stands in errors.
std::vector<Host> parse_hostfile(std::string_view text, const std::string& origin);
// Also throws Error(io).
std::vector<Host> read_hostfile(const std::filesystem::path&);

// Whether `name` is this machine: localhost, a loopback address, our own host name, or a name
// or an address of one of our interfaces. May ask the resolver.
bool is_local(const std::string& name);

// One rank's board.
struct RankHost {
  Host host;
  bool local = false;  // started directly, without ssh
  int weight = 1;      // for Cluster; 0: rank 0 that only feeds frames and collects results
};

// Ranks of `hosts`, in the file's order but for rank 0, which lives in the calling process: if
// this machine is listed, its first slot is rank 0, else rank 0 is added in front with weight 0.
// `ranks` takes only that many slots, the first ones; Error(usage) if there are fewer. A board
// with `user` or `port` is reached through ssh even if its name is ours (a container, say).
std::vector<RankHost> place_ranks(const std::vector<Host>& hosts, std::optional<int> ranks,
                                  const std::string& origin);
// `ranks` ranks on this machine.
std::vector<RankHost> place_ranks_here(int ranks);

}  // namespace sbcnn::apps
