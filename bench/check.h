// Whether all sides compute the same: each distinct layer against the reference.
#pragma once

#include <map>
#include <span>
#include <string>

#include "bench/side.h"

namespace sbcnn::bench {

// By side: the largest difference over all its algorithms and the network's layers, relative to the
// layer's largest output. Throws std::runtime_error if one is above 1e-4.
std::map<std::string, double> check(const Network&, std::span<const Side* const>);

}  // namespace sbcnn::bench
