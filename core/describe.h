// A plan for people and for programs: its steps, and what each rank computes, holds and sends.
#pragma once

#include <string>

#include "core/program.h"

namespace sbcnn {

std::string describe(const Model&, const Plan&);
// {"world", "hash", "ranks": [{"rank", "weight", "macs", "weight_bytes", "activation_bytes",
// "bytes_sent"}], "steps": [{"op", "node", "layer", "shape", "channels": [per rank] , ...}]}
std::string describe_json(const Model&, const Plan&);

}  // namespace sbcnn
