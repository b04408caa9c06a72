#include "core/describe.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/weight_slice.h"

namespace sbcnn {
namespace {

// One step as both forms show it.
struct Line {
  std::string op, detail, shape;     // Conv / alltoall; 3x3 s2 g4; CxHxW of the result
  std::string from, to;              // placements
  std::vector<int> channels;         // that each rank holds of the result
  std::vector<std::size_t> amounts;  // by rank: MACs of a step that computes, bytes sent otherwise
  bool computes = false;
};

std::string text(const Shape& s) {
  return std::to_string(s.channels) + "x" + std::to_string(s.height) + "x" +
         std::to_string(s.width);
}

std::string text(const Extent& e) {
  return std::to_string(e.height) + "x" + std::to_string(e.width);
}

std::string stride(const Extent& e) {
  return e == Extent{} ? "" : "/" + (e.height == e.width ? std::to_string(e.height) : text(e));
}

std::string detail_of(const Layer& layer, std::size_t inputs) {
  std::string s;
  const auto append = [&s](const std::string& word) {
    if (!word.empty()) {
      s += (s.empty() ? "" : " ") + word;
    }
  };
  if (const auto* conv = std::get_if<Conv>(&layer)) {
    append(text(conv->kernel) + stride(conv->stride));
    append(conv->groups > 1 ? "g" + std::to_string(conv->groups) : "");
    append(inputs == 2 ? "+ residual" : "");
    append(std::string(name_of(conv->activation.kind)));
  } else if (const auto* max = std::get_if<MaxPool>(&layer)) {
    append(text(max->window.kernel) + stride(max->window.stride));
  } else if (const auto* average = std::get_if<AveragePool>(&layer)) {
    append(text(average->window.kernel) + stride(average->window.stride));
  } else if (const auto* activate = std::get_if<Activate>(&layer)) {
    append(std::string(name_of(activate->activation.kind)));
  } else if (const auto* add = std::get_if<Add>(&layer)) {
    append(std::string(name_of(add->activation.kind)));
  }
  return s;
}

class Describer {
 public:
  Describer(const Model& model, const Plan& plan) : model_(model), plan_(plan) {
    for (int r = 0; r < plan.world; ++r) {
      programs_.push_back(make_program(model, plan, r));
      costs_.push_back(cost_of(model, plan, programs_.back()));
    }
    for (std::size_t s = 0; s < plan.steps.size(); ++s) {
      lines_.push_back(line(s));
    }
  }
  const std::vector<Line>& lines() const { return lines_; }
  const std::vector<RankCost>& costs() const { return costs_; }

 private:
  const Buffer& buffer(int b) const { return plan_.buffers[std::size_t(b)]; }

  Line line(std::size_t step) const {
    Line l;
    int output = 0;
    if (const auto* c = std::get_if<Compute>(&plan_.steps[step])) {
      const Node& node = model_.node(c->node);
      l.computes = true;
      l.op = name_of(node.layer);
      l.detail = detail_of(node.layer, node.inputs.size());
      l.from = name_of(placement_of(buffer(c->inputs[0]).layout));
      output = c->output;
    } else {
      const auto& x = std::get<Exchange>(plan_.steps[step]);
      l.op = name_of(x.op);
      l.from = name_of(placement_of(buffer(x.input).layout));
      output = x.output;
    }
    l.to = name_of(placement_of(buffer(output).layout));
    l.shape = text(model_.shape(buffer(output).value));
    for (int r = 0; r < plan_.world; ++r) {
      l.channels.push_back(int(buffer(output).layout.held[std::size_t(r)].size()));
      l.amounts.push_back(amount(step, r));
    }
    return l;
  }

  std::size_t amount(std::size_t step, int rank) const {
    const Action& action = programs_[std::size_t(rank)].actions[step];
    if (const auto* t = std::get_if<Transfer>(&action)) {
      return t->bytes_sent;
    }
    const KernelSpec& spec = std::get<Task>(action).spec;
    const bool multiplies =
        std::holds_alternative<Conv>(spec.layer) || std::holds_alternative<Dense>(spec.layer);
    return multiplies ? slice_shape(model_, plan_, int(step), rank).weight * spec.output.pixels()
                      : 0;
  }

  const Model& model_;
  const Plan& plan_;
  std::vector<Program> programs_;
  std::vector<RankCost> costs_;
  std::vector<Line> lines_;
};

std::string hex(std::uint64_t v) {
  char s[17];
  std::snprintf(s, sizeof s, "%016llx", static_cast<unsigned long long>(v));
  return s;
}

std::string format(const char* pattern, auto... values) {
  char s[256];
  std::snprintf(s, sizeof s, pattern, values...);
  return s;
}

std::string join(const std::vector<int>& values) {
  std::string s;
  for (const int v : values) {
    s += (s.empty() ? "" : " ") + std::to_string(v);
  }
  return s;
}

std::string megabytes(std::size_t bytes) {
  return format("%.2f", double(bytes) / 1e6);
}

// Resident bytes, in the units of a run's report.
std::string memory_table(std::span<const RankMemory> memory) {
  if (memory.empty()) {
    return "";
  }
  std::string text =
      format("\n%4s  %14s  %11s  %9s  %9s  %9s  %9s  %11s\n", "rank", "packed weights",
             "activations", "scratch", "messages", "loading", "process", "peak memory");
  for (std::size_t r = 0; r < memory.size(); ++r) {
    const RankMemory& m = memory[r];
    text += format("%4d", int(r));
    for (const auto& [bytes, width] : {std::pair{m.weights, 10},
                                       {m.activations, 7},
                                       {m.scratch, 5},
                                       {m.messages, 5},
                                       {m.loading, 5},
                                       {m.process, 5},
                                       {m.peak(), 7}}) {
      text += format("  %*.1f MiB", width, double(bytes) / (1 << 20));
    }
    text += "\n";
  }
  return text;
}

void add_memory(nlohmann::ordered_json& rank, const RankMemory& m) {
  rank["packed_weight_bytes"] = m.weights;
  rank["activation_bytes"] = m.activations;
  rank["scratch_bytes"] = m.scratch;
  rank["message_bytes"] = m.messages;
  rank["loading_bytes"] = m.loading;
  rank["process_bytes"] = m.process;
  rank["peak_memory_bytes"] = m.peak();
}

std::string amount_text(const Line& l) {
  const std::size_t most = *std::max_element(l.amounts.begin(), l.amounts.end());
  if (most == 0) {
    return "";
  }
  return l.computes ? format("%.2f MMAC", double(most) / 1e6)
                    : format("%.1f kB sent", double(most) / 1e3);
}

}  // namespace

std::string describe(const Model& model, const Plan& plan, std::span<const RankMemory> memory) {
  const Describer d(model, plan);
  std::ostringstream out;
  out << (model.name.empty() ? "network" : model.name) << ": input " << text(model.shape(0))
      << ", output " << text(model.shape(model.output())) << ", "
      << format("%.1f", double(mac_count(model)) / 1e6) << " MMAC, "
      << megabytes(weight_bytes(model)) << " MB of weights\n"
      << "plan " << hex(plan.hash()) << " for " << plan.world
      << (plan.world == 1 ? " rank" : " ranks") << "\n\n"
      << format("%4s  %-17s  %-22s  %-13s  %-24s  %-20s  %s\n", "step", "operation", "parameters",
                "result", "placement", "largest share", "channels by rank");
  for (std::size_t s = 0; s < d.lines().size(); ++s) {
    const Line& l = d.lines()[s];
    const std::string op = (l.computes ? "" : "> ") + l.op;
    out << format("%4d  %-17s  %-22s  %-13s  %-24s  %-20s  %s\n", int(s), op.c_str(),
                  l.detail.c_str(), l.shape.c_str(), (l.from + " > " + l.to).c_str(),
                  amount_text(l).c_str(), join(l.channels).c_str());
  }
  out << format("\n%4s  %6s  %10s  %11s  %14s\n", "rank", "weight", "MMAC", "weights MB",
                "sent kB/frame");
  for (std::size_t r = 0; r < d.costs().size(); ++r) {
    const RankCost& c = d.costs()[r];
    out << format("%4d  %6d  %10.2f  %11s  %14.1f\n", int(r), plan.weights[r], double(c.macs) / 1e6,
                  megabytes(c.weight_bytes).c_str(), double(c.bytes_sent) / 1e3);
  }
  return out.str() + memory_table(memory);
}

std::string describe_json(const Model& model, const Plan& plan,
                          std::span<const RankMemory> memory) {
  const Describer d(model, plan);
  nlohmann::ordered_json ranks = nlohmann::ordered_json::array();
  for (std::size_t r = 0; r < d.costs().size(); ++r) {
    const RankCost& c = d.costs()[r];
    ranks.push_back({{"rank", r},
                     {"weight", plan.weights[r]},
                     {"macs", c.macs},
                     {"weight_bytes", c.weight_bytes},
                     {"bytes_sent", c.bytes_sent}});
    if (!memory.empty()) {
      add_memory(ranks.back(), memory[r]);
    }
  }
  nlohmann::ordered_json steps = nlohmann::ordered_json::array();
  for (const Line& l : d.lines()) {
    steps.push_back({{"op", l.op},
                     {"kind", l.computes ? "compute" : "exchange"},
                     {"parameters", l.detail},
                     {"result", l.shape},
                     {"from", l.from},
                     {"to", l.to},
                     {"channels", l.channels},
                     {l.computes ? "macs" : "bytes_sent", l.amounts}});
  }
  const nlohmann::ordered_json all = {
      {"model", model.name},      {"world", plan.world},
      {"hash", hex(plan.hash())}, {"idle_ranks", plan.idle_ranks()},
      {"macs", mac_count(model)}, {"weight_bytes", weight_bytes(model)},
      {"ranks", ranks},           {"steps", steps}};
  return all.dump(2);
}

}  // namespace sbcnn
