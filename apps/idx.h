// IDX files (the format of MNIST), plain or gzipped: unsigned bytes with a header of big-endian
// sizes. Frames are read one after the other, so memory is that of one frame, and a gzipped file
// gives at most what its header says. Throws Error(io) if a file cannot be read and
// Error(format) if it is damaged, cut off or of another kind; both name it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/image.h"

namespace sbcnn::apps {

class IdxFile {
 public:
  explicit IdxFile(const std::filesystem::path&);
  ~IdxFile();
  IdxFile(IdxFile&&) noexcept;

  const std::vector<std::size_t>& sizes() const { return sizes_; }  // the first counts the items
  std::size_t count() const { return sizes_.front(); }
  // The next item; nothing after the last one, when all checksums have been verified.
  std::optional<std::vector<std::uint8_t>> next();

 private:
  void read(void* to, std::size_t size);
  [[noreturn]] void fail(const std::string& why) const;

  std::string name_;
  std::shared_ptr<void> file_;  // gzFile
  std::vector<std::size_t> sizes_;
  std::size_t item_ = 0;  // bytes
  std::size_t done_ = 0;
};

// Images: N x H x W (grey) or N x H x W x C.
class IdxImages {
 public:
  explicit IdxImages(const std::filesystem::path&);
  std::size_t count() const { return file_.count(); }
  std::optional<Image> next();

 private:
  IdxFile file_;
  Shape shape_;
};

// Labels: N.
std::vector<int> read_idx_labels(const std::filesystem::path&);

}  // namespace sbcnn::apps
