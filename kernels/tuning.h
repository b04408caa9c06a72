// Which algorithm was fastest for which layer: measured once on a board, kept between runs.
//
// A Tuning is a map in memory; whoever owns it loads and saves it as text (apps/ does, in a cache
// folder). Keys say everything that a choice hangs on but the machine: instruction set, precision,
// threads, layer, shapes. One thread at a time.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "kernels/algorithm.h"

namespace sbcnn::kernels {

class Tuning {
 public:
  std::optional<ConvAlgorithm> find(const std::string& key) const;
  void record(const std::string& key, ConvAlgorithm);
  bool changed() const { return changed_; }  // something was recorded since the last decode
  std::size_t size() const { return choices_.size(); }

  // One line a choice: "ALGORITHM KEY". Lines that decode does not understand are left out, for
  // another version may have written them; they are measured anew.
  std::string encode() const;
  void decode(std::string_view text);

 private:
  std::map<std::string, ConvAlgorithm, std::less<>> choices_;
  bool changed_ = false;
};

}  // namespace sbcnn::kernels
