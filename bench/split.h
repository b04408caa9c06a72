// A convolution in groups as one convolution for each group, over dense copies of their channels:
// many libraries are faster that way. Dividing and joining the values is not charged.
#pragma once

#include "bench/side.h"

namespace sbcnn::bench {

// "ALGORITHM, split" for a few groups; null for one group, and for many (depthwise), which nobody
// would split. Any other `algorithm` goes to the factory as it is.
std::unique_ptr<BoundConv> make_conv(ConvFactory&, const PlacedConv&, const Weights&,
                                     const std::string& algorithm);
std::string split(const std::string& algorithm);  // its name

}  // namespace sbcnn::bench
