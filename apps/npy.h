// NumPy's .npy files of float32 (versions 1 to 3 of the header, little endian, C or Fortran
// order). Errors name the file: Error(io) if it cannot be used, Error(format) if it is damaged
// or of another kind.
#pragma once

#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/tensor.h"

namespace sbcnn::apps {

struct NpyHeader {
  std::vector<std::size_t> sizes;
  bool fortran_order = false;
  std::size_t data_offset = 0;  // bytes
};
// `begin` is the file's beginning, `file_size` its size, which must match the header's exactly.
NpyHeader parse_npy_header(std::span<const std::byte> begin, std::size_t file_size,
                           const std::string& origin);

// Frames of a network's input: N x C x H x W, C x H x W, and N x C where H and W are 1. In C
// order frames are read one by one; in Fortran order the whole file lies in memory.
class NpyFrames {
 public:
  // Throws Error(format), naming both shapes, if the file does not hold frames of `shape`.
  NpyFrames(const std::filesystem::path&, const Shape& shape);
  std::size_t count() const { return count_; }
  // Nothing after the last. Uses `memory`, if it has the shape, rather than fresh one.
  std::optional<Tensor> next(Tensor memory = {});

 private:
  void read(float* to, std::size_t count);

  struct Close {
    void operator()(std::FILE* f) const { std::fclose(f); }
  };
  std::string name_;
  std::unique_ptr<std::FILE, Close> file_;
  Shape shape_;
  std::size_t count_ = 0, done_ = 0;
  bool fortran_order_ = false;
  std::vector<float> frame_, whole_;
};

// Writes rows of equal shape as they come: N x C if height and width are 1, else N x C x H x W.
// A file that was not closed in order is removed.
class NpyWriter {
 public:
  NpyWriter(const std::filesystem::path&, const Shape& row);
  ~NpyWriter();
  NpyWriter(NpyWriter&&) = delete;

  void add(std::span<const float> row);  // H x W x C
  void close();                          // writes the number of rows into the header

 private:
  void write(const void* data, std::size_t size);
  std::string header() const;
  [[noreturn]] void fail() const;

  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
  Shape row_;
  std::size_t count_ = 0;
  std::vector<float> planes_;
};

}  // namespace sbcnn::apps
