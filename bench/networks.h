// The networks whose convolutions are timed.
//
// Convolutions alone, in network order, each with bias and activation; batch normalisation is
// folded, additions and pooling are left out, so that every library computes the same.
// "NAME-slice4" is what one of four boards computes of NAME with 1.5 times the channels in 4 groups
// (one group),
// "-slice2" what one of two boards does (two groups); "@64" is the edge of the image where it is
// not 224.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "core/ports.h"

namespace sbcnn::bench {

// Values are numbered; what no step writes (the image, pooled maps) keeps its random contents.
struct ConvStep {
  KernelSpec spec;
  int input = 0, output = 0;
};

struct Network {
  std::string name;
  std::string family;  // networks whose times are summed in the report
  std::vector<Shape> values;
  std::vector<ConvStep> steps;
};

std::vector<std::string> network_names();
// `patterns` are names or shell wildcards ("resnet34*"). Throws Error(usage) if one matches none.
std::vector<Network> networks_named(std::span<const std::string> patterns);

// Where a value lies. Values of one shape share buffers as their lifetimes allow, so that layers
// read what the layer before just wrote.
struct Place {
  int buffer = 0;
  int part = 0;   // 0: the whole value; 1, 2, ...: dense copies of its groups
  Border border;  // zeros around it: what all readers of the buffer want together
};
std::vector<Place> place_values(const Network&);  // by value

// "3x3/2 64->128 @28": kernel, stride, channels, output rows; " g4": groups.
std::string describe(const KernelSpec&);
// Multiplications and additions of one frame, counted as direct convolution.
double flops(const KernelSpec&);

}  // namespace sbcnn::bench
