#include "core/file_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#include "core/error.h"

namespace sbcnn {

FileWriter::FileWriter(const std::filesystem::path& path) : named_(path), target_(path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) {
    errno = EISDIR;
    fail("cannot be written");
  }
  if (!std::filesystem::exists(status)) {
    open_temporary();
  } else if (std::filesystem::is_regular_file(status)) {
    target_ = std::filesystem::canonical(path, error);
    open_temporary();
  } else {
    fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  }
  if (fd_ < 0) {
    fail("cannot be written");
  }
}

FileWriter::~FileWriter() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
  if (!temporary_.empty()) {
    ::unlink(temporary_.c_str());
  }
}

void FileWriter::fail(const char* what) const {
  throw Error(Error::Code::io,
              named_.string() + ": " + what + ": " + std::generic_category().message(errno));
}

void FileWriter::open_temporary() {
  constexpr int attempts = 100;
  for (int i = 0; i < attempts && fd_ < 0; ++i) {
    temporary_ = target_;
    temporary_ += "." + std::to_string(::getpid()) + "-" + std::to_string(i) + ".part";
    fd_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd_ < 0 && errno != EEXIST) {
      break;
    }
  }
  if (fd_ < 0) {
    temporary_.clear();
  }
}

void FileWriter::write(std::span<const std::byte> bytes) {
  constexpr std::size_t most = std::size_t{1} << 26;  // Linux writes less than 2 GiB at once
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd_, bytes.data(), std::min(bytes.size(), most));
    if (n > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(n));
    } else if (n == 0 || errno != EINTR) {
      fail("cannot be written whole");
    }
  }
}

void FileWriter::commit() {
  if (temporary_.empty()) {
    return;
  }
  if (::fsync(fd_) != 0 || ::rename(temporary_.c_str(), target_.c_str()) != 0) {
    fail("cannot be written whole");
  }
  temporary_.clear();
}

}  // namespace sbcnn
