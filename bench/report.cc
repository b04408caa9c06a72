#include "bench/report.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

namespace sbcnn::bench {
namespace {

using Json = nlohmann::ordered_json;

double ms(double seconds) {
  return seconds * 1e3;
}

template <class... T>
std::string line(const char* format, T... values) {
  char text[256];
  std::snprintf(text, sizeof text, format, values...);
  return std::string(text) + "\n";
}

Json or_null(const Timed* peer, auto f) {
  return peer == nullptr ? Json() : Json(f(*peer));
}

// The ratios of each round: a quartile, the median, a quartile.
std::array<double, 3> paired_ratio(const Timed& ours, const Timed& peer) {
  Timed ratios;
  for (std::size_t i = 0; i < ours.seconds.size(); ++i) {
    ratios.seconds.push_back(peer.seconds[i] / ours.seconds[i]);
  }
  return {ratios.quantile(0.25), ratios.median(), ratios.quantile(0.75)};
}

Json to_json(const NetworkResult& network, const Report& report) {
  const Timed& ours = network.sides[0];
  const Timed* peer = best_peer(network.sides);
  Json sides = Json::object();
  for (const Timed& t : network.sides) {
    Json& side = sides[t.side];
    side = {{"ms", ms(t.median())},
            {"min_ms", ms(t.least())},
            {"quartiles_ms", {ms(t.quantile(0.25)), ms(t.quantile(0.75))}}};
    const auto error = network.largest_error.find(t.side);
    side["largest_error"] = error == network.largest_error.end() ? Json() : Json(error->second);
  }
  return {{"name", network.name},
          {"family", network.family},
          {"isa", report.isa},
          {"threads", report.threads},
          {"ours_ms", ms(ours.median())},
          {"ours_min_ms", ms(ours.least())},
          {"best_peer", or_null(peer, [](const Timed& p) { return p.side; })},
          {"best_peer_ms", or_null(peer, [](const Timed& p) { return ms(p.median()); })},
          {"ratio", or_null(peer, [&](const Timed& p) { return p.median() / ours.median(); })},
          {"paired_ratio", or_null(peer, [&](const Timed& p) { return paired_ratio(ours, p); })},
          {"sides", std::move(sides)}};
}

Json to_json(const LayerResult& layer, const std::string& network) {
  const Timed& ours = layer.best[0];
  const Timed* peer = best_peer(layer.best);
  const auto gflops = [&](const Timed& t) { return layer.flops / t.median() * 1e-9; };
  Json candidates = Json::array();
  for (const Timed& t : layer.candidates) {
    candidates.push_back({{"side", t.side},
                          {"algorithm", t.algorithm},
                          {"ms", ms(t.median())},
                          {"min_ms", ms(t.least())}});
  }
  return {{"network", network},
          {"layer", layer.layer},
          {"count", layer.count},
          {"algorithm", ours.algorithm},
          {"ours_gflops", gflops(ours)},
          {"best_peer", or_null(peer, [](const Timed& p) { return p.side; })},
          {"best_peer_algorithm", or_null(peer, [](const Timed& p) { return p.algorithm; })},
          {"best_peer_gflops", or_null(peer, gflops)},
          {"ratio", or_null(peer, [&](const Timed& p) { return p.median() / ours.median(); })},
          {"gflop", layer.flops * 1e-9},
          {"mbytes", layer.bytes * 1e-6},
          {"ours_ms", ms(ours.median())},
          {"ours_min_ms", ms(ours.least())},
          {"candidates", std::move(candidates)}};
}

struct Family {
  std::string name;
  std::vector<std::string> networks;
  double ours = 0, peer = 0;  // seconds; peer: the best of each network
};

// The families that were timed, and all networks together.
std::vector<Family> families(const Report& report) {
  std::vector<Family> found;
  Family all{"all", {}, 0, 0};
  for (const NetworkResult& network : report.networks) {
    auto family = std::ranges::find(found, network.family, &Family::name);
    if (family == found.end()) {
      family = found.insert(family, {network.family, {}, 0, 0});
    }
    const Timed* peer = best_peer(network.sides);
    for (Family* f : {&*family, &all}) {
      f->networks.push_back(network.name);
      f->ours += network.sides[0].median();
      f->peer += peer == nullptr ? 0 : peer->median();
    }
  }
  found.push_back(all);
  return found;
}

const Timed* candidate(const LayerResult& layer, const std::string& side,
                       const std::string& algorithm) {
  const auto found = std::ranges::find_if(
      layer.candidates, [&](const Timed& t) { return t.side == side && t.algorithm == algorithm; });
  return found == layer.candidates.end() ? nullptr : &*found;
}

std::string cell(const Timed* timed) {
  char text[16] = "        -";
  if (timed != nullptr) {
    std::snprintf(text, sizeof text, "%9.3f", ms(timed->median()));
  }
  return text;
}

}  // namespace

std::string table(const NetworkResult& network) {
  std::string text = line("%-24s %3s %9s %8s %-10s%9s%9s%9s%9s", network.name.c_str(), "",
                          "ours ms", "GFLOP/s", "with", "direct", "winogr2", "winogr4", "depthw");
  text.pop_back();
  for (std::size_t i = 1; i < network.sides.size(); ++i) {
    text += line(" | %7s %-15s", network.sides[i].side.c_str(), "");
    text.pop_back();
  }
  text += " |  ratio\n";
  for (const LayerResult& layer : network.layers) {
    const Timed& ours = layer.best[0];
    text += line("%-24s x%-2d %9.3f %8.1f %-10s", layer.layer.c_str(), layer.count,
                 ms(ours.median()), layer.flops / ours.median() * 1e-9, ours.algorithm.c_str());
    text.pop_back();
    for (const char* algorithm : {"direct", "winograd2", "winograd4", "depthwise"}) {
      text += cell(candidate(layer, ours.side, algorithm));
    }
    for (std::size_t i = 1; i < layer.best.size(); ++i) {
      text += line(" | %7.3f %-15s", ms(layer.best[i].median()), layer.best[i].algorithm.c_str());
      text.pop_back();
    }
    const Timed* peer = best_peer(layer.best);
    text += peer == nullptr ? "\n" : line(" | %6.2f", peer->median() / ours.median());
  }
  return text;
}

std::string summary(const Report& report) {
  std::string text =
      line("\n%s, %d thread(s): %.1f GFLOP/s at most, reads %.1f GB/s", report.isa.c_str(),
           report.threads, report.peak.gflops, report.peak.gbytes_per_second);
  text += line("%-20s %9s %9s  %s", "network", "ours ms", "min ms",
               "peers ms, ratio of paired rounds (quartiles)");
  for (const NetworkResult& network : report.networks) {
    const Timed& ours = network.sides[0];
    text += line("%-20s %9.3f %9.3f ", network.name.c_str(), ms(ours.median()), ms(ours.least()));
    text.pop_back();
    for (std::size_t i = 1; i < network.sides.size(); ++i) {
      const Timed& peer = network.sides[i];
      const auto [low, middle, high] = paired_ratio(ours, peer);
      text += line(" %s %9.3f, %.3f (%.3f to %.3f) ", peer.side.c_str(), ms(peer.median()), middle,
                   low, high);
      text.pop_back();
    }
    text += "\n";
  }
  for (const Family& f : families(report)) {
    text += line("%-20s %9.3f           best peers %9.3f, ratio %.3f", f.name.c_str(), ms(f.ours),
                 ms(f.peer), f.peer / f.ours);
  }
  for (const std::string& missing : report.peers_missing) {
    text += "missing: " + missing + "\n";
  }
  return text;
}

std::string json(const Report& report) {
  Json out{{"machine", report.machine},
           {"isa", report.isa},
           {"threads", report.threads},
           {"rounds", report.rounds},
           {"time", report.time_by == TimeBy::wall ? "wall" : "thread"},
           {"peak_gflops", report.peak.gflops},
           {"read_gbytes_per_second", report.peak.gbytes_per_second},
           {"networks", Json::array()},
           {"families", Json::array()},
           {"layers", Json::array()},
           {"peers_missing", report.peers_missing}};
  for (const NetworkResult& network : report.networks) {
    out["networks"].push_back(to_json(network, report));
    for (const LayerResult& layer : network.layers) {
      out["layers"].push_back(to_json(layer, network.name));
    }
  }
  for (const Family& f : families(report)) {
    const bool peers = f.peer > 0;
    out["families"].push_back({{"name", f.name},
                               {"networks", f.networks},
                               {"ours_ms", ms(f.ours)},
                               {"best_peer_ms", peers ? Json(ms(f.peer)) : Json()},
                               {"ratio", peers ? Json(f.peer / f.ours) : Json()}});
  }
  return out.dump(1) + "\n";
}

}  // namespace sbcnn::bench
