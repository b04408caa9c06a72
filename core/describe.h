// A plan for people and for programs: its steps, and what each rank computes, holds and sends.
#pragma once

#include <span>
#include <string>

#include "core/memory.h"
#include "core/program.h"

namespace sbcnn {

// `memory` holds one entry a rank, or none.
std::string describe(const Model&, const Plan&, std::span<const RankMemory> memory = {});
// {"world", "hash", "ranks": [{"rank", "weight", "macs", "weight_bytes", "bytes_sent",
// "packed_weight_bytes", "activation_bytes", "scratch_bytes", "message_bytes", "loading_bytes",
// "process_bytes", "peak_memory_bytes"}], "steps": [{"op", "kind", "parameters", "result",
// "channels": [per rank], ...}]}; see RankMemory.
std::string describe_json(const Model&, const Plan&, std::span<const RankMemory> memory = {});

}  // namespace sbcnn
