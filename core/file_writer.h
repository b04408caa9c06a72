// Writes a file as a whole or not at all: into a temporary file beside it, which takes its name
// when all is on disk. What is no regular file (a device, a pipe) is written in place.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace sbcnn {

class FileWriter {
 public:
  // All throw Error(io) naming the file.
  explicit FileWriter(const std::filesystem::path&);
  ~FileWriter();  // removes what was not committed
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;

  void write(std::span<const std::byte>);
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;
  void open_temporary();

  std::filesystem::path named_;      // as the caller called it
  std::filesystem::path target_;     // behind symbolic links
  std::filesystem::path temporary_;  // empty: written in place, or committed
  int fd_ = -1;
};

}  // namespace sbcnn
