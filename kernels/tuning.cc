#include "kernels/tuning.h"

#include <algorithm>

namespace sbcnn::kernels {

std::optional<ConvAlgorithm> Tuning::find(const std::string& key) const {
  const auto found = choices_.find(key);
  return found == choices_.end() ? std::nullopt : std::optional(found->second);
}

void Tuning::record(const std::string& key, ConvAlgorithm algorithm) {
  choices_.insert_or_assign(key, algorithm);
  changed_ = true;
}

std::string Tuning::encode() const {
  std::string text;
  for (const auto& [key, algorithm] : choices_) {
    text += std::string(name_of(algorithm)) + " " + key + "\n";
  }
  return text;
}

void Tuning::decode(std::string_view text) {
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const std::size_t space = line.find(' ');
    if (space == line.npos || space + 1 == line.size()) {
      continue;
    }
    if (const auto algorithm = algorithm_named(line.substr(0, space))) {
      choices_.insert_or_assign(std::string(line.substr(space + 1)), *algorithm);
    }
  }
  changed_ = false;
}

}  // namespace sbcnn::kernels
