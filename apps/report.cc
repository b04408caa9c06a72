#include "apps/report.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>

#include "apps/console.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

using Nanoseconds = std::chrono::nanoseconds;

[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...) {
  char buffer[512];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(buffer, sizeof buffer, pattern, arguments);
  va_end(arguments);
  return buffer;
}

double milliseconds(Nanoseconds t) {
  return double(t.count()) / 1e6;
}

std::string padded(std::string text, std::size_t width) {
  text.resize(std::max(width, text.size()), ' ');
  return text;
}

std::string board_table(const std::vector<BoardInfo>& boards) {
  std::size_t width = 5;
  for (const BoardInfo& b : boards) {
    width = std::max(width, b.host.size());
  }
  std::string text = padded("board", width) +
                     "  rank  weight  threads     isa  precision     weights  peak memory\n";
  for (const BoardInfo& b : boards) {
    text += padded(b.host, width) +
            format("  %4d  %6d  %7d  %6s  %9s  %10s  %11s\n", b.rank, b.weight, b.threads,
                   b.isa.c_str(), std::string(name_of(b.precision)).c_str(),
                   human_bytes(b.weight_bytes).c_str(),
                   b.peak_memory == 0 ? "-" : human_bytes(b.peak_memory).c_str());
  }
  return text;
}

constexpr std::size_t kResultIndent = 4;

// Every line indented; bytes that are no UTF-8 are replaced.
std::string dump(const nlohmann::ordered_json& value, std::size_t indent) {
  const std::string text = value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace);
  const std::string margin(indent, ' ');
  std::string indented = margin;
  for (const char c : text) {
    indented += c;
    if (c == '\n') {
      indented += margin;
    }
  }
  return indented;
}

double share(std::size_t part, std::size_t whole) {
  return whole == 0 ? 0 : double(part) / double(whole);
}

}  // namespace

// The elements of the list of results, as text: many small values that stay would keep the memory
// of frames that go from being used again.
struct RunReport::Results {
  std::string list;
};

std::vector<Guess> top_k(std::span<const float> scores, int k, bool probabilities) {
  std::vector<int> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto value = [&](int i) {
    const float s = scores[std::size_t(i)];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  const auto middle =
      order.begin() + std::min(std::ptrdiff_t(std::max(k, 0)), std::ptrdiff_t(order.size()));
  std::partial_sort(order.begin(), middle, order.end(), [&](int a, int b) {
    return value(a) != value(b) ? value(a) > value(b) : a < b;
  });
  float largest = -std::numeric_limits<float>::infinity();
  double sum = 0;
  for (int i = 0; i < int(scores.size()); ++i) {
    largest = std::max(largest, value(i));
  }
  const auto weight = [&](int i) {  // exp(s - largest); equal infinities share
    return value(i) == largest ? 1.0 : std::exp(double(value(i)) - double(largest));
  };
  for (int i = 0; i < int(scores.size()); ++i) {
    sum += weight(i);
  }
  std::vector<Guess> guesses;
  for (auto i = order.begin(); i != middle; ++i) {
    guesses.push_back({*i, probabilities ? scores[std::size_t(*i)] : float(weight(*i) / sum)});
  }
  return guesses;
}

bool ends_in_softmax(const Model& model) {
  return !model.nodes().empty() && std::holds_alternative<Softmax>(model.nodes().back().layer);
}

std::chrono::nanoseconds percentile(std::vector<Nanoseconds> values, double p) {
  if (values.empty()) {
    return {};
  }
  const auto rank = std::size_t(std::ceil(p * double(values.size())));
  const auto nth =
      values.begin() + std::ptrdiff_t(std::clamp<std::size_t>(rank, 1, values.size())) - 1;
  std::nth_element(values.begin(), nth, values.end());
  return *nth;
}

std::string human_bytes(std::size_t bytes) {
  if (bytes < 1024) {
    return std::to_string(bytes) + " B";
  }
  double value = double(bytes);
  const char* unit = "";
  for (const char* u : {"KiB", "MiB", "GiB", "TiB"}) {
    if (value < 1024) {
      break;
    }
    value /= 1024;
    unit = u;
  }
  return format("%.1f %s", value, unit);
}

RunReport::RunReport(ReportOptions options)
    : options_(std::move(options)), results_(std::make_unique<Results>()) {}
RunReport::~RunReport() = default;

std::string RunReport::label(int index) const {
  const auto& labels = options_.labels;
  return std::size_t(index) < labels.size() ? labels[std::size_t(index)]
                                            : "class " + std::to_string(index);
}

std::string RunReport::add(const std::string& name, std::size_t index, const Shape& output_shape,
                           std::span<const float> output, Nanoseconds latency) {
  latencies_.push_back(latency);
  const bool classes = output_shape.pixels() == 1;
  const auto guesses = classes ? top_k(output, std::max(options_.top, 1), options_.probabilities)
                               : std::vector<Guess>{};
  const bool judged = !guesses.empty() && index < options_.expected.size();
  const bool right = judged && guesses.front().index == options_.expected[index];
  judged_ += judged ? 1 : 0;
  right_ += right ? 1 : 0;
  const std::size_t shown = std::min(guesses.size(), std::size_t(std::max(options_.top, 0)));

  if (options_.json) {
    nlohmann::ordered_json result{{"input", name}, {"latency_ms", milliseconds(latency)}};
    for (std::size_t i = 0; i < shown; ++i) {
      result["top"].push_back({{"class", guesses[i].index},
                               {"label", label(guesses[i].index)},
                               {"probability", guesses[i].probability}});
    }
    if (judged) {
      result["expected"] = options_.expected[index];
    }
    results_->list += (results_->list.empty() ? "\n" : ",\n") + dump(result, kResultIndent);
    return "";
  }
  if (options_.top == 0) {
    return "";
  }
  std::string text = name;
  if (!classes) {
    return text + format("  %d x %d x %d values (see --output)", output_shape.channels,
                         output_shape.height, output_shape.width);
  }
  if (judged && !right) {
    text += "  (expected " + label(options_.expected[index]) + ")";
  }
  for (std::size_t i = 0; i < shown; ++i) {
    text +=
        format("\n  %5.1f %%  ", double(guesses[i].probability) * 100) + label(guesses[i].index);
  }
  return text;
}

std::string RunReport::finish(const RunFacts& facts) const {
  return options_.json ? json(facts) : text(facts);
}

std::string RunReport::text(const RunFacts& facts) const {
  std::string text;
  if (options_.top > 0 && frames() > 0) {
    text += '\n';
  }
  text += board_table(facts.boards) + '\n';
  text +=
      format("%zu image%s in %.2f s: %.1f images/s, latency p50 %.2f ms, p99 %.2f ms\n", frames(),
             frames() == 1 ? "" : "s", facts.seconds,
             facts.seconds > 0 ? double(frames()) / facts.seconds : 0,
             milliseconds(percentile(latencies_, 0.5)), milliseconds(percentile(latencies_, 0.99)));
  text += format("%zu bytes exchanged per image\n", facts.bytes_per_frame);
  if (judged_ > 0) {
    text += format("top-1 accuracy %.2f %% (%zu of %zu)\n", 100 * share(right_, judged_), right_,
                   judged_);
  }
  if (!facts.failures.empty()) {
    text += format("%zu of %zu files could not be read\n", facts.failures.size(),
                   facts.failures.size() + frames());
  }
  return text;
}

std::string RunReport::json(const RunFacts& facts) const {
  nlohmann::ordered_json document{{"model", facts.model}};
  for (const BoardInfo& b : facts.boards) {
    document["boards"].push_back({{"rank", b.rank},
                                  {"host", b.host},
                                  {"weight", b.weight},
                                  {"threads", b.threads},
                                  {"isa", b.isa},
                                  {"precision", std::string(name_of(b.precision))},
                                  {"weight_bytes", b.weight_bytes},
                                  {"peak_memory_bytes", b.peak_memory}});
  }
  document["images"] = frames();
  document["seconds"] = facts.seconds;
  document["images_per_second"] = facts.seconds > 0 ? double(frames()) / facts.seconds : 0;
  document["latency_ms"] = {{"min", milliseconds(percentile(latencies_, 0))},
                            {"p50", milliseconds(percentile(latencies_, 0.5))},
                            {"p99", milliseconds(percentile(latencies_, 0.99))}};
  document["bytes_per_image"] = facts.bytes_per_frame;
  if (judged_ > 0) {
    document["accuracy"] = {
        {"top1", share(right_, judged_)}, {"right", right_}, {"judged", judged_}};
  }
  document["warnings"] = facts.warnings;
  document["failed"] = facts.failures;
  std::string text = dump(document, 0);
  text.resize(text.rfind("\n}"));
  return text + ",\n  \"results\": [" + results_->list + (results_->list.empty() ? "" : "\n  ") +
         "]\n}\n";
}

// --- progress --------------------------------------------------------------------------------

std::string progress_text(std::size_t done, std::size_t total, double seconds) {
  constexpr std::size_t kWidth = 24;
  const double part = std::min(1.0, share(done, total));
  const auto filled = std::size_t(part * double(kWidth));
  std::string bar(filled, '=');
  if (filled < kWidth) {
    bar += '>';
  }
  bar.resize(kWidth, ' ');
  std::string text = "[" + bar + "]  " + std::to_string(done) + "/" + std::to_string(total);
  if (done > 0 && seconds > 0) {
    const double rate = double(done) / seconds;
    text += format("  %.1f images/s", rate);
    if (done < total) {
      text += format("  %.0f s left", std::ceil(double(total - done) / rate));
    }
  }
  return text;
}

Progress::Progress(std::size_t total)
    : total_(total), begin_(std::chrono::steady_clock::now()), drawn_(begin_) {}

Progress::~Progress() {
  hide();
}

void Progress::update(std::size_t done) {
  const auto now = std::chrono::steady_clock::now();
  if (now - drawn_ >= std::chrono::milliseconds(100)) {
    drawn_ = now;
    show_status(progress_text(done, total_, std::chrono::duration<double>(now - begin_).count()));
  }
}

void Progress::hide() {
  show_status("");
}

}  // namespace sbcnn::apps
