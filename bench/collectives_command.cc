#include "bench/collectives_command.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "apps/world.h"
#include "bench/collectives.h"
#include "net/world.h"

namespace sbcnn::bench {
namespace {

namespace fs = std::filesystem;
using net::Algorithm;
using net::Verb;

constexpr Verb kVerbs[] = {Verb::barrier,   Verb::bcast,   Verb::scatter,   Verb::gather,
                           Verb::allgather, Verb::reduce,  Verb::allreduce, Verb::reduce_scatter,
                           Verb::scan,      Verb::alltoall};
constexpr Algorithm kAlgorithms[] = {Algorithm::direct, Algorithm::pairwise, Algorithm::ring,
                                     Algorithm::recursive_doubling, Algorithm::binomial};

struct Options {
  int ranks = 0;
  std::string hostfile, rsh, sbcnn, json, transport = "tcp";
  bool insecure = false, encrypt = false;
  double link_mbit = 0;
  CollectivesOptions what;
};

// This command's own arguments go on to every rank as they are.
std::vector<std::string> own_arguments() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::vector<std::string> arguments;
  for (std::string a; std::getline(file, a, '\0');) {
    arguments.push_back(a);
  }
  return arguments;
}

fs::path own_binary() {
  return fs::read_symlink("/proc/self/exe");
}

// Becomes `sbcnn launch`, which starts this program once for each rank.
[[noreturn]] void launch(const Options& o) {
  const fs::path self = own_binary();
  const std::string sbcnn =
      o.sbcnn.empty() ? (self.parent_path().parent_path() / "apps/sbcnn").string() : o.sbcnn;
  std::vector<std::string> words{sbcnn, "launch"};
  const auto add = [&](const char* option, const std::string& value) {
    if (!value.empty()) {
      words.insert(words.end(), {option, value});
    }
  };
  add("-n", o.ranks > 0 ? std::to_string(o.ranks) : "");
  add("--hostfile", o.hostfile);
  add("--rsh", o.rsh);
  if (o.insecure || o.encrypt) {
    words.emplace_back(o.insecure ? "--insecure" : "--encrypt");
  }
  words.insert(words.end(), {"--", self.string()});
  const std::vector<std::string> own = own_arguments();
  words.insert(words.end(), own.begin() + 1, own.end());
  std::vector<char*> raw;
  for (std::string& w : words) {
    raw.push_back(w.data());
  }
  raw.push_back(nullptr);
  ::execv(raw[0], raw.data());
  throw Error(Error::Code::io, "cannot start " + sbcnn + ": " + std::strerror(errno) +
                                   "; where it is, --sbcnn says");
}

void write(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary);
  if (!(file << text).flush()) {
    throw Error(Error::Code::io, "cannot write " + path);
  }
}

void check(const CollectivesOptions& what) {
  for (const std::size_t bytes : what.bytes) {
    if (bytes % sizeof(float) != 0) {
      throw Error(Error::Code::usage,
                  "--bytes " + std::to_string(bytes) + ": sizes are multiples of 4");
    }
  }
  const auto has = [&](Verb verb) {
    const auto all = net::algorithms(verb);
    return !what.algorithm || std::ranges::find(all, *what.algorithm) != all.end();
  };
  if (std::ranges::none_of(what.verbs, has)) {
    throw Error(Error::Code::usage, "--algorithm " + std::string(name(*what.algorithm)) +
                                        ": no collective that was asked for has it");
  }
}

void run(const Options& o) {
  check(o.what);
  const net::Seat seat = net::find_seat([](const char* name) { return std::getenv(name); });
  if (seat.starter == net::Seat::Starter::nobody && (o.ranks > 1 || !o.hostfile.empty())) {
    launch(o);
  }
  const auto comm = world();
  const bool tells = comm->rank() == 0;
  if (tells) {
    const net::Link& link = comm->link();
    std::printf("link as measured: %.0f us, %.0f us a message, %.1f Mbit/s\n", link.latency * 1e6,
                link.message_cost * 1e6, link.bytes_per_second * 8e-6);
    std::printf("%-14s %-18s %10s %12s %12s %12s %12s %12s\n", "collective", "algorithm", "bytes",
                "min us", "p50 us", "p99 us", "max us", "Mbit/s");
  }
  const auto rows = time_collectives(*comm, o.what, [&](const CollectiveRow& r) {
    if (tells) {
      std::printf("%-14s %-18s %10zu %12.1f %12.1f %12.1f %12.1f %12.1f\n",
                  std::string(name(r.verb)).c_str(), std::string(algorithm_name(r)).c_str(),
                  r.bytes, r.min_us, r.p50_us, r.p99_us, r.max_us, r.goodput_mbit);
      std::fflush(stdout);
    }
  });
  if (tells && !o.json.empty()) {
    write(o.json,
          json(rows, o.transport, o.link_mbit > 0 ? std::optional(o.link_mbit) : std::nullopt));
  }
}

template <class T, std::size_t N>
std::map<std::string, T> by_name(const T (&all)[N]) {
  std::map<std::string, T> names;
  for (const T one : all) {
    names.emplace(name(one), one);
  }
  return names;
}

}  // namespace

void add_collectives_command(CLI::App& app) {
  auto o = std::make_shared<Options>();
  o->what.verbs.assign(std::begin(kVerbs), std::end(kVerbs));
  o->what.bytes = {0, 64, 1024, 4096, 16384, 18432, 65536, 262144, 1 << 20, 4 << 20};
  CLI::App& c = *app.add_subcommand("collectives", "the communicator's verbs, over several ranks");
  c.add_option("-n,--ranks", o->ranks, "ranks; without a hostfile all run here")
      ->check(CLI::Range(1, 1024));
  c.add_option("--hostfile", o->hostfile, "boards, as for `sbcnn launch`");
  c.add_option("--rsh", o->rsh, "command that reaches other boards instead of ssh");
  CLI::Option* const plain = c.add_flag("--insecure", o->insecure, "as for `sbcnn launch`");
  c.add_flag("--encrypt", o->encrypt, "as for `sbcnn launch`")->excludes(plain);
  c.add_option("--sbcnn", o->sbcnn, "the sbcnn that launches; default: the one built with this");
  c.add_option("--collective", o->what.verbs, "default: all")
      ->transform(CLI::CheckedTransformer(by_name(kVerbs)))
      ->delimiter(',');
  CLI::Option* const algorithm =
      c.add_option("--algorithm", o->what.algorithm, "default: all that a collective has")
          ->transform(CLI::CheckedTransformer(by_name(kAlgorithms)));
  c.add_flag("--chosen", o->what.chosen, "only what the communicator chooses by itself")
      ->excludes(algorithm);
  c.add_option("--bytes", o->what.bytes,
               "sizes, multiples of 4: for each pair of ranks, or of the "
               "vector that is broadcast or reduced")
      ->delimiter(',')
      ->check(CLI::Range(0, 1 << 28));
  c.add_option("--seconds", o->what.seconds, "about, for a row")->check(CLI::Range(0.001, 60.0));
  c.add_option("--transport", o->transport, "what the report calls it");
  c.add_option("--link-mbit", o->link_mbit, "the link's limit, for the report");
  c.add_option("--json", o->json, "also write a report for programs");
  c.callback([o] { run(*o); });
}

}  // namespace sbcnn::bench
