#include "apps/report.h"

#include <doctest/doctest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using namespace std::chrono_literals;
using sbcnn::test::has;

namespace {

constexpr Shape kThree{1, 1, 3};

RunFacts facts() {
  RunFacts f;
  f.model = "net.onnx";
  f.boards = {
      {0, "desk", 0, 4, "avx2", kernels::Precision::fp32, 0, 0},
      {1, "pi-with-a-long-name", 2, 3, "neon", kernels::Precision::fp16, 3 << 20, 10 << 20}};
  f.bytes_per_frame = 1234;
  f.seconds = 2;
  return f;
}

ReportOptions options(int top = 2, bool json = false) {
  ReportOptions o;
  o.top = top;
  o.json = json;
  o.labels = {"cat", "dog"};
  return o;
}

std::vector<int> indices(const std::vector<Guess>& guesses) {
  std::vector<int> all;
  for (const Guess& g : guesses) {
    all.push_back(g.index);
  }
  return all;
}

}  // namespace

TEST_CASE("top_k: a softmax over the scores, best first, of equals the lower index") {
  const std::vector<float> scores{1, 3, 2, 3};
  const auto guesses = top_k(scores, 3, false);
  CHECK(indices(guesses) == std::vector<int>{1, 3, 2});
  const double sum = std::exp(-2.0) + 1 + std::exp(-1.0) + 1;
  CHECK(guesses[0].probability == doctest::Approx(1 / sum));
  CHECK(guesses[2].probability == doctest::Approx(std::exp(-1.0) / sum));
}

TEST_CASE("top_k: probabilities stay as they are") {
  const std::vector<float> scores{0.25f, 0.75f};
  CHECK(top_k(scores, 2, true)[0].probability == 0.75f);
}

TEST_CASE("top_k: more than there are, none, and nothing to choose from") {
  const std::vector<float> scores{1, 2};
  CHECK(top_k(scores, 9, false).size() == 2);
  CHECK(top_k(scores, 0, false).empty());
  CHECK(top_k({}, 3, false).empty());
}

TEST_CASE("top_k: huge scores, infinities and NaN do no harm") {
  const float inf = std::numeric_limits<float>::infinity();
  CHECK(top_k(std::vector<float>{1e38f, -1e38f}, 1, false)[0].probability == 1);
  CHECK(top_k(std::vector<float>{0, inf}, 1, false)[0].probability == 1);
  CHECK(indices(top_k(std::vector<float>{NAN, -5, NAN}, 3, false)) == std::vector<int>{1, 0, 2});
  CHECK(top_k(std::vector<float>{NAN, -5}, 1, false)[0].probability == 1);
  CHECK(top_k(std::vector<float>{NAN, NAN}, 1, false)[0].index == 0);
}

TEST_CASE("ends_in_softmax: looks at the last layer") {
  Model model({1, 1, 4});
  model.add("relu", Activate{}, {0});
  CHECK_FALSE(ends_in_softmax(model));
  model.add("softmax", Softmax{}, {1});
  CHECK(ends_in_softmax(model));
}

TEST_CASE("percentile: nearest rank") {
  CHECK(percentile({}, 0.5) == 0ns);
  CHECK(percentile({7ns}, 0.99) == 7ns);
  CHECK(percentile({4ns, 1ns, 3ns, 2ns}, 0.5) == 2ns);
  CHECK(percentile({4ns, 1ns, 3ns, 2ns}, 0.99) == 4ns);
  CHECK(percentile({4ns, 1ns, 3ns, 2ns}, 0) == 1ns);
}

TEST_CASE("human_bytes: binary units") {
  CHECK(human_bytes(0) == "0 B");
  CHECK(human_bytes(1023) == "1023 B");
  CHECK(human_bytes(1024) == "1.0 KiB");
  CHECK(human_bytes(1536 << 10) == "1.5 MiB");
  CHECK(human_bytes(std::size_t{5} << 40) == "5.0 TiB");
}

TEST_CASE("report: a frame's guesses with labels, or numbers of classes without one") {
  RunReport report(options(3));
  CHECK(report.add("a.jpg", 0, kThree, std::vector<float>{0, 100, 50}, 1ms) ==
        "a.jpg\n  100.0 %  dog\n    0.0 %  class 2\n    0.0 %  cat");
  CHECK(report.frames() == 1);
}

TEST_CASE("report: wrong guesses say what was expected, and accuracy counts them") {
  ReportOptions o = options(1);
  o.expected = {0, 1, 0};
  RunReport report(o);
  CHECK_FALSE(has(report.add("a", 0, kThree, std::vector<float>{9, 0, 0}, 1ms), "expected"));
  CHECK(has(report.add("c", 2, kThree, std::vector<float>{0, 9, 0}, 1ms), "c  (expected cat)"));
  CHECK(has(report.finish(facts()), "top-1 accuracy 50.00 % (1 of 2)\n"));
}

TEST_CASE("report: accuracy is counted when no guesses are shown") {
  ReportOptions o = options(0);
  o.expected = {1};
  RunReport report(o);
  CHECK(report.add("a", 0, kThree, std::vector<float>{0, 9, 0}, 1ms).empty());
  CHECK(has(report.finish(facts()), "100.00 % (1 of 1)"));
}

TEST_CASE("report: boards in columns, speed, latency, traffic") {
  RunReport report(options(0));
  for (int i = 1; i <= 100; ++i) {
    report.add("x", std::size_t(i), kThree, std::vector<float>{0, 1, 2},
               std::chrono::milliseconds(i));
  }
  RunFacts f = facts();
  f.failures = {"b.png: damaged"};
  CHECK(report.finish(f) ==
        "board                rank  weight  threads     isa  precision     weights  peak memory\n"
        "desk                    0       0        4    avx2       fp32         0 B            -\n"
        "pi-with-a-long-name     1       2        3    neon       fp16     3.0 MiB     10.0 MiB\n"
        "\n"
        "100 images in 2.00 s: 50.0 images/s, latency p50 50.00 ms, p99 99.00 ms\n"
        "1234 bytes exchanged per image\n"
        "1 of 101 files could not be read\n");
}

TEST_CASE("report: outputs that are no classes are not guessed at") {
  RunReport report(options());
  CHECK(report.add("a", 0, {2, 2, 3}, std::vector<float>(12), 1ms) ==
        "a  3 x 2 x 2 values (see --output)");
}

TEST_CASE("report: one JSON document holds everything") {
  ReportOptions o = options(2, true);
  o.expected = {1, 1};
  RunReport report(o);
  CHECK(report.add("a.jpg", 0, kThree, std::vector<float>{0, 100, 50}, 5ms).empty());
  report.add("b\xff.jpg", 1, kThree, std::vector<float>{NAN, 0, 1}, 7ms);
  RunFacts f = facts();
  f.warnings = {"idle"};
  const auto json = nlohmann::json::parse(report.finish(f));
  CHECK(json["model"] == "net.onnx");
  CHECK(json["boards"].size() == 2);
  CHECK(json["boards"][1]["host"] == "pi-with-a-long-name");
  CHECK(json["boards"][1]["weight_bytes"] == 3 << 20);
  CHECK(json["images"] == 2);
  CHECK(json["images_per_second"] == 1.0);
  CHECK(json["boards"][0]["isa"] == "avx2");
  CHECK(json["boards"][1]["precision"] == "fp16");
  CHECK(json["latency_ms"]["min"] == 5.0);
  CHECK(json["latency_ms"]["p50"] == 5.0);
  CHECK(json["latency_ms"]["p99"] == 7.0);
  CHECK(json["bytes_per_image"] == 1234);
  CHECK(json["accuracy"]["right"] == 1);
  CHECK(json["accuracy"]["top1"] == 0.5);
  CHECK(json["warnings"][0] == "idle");
  CHECK(json["failed"].empty());
  CHECK(json["results"][0]["input"] == "a.jpg");
  CHECK(json["results"][0]["top"][0]["label"] == "dog");
  CHECK(json["results"][0]["top"][1]["class"] == 2);
  CHECK(json["results"][1]["expected"] == 1);
}

TEST_CASE("report: an empty run") {
  RunFacts f = facts();
  f.seconds = 0;
  CHECK(has(RunReport(options()).finish(f), "0 images in 0.00 s: 0.0 images/s"));
  const auto json = nlohmann::json::parse(RunReport(options(2, true)).finish(f));
  CHECK(json["results"].empty());
}

TEST_CASE("progress: a bar, the rate and the time left") {
  CHECK(progress_text(0, 100, 0) == "[>                       ]  0/100");
  CHECK(progress_text(50, 100, 2) == "[============>           ]  50/100  25.0 images/s  2 s left");
  CHECK(progress_text(100, 100, 4) == "[========================]  100/100  25.0 images/s");
  CHECK(has(progress_text(0, 0, 1), "0/0"));
}
