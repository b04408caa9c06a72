#include "apps/idx.h"

#include <fcntl.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

constexpr std::size_t kMaxItems = std::size_t{1} << 32;
constexpr std::size_t kMaxItem = std::size_t{1} << 28;  // bytes

gzFile handle(const std::shared_ptr<void>& file) {
  return static_cast<gzFile>(file.get());
}

}  // namespace

IdxFile::IdxFile(const std::filesystem::path& path) : name_(path.string()) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  gzFile gz = fd < 0 ? nullptr : gzdopen(fd, "rb");
  if (gz == nullptr) {
    throw Error(Error::Code::io, name_ + ": cannot open: " + std::strerror(errno));
  }
  file_ = std::shared_ptr<void>(gz, [](void* f) { gzclose_r(static_cast<gzFile>(f)); });
  std::array<std::uint8_t, 4> magic{};
  read(magic.data(), magic.size());
  if (magic[0] != 0 || magic[1] != 0 || magic[3] < 1 || magic[3] > 4) {
    fail("not an IDX file");
  }
  if (magic[2] != 8) {
    fail("an IDX file of other values than unsigned bytes");
  }
  item_ = 1;
  for (int i = 0; i < magic[3]; ++i) {
    std::array<std::uint8_t, 4> b{};
    read(b.data(), b.size());
    sizes_.push_back(std::size_t(b[0]) << 24 | std::size_t(b[1]) << 16 | std::size_t(b[2]) << 8 |
                     b[3]);
    if (i > 0 && (sizes_.back() == 0 || sizes_.back() > kMaxItem / item_)) {
      fail("items of an absurd size: " + std::to_string(sizes_.back()));
    }
    item_ *= i > 0 ? sizes_.back() : 1;
  }
  if (count() > kMaxItems / item_) {
    fail("more than 4 GiB of items");
  }
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  const std::size_t expected = 4 + 4 * sizes_.size() + count() * item_;
  if (!error && gzdirect(gz) != 0 && size != expected) {
    fail("damaged IDX file: " + std::to_string(size) + " bytes, its header says " +
         std::to_string(expected));
  }
}

IdxFile::~IdxFile() = default;
IdxFile::IdxFile(IdxFile&&) noexcept = default;

void IdxFile::fail(const std::string& why) const {
  throw Error(Error::Code::format, name_ + ": " + why);
}

void IdxFile::read(void* to, std::size_t size) {
  const int count = gzread(handle(file_), to, static_cast<unsigned>(size));
  if (count == int(size)) {
    return;
  }
  int code = 0;
  const char* why = gzerror(handle(file_), &code);
  if (count < 0 && code == Z_ERRNO) {
    throw Error(Error::Code::io, name_ + ": cannot read: " + std::strerror(errno));
  }
  fail(count < 0 && code != Z_BUF_ERROR ? std::string("damaged gzip file: ") + why
                                        : "cut off: the file ends too early");
}

std::optional<std::vector<std::uint8_t>> IdxFile::next() {
  if (done_ == count()) {
    std::uint8_t more = 0;
    const int extra = gzread(handle(file_), &more, 1);  // verifies the checksum, too
    int code = 0;
    const char* why = gzerror(handle(file_), &code);
    if (extra > 0) {
      fail("damaged IDX file: more in it than its header says");
    }
    if (extra < 0 || (code != Z_OK && code != Z_STREAM_END)) {
      fail(std::string("damaged gzip file: ") + why);
    }
    return std::nullopt;
  }
  std::vector<std::uint8_t> item(item_);
  read(item.data(), item.size());
  ++done_;
  return item;
}

IdxImages::IdxImages(const std::filesystem::path& path) : file_(path) {
  const auto& sizes = file_.sizes();
  const bool grey = sizes.size() == 3;
  if (!grey && !(sizes.size() == 4 && (sizes[3] == 1 || sizes[3] == 3))) {
    throw Error(Error::Code::format, path.string() + ": an IDX file of " +
                                         std::to_string(sizes.size()) +
                                         " dimensions: images are N x H x W or N x H x W x C");
  }
  if (sizes[1] > kMaxPixels / sizes[2]) {
    throw Error(Error::Code::format, path.string() + ": images of " + std::to_string(sizes[2]) +
                                         " x " + std::to_string(sizes[1]) +
                                         " pixels are too large");
  }
  shape_ = {int(sizes[1]), int(sizes[2]), grey ? 1 : int(sizes[3])};
}

std::optional<Image> IdxImages::next() {
  auto item = file_.next();
  if (!item) {
    return std::nullopt;
  }
  return Image{shape_, std::move(*item)};
}

std::vector<int> read_idx_labels(const std::filesystem::path& path) {
  IdxFile file(path);
  if (file.sizes().size() != 1) {
    throw Error(Error::Code::format, path.string() + ": an IDX file of " +
                                         std::to_string(file.sizes().size()) +
                                         " dimensions: labels have one");
  }
  std::vector<int> labels;  // grows with what is there, whatever the header says
  while (const auto item = file.next()) {
    labels.push_back(item->front());
  }
  return labels;
}

}  // namespace sbcnn::apps
