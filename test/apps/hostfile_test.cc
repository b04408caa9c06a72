#include "apps/hostfile.h"

#include <doctest/doctest.h>
#include <unistd.h>

#include <array>

#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using sbcnn::test::error_of;
using sbcnn::test::has;

namespace {
std::vector<Host> parse(std::string_view text) {
  return parse_hostfile(text, "hosts");
}

Host remote(const std::string& name, int slots = 1, double weight = 1) {
  Host host;
  host.name = name;
  host.slots = slots;
  host.weight = weight;
  host.port = 22;  // never this machine
  return host;
}
Host here(int slots = 1) {
  Host host;
  host.name = "localhost";
  host.slots = slots;
  return host;
}
}  // namespace

TEST_CASE("hostfile: every good line means what it says") {
  const auto hosts = parse(
      "# a cluster\n"
      "\n"
      "pi1\n"
      "  pi2.local slots=4   # four ranks\r\n"
      "me@10.0.0.3\tport=2222 threads=3 weight=0.5 binary=/opt/sbcnn#not a path\n"
      "   \t \n"
      "[fe80::1%eth0] weight=2\n"
      "you@[::1]\n"
      "last slots = 2 weight= 1.25");
  REQUIRE(hosts.size() == 6);
  CHECK(hosts[0].name == "pi1");
  CHECK(hosts[0].user.empty());
  CHECK(hosts[0].slots == 1);
  CHECK(hosts[0].port == 0);
  CHECK(hosts[0].threads == 0);
  CHECK(hosts[0].weight == 1);
  CHECK(hosts[0].line == 3);
  CHECK(hosts[1].name == "pi2.local");
  CHECK(hosts[1].slots == 4);
  CHECK(hosts[1].line == 4);
  CHECK(hosts[2].user == "me");
  CHECK(hosts[2].name == "10.0.0.3");
  CHECK(hosts[2].port == 2222);
  CHECK(hosts[2].threads == 3);
  CHECK(hosts[2].weight == 0.5);
  CHECK(hosts[2].binary == "/opt/sbcnn");
  CHECK(hosts[3].name == "fe80::1%eth0");
  CHECK(hosts[3].weight == 2);
  CHECK(hosts[4].user == "you");
  CHECK(hosts[4].name == "::1");
  CHECK(hosts[5].slots == 2);
  CHECK(hosts[5].weight == 1.25);
  CHECK(hosts[5].line == 9);
}

TEST_CASE("hostfile: bad lines are refused with file, line, reason and text") {
  const std::array<std::pair<const char*, const char*>, 36> bad{{
      {"pi1 slots", "'slots' is not key=value"},
      {"pi1 slots=", "bad slots ''"},
      {"pi1 slots=0", "bad slots '0'"},
      {"pi1 slots=-1", "bad slots '-1'"},
      {"pi1 slots=+1", "bad slots '+1'"},
      {"pi1 slots=2x", "bad slots '2x'"},
      {"pi1 slots=1.5", "bad slots '1.5'"},
      {"pi1 slots=1025", "bad slots '1025'"},
      {"pi1 slots=99999999999999999999", "bad slots"},
      {"pi1 slots=1 slots=1", "'slots' is given twice"},
      {"pi1 slots=2 3", "'3' is not key=value"},
      {"pi1 max_slots=2", "unknown key 'max_slots'"},
      {"pi1 Slots=2", "unknown key 'Slots'"},
      {"pi1 =2", "a host name is missing before 'pi1=2'"},
      {"pi1 port=0", "bad port '0'"},
      {"pi1 port=65536", "bad port '65536'"},
      {"pi1 port=ssh", "bad port 'ssh'"},
      {"pi1 threads=0", "bad threads '0'"},
      {"pi1 threads=many", "bad threads 'many'"},
      {"pi1 weight=0", "bad weight '0'"},
      {"pi1 weight=-1", "bad weight '-1'"},
      {"pi1 weight=nan", "bad weight 'nan'"},
      {"pi1 weight=inf", "bad weight 'inf'"},
      {"pi1 weight=1e3", "bad weight '1e3'"},
      {"pi1 weight=1001", "bad weight '1001'"},
      {"pi1 weight=1,5", "bad weight '1,5'"},
      {"pi1 binary=", "binary= wants a path"},
      {"slots=4", "a host name is missing before 'slots=4'"},
      {"-oProxyCommand=x", "host name is missing"},
      {"-l", "bad host name '-l'"},
      {"me@-l", "bad host name '-l'"},
      {"-x@pi1", "bad user name '-x'"},
      {"@pi1", "bad user name ''"},
      {"pi1:2222", "the ssh port goes into port="},
      {"fe80::1", "an IPv6 address wants brackets: [fe80::1]"},
      {"[pi1]", "bad IPv6 address 'pi1'"},
  }};
  for (const auto& entry : bad) {
    const char* line = entry.first;
    const char* reason = entry.second;
    CAPTURE(line);
    const std::string error = error_of([&] { parse(std::string("good\n") + line); });
    CAPTURE(error);
    CHECK(has(error, "hosts:2: "));
    CHECK(has(error, reason));
    CHECK(has(error, std::string("in: ") + line));
    CHECK(error.find('\n') == std::string::npos);
  }
}

TEST_CASE("hostfile: shell syntax in a name is refused") {
  for (const char* line :
       {"pi1;reboot", "$(id)", "`id`", "a|b", "a&b", "a'b", "a/b", "me@pi1@pi2"}) {
    CAPTURE(line);
    CHECK(has(error_of([&] { parse(line); }), "bad "));
  }
}

TEST_CASE("hostfile: nothing in it, not text, or not readable") {
  CHECK(has(error_of([] { parse(""); }), "no host in it"));
  CHECK(has(error_of([] { parse("# pi1\n\n"); }), "no host in it"));
  CHECK(has(error_of([] { parse(std::string_view("pi1\n\0\n", 6)); }), "hosts:2: not a text file"));
  const test::TemporaryFolder folder;
  CHECK(has(error_of([&] { read_hostfile(folder / "none"); }), "none: cannot open hostfile"));
  CHECK(has(error_of([&] { read_hostfile(folder.path()); }), "hostfile"));
  folder.write("big", std::string((1 << 20) + 1, '#'));
  CHECK(has(error_of([&] { read_hostfile(folder / "big"); }), "1 MiB"));
  folder.write("good", "pi1 slots=2");
  CHECK(read_hostfile(folder / "good").at(0).slots == 2);
}

TEST_CASE("is_local: this machine by its names and addresses, and no other") {
  CHECK(is_local("localhost"));
  CHECK(is_local("LocalHost"));
  CHECK(is_local("127.0.0.1"));
  CHECK(is_local("127.3.2.1"));
  CHECK(is_local("::1"));
  std::array<char, 256> own{};
  REQUIRE(gethostname(own.data(), own.size() - 1) == 0);
  CHECK(is_local(own.data()));
  CHECK_FALSE(is_local("192.0.2.1"));  // TEST-NET-1 of RFC 5737: nobody's
  CHECK_FALSE(is_local("2001:db8::1"));
}

TEST_CASE("place_ranks: rank 0 takes this machine's first slot, the rest keep their order") {
  const auto ranks = place_ranks({remote("a", 2), here(2), remote("b")}, std::nullopt, "hosts");
  REQUIRE(ranks.size() == 5);
  CHECK(ranks[0].local);
  CHECK(ranks[0].host.name == "localhost");
  CHECK(ranks[1].host.name == "a");
  CHECK(ranks[2].host.name == "a");
  CHECK_FALSE(ranks[2].local);
  CHECK(ranks[3].host.name == "localhost");
  CHECK(ranks[3].local);
  CHECK(ranks[4].host.name == "b");
  for (const auto& r : ranks) {
    CHECK(r.weight == 1);
  }
}

TEST_CASE("place_ranks: an unlisted machine becomes rank 0 that computes nothing") {
  const auto ranks = place_ranks({remote("a"), remote("b")}, std::nullopt, "hosts");
  REQUIRE(ranks.size() == 3);
  CHECK(ranks[0].local);
  CHECK(ranks[0].weight == 0);
  CHECK(ranks[1].host.name == "a");
  CHECK(ranks[1].weight == 1);
}

TEST_CASE("place_ranks: -n takes the first slots, and no more than there are") {
  const std::vector<Host> hosts{remote("a", 2), remote("b", 2)};
  CHECK(place_ranks(hosts, 3, "hosts").size() == 4);  // and rank 0
  CHECK(place_ranks({here(4)}, 3, "hosts").size() == 3);
  CHECK(place_ranks({remote("a", 2), here(2)}, 1, "hosts").at(0).local);
  CHECK(has(error_of([&] { place_ranks(hosts, 5, "hosts"); }), "hosts has only 4 slots: raise"));
  CHECK(has(error_of([&] { place_ranks(hosts, 0, "hosts"); }), "at least one rank"));
}

TEST_CASE("place_ranks: weights become small integers in the same proportions") {
  const auto ranks =
      place_ranks({remote("a", 1, 2), remote("b", 2, 0.5), remote("c", 1, 1.5)}, std::nullopt, "");
  REQUIRE(ranks.size() == 5);
  CHECK(ranks[0].weight == 0);
  CHECK(ranks[1].weight == 4);
  CHECK(ranks[2].weight == 1);
  CHECK(ranks[3].weight == 1);
  CHECK(ranks[4].weight == 3);
  CHECK(place_ranks({remote("a", 1, 0.333)}, std::nullopt, "").at(1).weight == 1);
}

TEST_CASE("place_ranks: a name of ours with a port or a user goes through ssh") {
  Host container = here();
  container.port = 2222;
  const auto ranks = place_ranks({container}, std::nullopt, "hosts");
  REQUIRE(ranks.size() == 2);
  CHECK(ranks[0].weight == 0);
  CHECK_FALSE(ranks[1].local);
  container.port = 0;
  container.user = "guest";
  CHECK_FALSE(place_ranks({container}, std::nullopt, "hosts").at(1).local);
}

TEST_CASE("place_ranks_here: equal ranks on this machine") {
  const auto ranks = place_ranks_here(3);
  REQUIRE(ranks.size() == 3);
  CHECK(ranks[2].local);
  CHECK(ranks[2].weight == 1);
  CHECK(has(error_of([] { place_ranks_here(0); }), "-n 0"));
  CHECK(has(error_of([] { place_ranks_here(100000); }), "-n 100000"));
}
