// What `sbcnn run` would have resident on each rank, without running.
//
// core/memory.h counts what grows with the network. The rest is taken from this very process: what
// it has resident as it starts (its libraries), and the most and the rest after reading the model,
// which a run does in the same way; and from what connections and threads take, as measured.
#pragma once

#include <cstddef>
#include <vector>

#include "apps/hostfile.h"
#include "apps/session.h"
#include "core/memory.h"

namespace sbcnn::apps {

// Bytes that this process has resident: made before the model is read, completed after.
class ProcessMemory {
 public:
  ProcessMemory();
  void note_loaded();

  std::size_t start = 0;            // before
  std::size_t loaded = 0;           // after
  std::size_t most_of_loading = 0;  // in between
};

std::vector<RankMemory> predict_memory(const Model&, const Plan&, const std::vector<RankHost>&,
                                       const SessionOptions&, const ProcessMemory&);

}  // namespace sbcnn::apps
