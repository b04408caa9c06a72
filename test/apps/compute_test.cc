// What a board makes of what rank 0 wishes.
#include "apps/compute.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "apps/board.h"
#include "apps/job.h"
#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using kernels::Isa;
using kernels::Precision;
using sbcnn::test::error_of;
using sbcnn::test::has;

namespace {

// One that this machine surely lacks.
Isa foreign() {
  return kernels::best_isa() == Isa::neon ? Isa::avx2 : Isa::neon;
}

}  // namespace

TEST_CASE("compute: names go both ways") {
  for (const Isa isa : kernels::all_isas()) {
    CHECK(kernels::isa_named(name_of(isa)) == isa);
  }
  CHECK_FALSE(kernels::isa_named(""));
  CHECK_FALSE(kernels::isa_named("mmx"));
  CHECK(kernels::precision_named("fp16") == Precision::fp16);
  CHECK_FALSE(kernels::precision_named("fp8"));
}

TEST_CASE("compute: what is available was built") {
  for (const Isa isa : kernels::available_isas()) {
    CHECK(std::ranges::count(built_isas(), isa) == 1);
  }
}

TEST_CASE("compute: no wish gives the best of the board") {
  const ComputeSettings s = settle({}, "rank 1 (pi)");
  CHECK(s.isa == kernels::best_isa());
  CHECK(s.threads == default_threads(1));
  CHECK(s.precision == Precision::fp32);
  CHECK(s.tune);
}

TEST_CASE("compute: wishes that the board can fulfil") {
  for (const Isa isa : kernels::available_isas()) {
    ComputeWishes w;
    w.isa = isa;
    w.threads = 7;
    w.tune = false;
    w.cache = "/somewhere";
    const ComputeSettings s = settle(w, "rank 1 (pi)");
    CHECK(s.isa == isa);
    CHECK(s.isa_name() == name_of(isa));
    CHECK(s.threads == 7);
    CHECK_FALSE(s.tune);
    CHECK(s.cache == "/somewhere");
  }
}

TEST_CASE("compute: an instruction set that the board lacks is refused by name") {
  ComputeWishes w;
  w.isa = foreign();
  const std::string what = error_of([&] { settle(w, "rank 1 (pi)"); });
  CHECK(has(what, "rank 1 (pi)"));
  CHECK(has(what, std::string(name_of(foreign()))));
  CHECK(has(what, std::string(name_of(kernels::best_isa()))));
}

TEST_CASE("compute: fp16 where the board has it, else fp32") {
  for (const Isa isa : kernels::available_isas()) {
    ComputeWishes w;
    w.isa = isa;
    w.precision = Precision::fp16;
    CHECK((settle(w, "").precision == Precision::fp16) == supports(isa, Precision::fp16));
    w.reference = true;
    CHECK(settle(w, "").precision == Precision::fp32);
    CHECK_FALSE(settle(w, "").tune);
    CHECK(settle(w, "").isa_name() == "reference");
  }
}

TEST_CASE("job: wishes, answers and reports survive the wire") {
  Job job;
  job.weights = {1, 2};
  job.step_timeout_ms = 5;
  job.compute.isa = Isa::neon;
  job.compute.precision = Precision::fp16;
  job.compute.tune = false;
  job.compute.slots = 3;
  job.compute.cache = "/c";
  const Job there = decode_job(encode(job));
  CHECK(there.compute.isa == Isa::neon);
  CHECK(there.compute.precision == Precision::fp16);
  CHECK_FALSE(there.compute.tune);
  CHECK(there.compute.slots == 3);
  CHECK(there.compute.cache == "/c");
  job.compute.isa.reset();
  CHECK_FALSE(decode_job(encode(job)).compute.isa);

  Ready ready;
  ready.refusal = "no";
  ready.isa = "neon";
  ready.precision = Precision::fp16;
  CHECK(decode_ready(encode(ready)).refusal == "no");
  CHECK(decode_ready(encode(ready)).isa == "neon");
  CHECK(decode_ready(encode(ready)).precision == Precision::fp16);
  CHECK(decode_report(encode(Report{1, 2, "full"})).warning == "full");
  const auto bytes = encode(Report{1, 2, ""});
  CHECK_THROWS_AS(decode_ready(bytes), Error);
}
