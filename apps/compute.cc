#include "apps/compute.h"

#include <algorithm>

#include "apps/board.h"
#include "apps/processor.h"
#include "core/error.h"
#include "kernels/fast.h"
#include "kernels/reference.h"
#include "kernels/spec.h"

namespace sbcnn::apps {
namespace {

using kernels::Isa;
using kernels::Precision;

}  // namespace

std::span<const Isa> built_isas() {
#if defined(__x86_64__)
  return kernels::all_isas().first(3);
#else
  return kernels::all_isas().last(1);
#endif
}

std::string names_of(std::span<const Isa> isas) {
  std::string all;
  for (const Isa isa : isas) {
    all += (all.empty() ? "" : ", ") + std::string(name_of(isa));
  }
  return all;
}

ComputeSettings settle(const ComputeWishes& wishes, const std::string& who) {
  ComputeSettings s;
  s.threads = wishes.threads > 0 ? wishes.threads : default_threads(wishes.slots);
  s.reference = wishes.reference;
  s.tune = wishes.tune && !wishes.reference;
  s.cache = wishes.cache.empty() ? default_cache_folder() : wishes.cache;
  const auto available = kernels::available_isas();
  s.isa = wishes.isa.value_or(kernels::best_isa());
  if (std::ranges::find(available, s.isa) == available.end()) {
    throw Error(Error::Code::usage,
                who + " lacks the instruction set " + std::string(name_of(s.isa)) + ", it has " +
                    names_of(available) +
                    ": name one that all boards have, or none, and each takes its best");
  }
  s.precision =
      !s.reference && supports(s.isa, wishes.precision) ? wishes.precision : Precision::fp32;
  return s;
}

std::string ComputeSettings::isa_name() const {
  return reference ? "reference" : std::string(name_of(isa));
}

RankKernels::RankKernels(const ComputeSettings& settings, const Program& program) {
  if (settings.reference) {
    factory_ = kernels::make_reference_kernels();
    return;
  }
  kernels::KernelOptions options;
  options.threads = settings.threads;
  options.isa = settings.isa;
  options.precision = settings.precision;
  if (settings.tune) {
    cache_.emplace(settings.cache,
                   TuningSubject{hash_of_tasks(program), this_processor().name, settings.isa,
                                 settings.threads, settings.precision});
    options.tuning = &cache_->tuning();
  }
  factory_ = kernels::make_kernels(options);
}

void RankKernels::measure(const Program& program, const std::function<void()>& between) {
  if (!cache_ || cache_->tuning().size() != 0) {
    return;
  }
  for (const Action& action : program.actions) {
    const auto* task = std::get_if<Task>(&action);
    if (task == nullptr || task->spec.output.size() == 0) {
      continue;
    }
    if (std::holds_alternative<Conv>(task->spec.layer)) {
      const WeightShape shape = kernels::weights_of(task->spec);
      factory_->make(task->spec, {std::vector<float>(shape.weight), {}});
      if (between) {
        between();
      }
    }
  }
}

std::string RankKernels::keep() {
  return cache_ ? cache_->save() : "";
}

}  // namespace sbcnn::apps
