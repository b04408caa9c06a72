#include "apps/hostfile.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <numeric>
#include <set>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

constexpr std::size_t kMaxFile = 1 << 20;
constexpr int kMaxRanks = 1024;

// One line while it is parsed; throws errors that quote it.
struct Line {
  const std::string& origin;
  int number;
  std::string_view text;

  [[noreturn]] void fail(const std::string& why) const {
    throw Error(Error::Code::usage,
                origin + ":" + std::to_string(number) + ": " + why + " in: " + std::string(text));
  }

  int integer(std::string_view key, std::string_view value, int most) const {
    int number_read = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] = std::from_chars(value.data(), end, number_read);
    if (error != std::errc{} || stop != end || number_read < 1 || number_read > most) {
      fail("bad " + std::string(key) + " '" + std::string(value) + "' (a number from 1 to " +
           std::to_string(most) + ")");
    }
    return number_read;
  }

  double decimal(std::string_view key, std::string_view value) const {
    double number_read = 0;
    const char* end = value.data() + value.size();
    const auto [stop, error] =
        std::from_chars(value.data(), end, number_read, std::chars_format::fixed);
    if (error != std::errc{} || stop != end || !(number_read >= 0.001 && number_read <= 1000)) {
      fail("bad " + std::string(key) + " '" + std::string(value) +
           "' (a decimal from 0.001 to 1000)");
    }
    return number_read;
  }
};

// Splits at white space; blanks around '=' belong to the pair, as in Open MPI.
std::vector<std::string> words_of(std::string_view text) {
  std::string tight;
  for (const char c : text) {
    const bool blank = std::isspace(static_cast<unsigned char>(c)) != 0;
    if (c == '=') {
      while (!tight.empty() && tight.back() == ' ') {
        tight.pop_back();
      }
    }
    if (!blank) {
      tight += c;
    } else if (!tight.empty() && tight.back() != '=' && tight.back() != ' ') {
      tight += ' ';
    }
  }
  std::vector<std::string> words;
  for (std::size_t begin = 0; begin < tight.size();) {
    const std::size_t end = std::min(tight.find(' ', begin), tight.size());
    words.push_back(tight.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

// Names end up on ssh's command line: nothing in them may look like an option or like syntax.
bool plain(std::string_view name, std::string_view punctuation) {
  return !name.empty() && name.front() != '-' && std::all_of(name.begin(), name.end(), [&](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           punctuation.find(c) != std::string_view::npos;
  });
}

bool is_ipv6(std::string_view name) {
  in6_addr address{};
  return inet_pton(AF_INET6, std::string(name.substr(0, name.find('%'))).c_str(), &address) == 1;
}

void parse_address(const Line& line, std::string_view word, Host& host) {
  if (word.find('=') != std::string_view::npos) {
    line.fail("a host name is missing before '" + std::string(word) + "'");
  }
  const std::size_t at = word.rfind('@');
  if (at != std::string_view::npos) {
    host.user = word.substr(0, at);
    word.remove_prefix(at + 1);
    if (!plain(host.user, "._-+")) {
      line.fail("bad user name '" + host.user + "'");
    }
  }
  if (word.size() >= 2 && word.front() == '[' && word.back() == ']') {
    word = word.substr(1, word.size() - 2);
    if (!is_ipv6(word) || !plain(word, ":.%_-")) {
      line.fail("bad IPv6 address '" + std::string(word) + "'");
    }
  } else if (is_ipv6(word)) {
    line.fail("an IPv6 address wants brackets: [" + std::string(word) + "]");
  } else if (word.find(':') != std::string_view::npos) {
    line.fail("bad host name '" + std::string(word) + "' (the ssh port goes into port=)");
  } else if (!plain(word, "._-")) {
    line.fail("bad host name '" + std::string(word) + "'");
  }
  host.name = word;
}

void parse_pair(const Line& line, std::string_view word, std::set<std::string>& seen, Host& host) {
  const std::size_t equals = word.find('=');
  if (equals == std::string_view::npos) {
    line.fail("'" + std::string(word) + "' is not key=value");
  }
  const std::string key(word.substr(0, equals));
  const std::string_view value = word.substr(equals + 1);
  if (!seen.insert(key).second) {
    line.fail("'" + key + "' is given twice");
  }
  if (key == "slots") {
    host.slots = line.integer(key, value, kMaxRanks);
  } else if (key == "port") {
    host.port = line.integer(key, value, 65535);
  } else if (key == "threads") {
    host.threads = line.integer(key, value, 1024);
  } else if (key == "weight") {
    host.weight = line.decimal(key, value);
  } else if (key == "binary") {
    if (value.empty()) {
      line.fail("binary= wants a path");
    }
    host.binary = value;
  } else {
    line.fail("unknown key '" + key + "' (slots, port, threads, weight, binary)");
  }
}

bool same_address(const sockaddr* a, const sockaddr* b) {
  if (a == nullptr || b == nullptr || a->sa_family != b->sa_family) {
    return false;
  }
  if (a->sa_family == AF_INET) {
    return std::memcmp(&reinterpret_cast<const sockaddr_in*>(a)->sin_addr,
                       &reinterpret_cast<const sockaddr_in*>(b)->sin_addr, sizeof(in_addr)) == 0;
  }
  return a->sa_family == AF_INET6 &&
         std::memcmp(&reinterpret_cast<const sockaddr_in6*>(a)->sin6_addr,
                     &reinterpret_cast<const sockaddr_in6*>(b)->sin6_addr, sizeof(in6_addr)) == 0;
}

bool is_loopback(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
    return (ntohl(v4->sin_addr.s_addr) >> 24) == 127;
  }
  return address->sa_family == AF_INET6 &&
         IN6_IS_ADDR_LOOPBACK(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

bool is_own_address(const sockaddr* address) {
  if (is_loopback(address)) {
    return true;
  }
  ifaddrs* first = nullptr;
  if (getifaddrs(&first) != 0) {
    return false;
  }
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(first, freeifaddrs);
  for (const ifaddrs* i = first; i != nullptr; i = i->ifa_next) {
    if (same_address(i->ifa_addr, address)) {
      return true;
    }
  }
  return false;
}

// Weights in thousandths, as small integers in the same proportions.
void set_weights(std::vector<RankHost>& ranks) {
  int divisor = 0;
  for (RankHost& r : ranks) {
    r.weight = r.weight == 0 ? 0 : int(std::lround(r.host.weight * 1000));
    divisor = std::gcd(divisor, r.weight);
  }
  for (RankHost& r : ranks) {
    r.weight /= divisor;
  }
}

Host this_machine() {
  Host host;
  host.name = "localhost";
  return host;
}

}  // namespace

std::vector<Host> parse_hostfile(std::string_view text, const std::string& origin) {
  std::vector<Host> hosts;
  int number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view content = text.substr(begin, end - begin);
    begin = end + 1;
    if (!content.empty() && content.back() == '\r') {
      content.remove_suffix(1);
    }
    const Line line{origin, ++number, content};
    if (content.find('\0') != std::string_view::npos) {
      throw Error(Error::Code::usage,
                  origin + ":" + std::to_string(number) + ": not a text file (a NUL byte)");
    }
    const std::vector<std::string> words = words_of(content.substr(0, content.find('#')));
    if (words.empty()) {
      continue;
    }
    Host host;
    host.line = number;
    parse_address(line, words[0], host);
    std::set<std::string> seen;
    for (std::size_t i = 1; i < words.size(); ++i) {
      parse_pair(line, words[i], seen, host);
    }
    hosts.push_back(std::move(host));
  }
  if (hosts.empty()) {
    throw Error(Error::Code::usage, origin + ": no host in it (one a line: name [slots=n])");
  }
  return hosts;
}

std::vector<Host> read_hostfile(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFile + 1, '\0');
  if (!file) {
    throw Error(Error::Code::io, path.string() + ": cannot open hostfile: " + std::strerror(errno));
  }
  file.read(text.data(), std::streamsize(text.size()));
  if (file.bad() || (file.fail() && !file.eof())) {
    throw Error(Error::Code::io, path.string() + ": cannot read hostfile");
  }
  text.resize(std::size_t(file.gcount()));
  if (text.size() > kMaxFile) {
    throw Error(Error::Code::usage, path.string() + ": larger than a hostfile can be (1 MiB)");
  }
  return parse_hostfile(text, path.string());
}

bool is_local(const std::string& name) {
  std::string own(256, '\0');
  if (gethostname(own.data(), own.size() - 1) == 0) {
    own.resize(std::strlen(own.c_str()));
    if (strcasecmp(name.c_str(), own.c_str()) == 0) {
      return true;
    }
  }
  if (strcasecmp(name.c_str(), "localhost") == 0) {
    return true;
  }
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(name.c_str(), nullptr, &hints, &found) != 0) {
    return false;  // ssh may know it by an alias, or says why not
  }
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, freeaddrinfo);
  for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
    if (is_own_address(a->ai_addr)) {
      return true;
    }
  }
  return false;
}

std::vector<RankHost> place_ranks(const std::vector<Host>& hosts, std::optional<int> ranks,
                                  const std::string& origin) {
  require(!hosts.empty(), "place_ranks: no hosts");
  std::vector<RankHost> placed;
  std::optional<std::size_t> root;
  for (const Host& host : hosts) {
    const bool local = host.user.empty() && host.port == 0 && is_local(host.name);
    if (local && !root) {
      root = placed.size();
    }
    placed.insert(placed.end(), std::size_t(host.slots), RankHost{host, local, 1});
  }
  if (placed.size() > std::size_t(kMaxRanks)) {
    throw Error(Error::Code::usage, origin + ": more than " + std::to_string(kMaxRanks) + " slots");
  }
  if (root) {
    const auto first = placed.begin() + std::ptrdiff_t(*root);
    std::rotate(placed.begin(), first, first + 1);
  }
  if (ranks) {
    if (*ranks < 1) {
      throw Error(Error::Code::usage, "-n " + std::to_string(*ranks) + ": at least one rank");
    }
    if (std::size_t(*ranks) > placed.size()) {
      throw Error(Error::Code::usage, "-n " + std::to_string(*ranks) + ": " + origin +
                                          " has only " + std::to_string(placed.size()) +
                                          " slots: raise slots= or list more hosts");
    }
    placed.resize(std::size_t(*ranks));
  }
  if (!root) {
    placed.insert(placed.begin(), RankHost{this_machine(), true, 0});
  }
  set_weights(placed);
  return placed;
}

std::vector<RankHost> place_ranks_here(int ranks) {
  if (ranks < 1 || ranks > kMaxRanks) {
    throw Error(Error::Code::usage, "-n " + std::to_string(ranks) + ": a number from 1 to " +
                                        std::to_string(kMaxRanks));
  }
  return std::vector<RankHost>(std::size_t(ranks), RankHost{this_machine(), true, 1});
}

}  // namespace sbcnn::apps
