// What a run tells: guesses for each frame as it comes, then boards, speed, traffic, accuracy.
// For people as text, or as one JSON document. Nothing here prints: strings come back.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/session.h"
#include "core/model.h"

namespace sbcnn::apps {

struct Guess {
  int index = 0;  // of the class
  float probability = 0;
};
// The k most probable classes, best first; of equals the lower index. `scores` go through a
// softmax first unless they are probabilities already. NaN counts as least probable.
std::vector<Guess> top_k(std::span<const float> scores, int k, bool probabilities);
bool ends_in_softmax(const Model&);

struct ReportOptions {
  int top = 5;                 // guesses shown for each frame; 0: none
  bool json = false;           // one document at the end instead of text
  bool probabilities = false;  // outputs went through a softmax already
  std::vector<std::string> labels;
  std::vector<int> expected;  // class of each input, or empty
};

// What is known when a run is over.
struct RunFacts {
  std::string model;
  std::vector<BoardInfo> boards;
  std::size_t bytes_per_frame = 0;
  double seconds = 0;  // from the first frame in to the last result out
  std::vector<std::string> warnings, failures;
};

class RunReport {
 public:
  explicit RunReport(ReportOptions);
  ~RunReport();

  // Counts one result; `index` is the input's number. Returns lines for people, without the last
  // line break, or "" if there is nothing to show now.
  std::string add(const std::string& name, std::size_t index, const Shape& output_shape,
                  std::span<const float> output, std::chrono::nanoseconds latency);
  // The text or the JSON document, with its last line break.
  std::string finish(const RunFacts&) const;
  std::size_t frames() const { return latencies_.size(); }

 private:
  struct Results;  // the JSON document's, as far as they came
  std::string label(int index) const;
  std::string text(const RunFacts&) const;
  std::string json(const RunFacts&) const;

  ReportOptions options_;
  std::vector<std::chrono::nanoseconds> latencies_;
  std::size_t judged_ = 0, right_ = 0;
  std::unique_ptr<Results> results_;
};

// The value that a share `p` of the values, 0..1, do not exceed (nearest rank); 0 of none.
std::chrono::nanoseconds percentile(std::vector<std::chrono::nanoseconds> values, double p);
std::string human_bytes(std::size_t bytes);  // "1.2 MiB"

// "[=====>    ]  512/1024  80.0 images/s  6 s left"
std::string progress_text(std::size_t done, std::size_t total, double seconds);

// A progress bar on stderr, if that is a terminal; gone when this is.
class Progress {
 public:
  explicit Progress(std::size_t total);
  ~Progress();
  Progress(Progress&&) = delete;
  void update(std::size_t done);  // draws at most ten times a second
  void hide();                    // until the next update, so that other lines can be written

 private:
  std::size_t total_;
  std::chrono::steady_clock::time_point begin_, drawn_;
};

}  // namespace sbcnn::apps
