// A regular file, mapped read-only. The pages come in when they are touched and may leave again:
// a file larger than the memory can be read. Nobody may shorten the file meanwhile.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace sbcnn {

class MappedFile {
 public:
  // Throws Error(io) naming the file, also for what is no regular file. An empty file is fine.
  explicit MappedFile(const std::filesystem::path&);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }
  // Lets the pages of a part that begins at a page leave memory; they come back when they are
  // touched.
  void release(std::span<const std::byte> part) const;

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace sbcnn
