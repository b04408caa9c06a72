// What a rank computes with: instruction set, precision, threads, measured choices.
//
// Rank 0 wishes (SessionOptions), every board settles for what it has.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "apps/tuning_cache.h"
#include "core/program.h"
#include "kernels/isa.h"

namespace sbcnn::apps {

// Every name that there is; not all are in this binary.
std::span<const kernels::Isa> built_isas();           // what this binary has code for
std::string names_of(std::span<const kernels::Isa>);  // "sse2, avx2"

struct ComputeWishes {
  int threads = 0;                       // 0: the board's cores, shared by its ranks
  int slots = 1;                         // ranks on that board
  std::optional<kernels::Isa> isa = {};  // none: the board's best
  kernels::Precision precision = kernels::Precision::fp32;
  bool reference = false;  // plain and slow, for comparison
  bool tune = true;
  std::filesystem::path cache = {};  // folder; empty: the default one

  friend bool operator==(const ComputeWishes&, const ComputeWishes&) = default;
};

struct ComputeSettings {
  int threads = 1;
  kernels::Isa isa = kernels::best_isa();
  kernels::Precision precision = kernels::Precision::fp32;  // fp32 where the board lacks fp16
  bool reference = false;
  bool tune = true;
  std::filesystem::path cache = {};

  std::string isa_name() const;  // "avx2", ..., "reference"
};

// Throws Error(usage) if this board lacks the instruction set; `who` stands in front.
ComputeSettings settle(const ComputeWishes&, const std::string& who);

// The kernels of one rank and the choices measured for them.
class RankKernels {
 public:
  RankKernels(const ComputeSettings&, const Program&);
  KernelFactory& factory() { return *factory_; }
  // Makes kernels without weights and lets them go again, if nothing has been measured for these
  // tasks yet: so choices are made before weights come, which then need not share memory with the
  // alternatives. Calls `between` after each kernel; it may throw.
  void measure(const Program&, const std::function<void()>& between = {});
  // After all kernels were made: keeps what was measured for the next run. "", or a line that
  // says why that failed, which harms nothing else.
  std::string keep();

 private:
  std::optional<TuningCache> cache_;
  std::unique_ptr<KernelFactory> factory_;  // looks into the cache's Tuning
};

}  // namespace sbcnn::apps
