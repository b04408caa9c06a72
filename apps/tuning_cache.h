// Measured choices of algorithms (kernels/tuning.h), kept between runs: one file for each pair of
// what a rank computes and the processor it computes on.
//
// File: a first line "sbcnn-tuning 1 HASH SUBJECT", then Tuning::encode. HASH is that of all lines
// that follow, so that a damaged file is told from a whole one; SUBJECT says in words what the
// file's name says as a hash. Whatever is odd about a file (cut short, of another version, somebody
// else's, not there) counts as no file: then choices are measured anew. Files are written whole or
// not at all, so several ranks may write the same one.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "kernels/isa.h"
#include "kernels/tuning.h"

namespace sbcnn::apps {

// What measured choices hang on.
struct TuningSubject {
  std::uint64_t tasks = 0;  // hash_of_tasks
  std::string processor;    // its name
  kernels::Isa isa = kernels::best_isa();
  int threads = 1;
  kernels::Precision precision = kernels::Precision::fp32;

  std::string text() const;  // on one line, the version of sbcnn included
};

// From the environment: $XDG_CACHE_HOME/sbcnn, else $HOME/.cache/sbcnn; empty if neither is set.
std::filesystem::path default_cache_folder();

class TuningCache {
 public:
  // Reads what is there for `subject`; never throws for what is not. `folder` may be empty: then
  // nothing is kept.
  TuningCache(std::filesystem::path folder, const TuningSubject& subject);

  kernels::Tuning& tuning() { return tuning_; }
  const std::filesystem::path& file() const { return file_; }
  // Writes what was measured since, if anything. "", or one line that says why that failed.
  std::string save();

 private:
  std::filesystem::path folder_, file_;
  std::string subject_;
  kernels::Tuning tuning_;
};

// How much a folder holds, of whatever subjects; of a folder that is not there nothing.
struct TuningCount {
  std::size_t files = 0, choices = 0;
};
TuningCount count_tunings(const std::filesystem::path& folder);

}  // namespace sbcnn::apps
