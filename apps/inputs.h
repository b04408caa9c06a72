// What `sbcnn run` is given to look at, as a stream of network inputs.
//
// An argument is an image file, a folder of images (all below it, sorted; .jpg .jpeg .png .ppm
// .pgm .pnm), an IDX image file (plain or gzipped) or an .npy file of ready inputs; files are told
// apart by content. Nothing is decoded before its turn. Damaged images in a folder are noted and
// left out; any other damage is an Error naming the file.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/model.h"
#include "core/tensor.h"

namespace sbcnn::apps {

struct Input {
  std::string name;       // file, and [index] if it holds several
  std::size_t index = 0;  // among all inputs, those left out included
  Tensor value;
};

class Inputs {
 public:
  // Looks at all arguments at once: throws if one is missing, holds no images or does not fit
  // the network.
  Inputs(const std::vector<std::string>& arguments, const Shape& shape, Preprocess how);
  ~Inputs();
  Inputs(Inputs&&) = delete;

  std::size_t count() const { return count_; }     // known beforehand, those left out included
  bool has_images() const { return has_images_; }  // something is preprocessed
  std::optional<Input> next();
  // Memory of an earlier input, which a later one may take; the system's would be cold and dear.
  void reuse(Tensor value) { memory_ = std::move(value); }
  // What was left out so far: "file: reason".
  const std::vector<std::string>& failures() const { return failures_; }

 private:
  class Source;
  class ImageFile;
  class Folder;
  class Idx;
  class Npy;
  std::unique_ptr<Source> open(const std::string& argument);

  Shape shape_;
  Preprocess how_;
  bool has_images_ = false;
  std::deque<std::unique_ptr<Source>> sources_;
  std::size_t count_ = 0, index_ = 0;
  Tensor memory_;
  std::vector<std::string> failures_;
};

// One label a line. Throws Error(io | format).
std::vector<std::string> read_labels(const std::string& path);

}  // namespace sbcnn::apps
