// Which ranks a job has, where they run, and what each is asked to compute with.
#pragma once

#include <vector>

#include "apps/compute.h"
#include "apps/hostfile.h"
#include "apps/session.h"

namespace sbcnn::apps {

// Throws Error(usage | io) where options and hostfile do not fit.
std::vector<RankHost> place_ranks(const SessionOptions&);
Cluster cluster_of(const std::vector<RankHost>&);

// A rank 0 of weight 0 only feeds the others: it need not have the instruction set that they have
// to have.
ComputeWishes wishes_for(const std::vector<RankHost>&, int rank, const SessionOptions&);

}  // namespace sbcnn::apps
