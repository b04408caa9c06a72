#include "apps/npy.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <string_view>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

static_assert(std::endian::native == std::endian::little, "floats are written as they lie");

constexpr std::size_t kMaxHeader = 1 << 16;
constexpr std::size_t kHeaderSize = 128;  // of files that we write
constexpr std::string_view kMagic = "\x93NUMPY";

// Reads the Python dict of the header: {'descr': '<f4', 'fortran_order': False, 'shape': (2,), }
class HeaderParser {
 public:
  HeaderParser(std::string_view text, const std::string& origin) : text_(text), origin_(origin) {}

  NpyHeader parse() {
    expect('{');
    while (!take('}')) {
      const std::string key = string();
      expect(':');
      if (key == "descr" && !seen_descr_) {
        seen_descr_ = true;
        descr_ = peek() == '\'' || peek() == '"' ? string() : "of records";
      } else if (key == "fortran_order" && !seen_order_) {
        seen_order_ = true;
        header_.fortran_order = boolean();
      } else if (key == "shape" && !seen_shape_) {
        seen_shape_ = true;
        header_.sizes = tuple();
      } else {
        fail();
      }
      if (descr_ == "of records") {
        break;
      }
      if (!take(',') && peek() != '}') {
        fail();
      }
    }
    if (seen_descr_ && descr_ != "<f4") {
      throw Error(Error::Code::format,
                  origin_ + ": values of type " + descr_ + ": float32 is wanted (x.astype('<f4'))");
    }
    if (!seen_descr_ || !seen_order_ || !seen_shape_) {
      fail();
    }
    return header_;
  }

 private:
  [[noreturn]] void fail() const {
    throw Error(Error::Code::format, origin_ + ": damaged .npy header");
  }
  char peek() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) {
      ++at_;
    }
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) {
      return false;
    }
    ++at_;
    return true;
  }
  void expect(char c) {
    if (!take(c)) {
      fail();
    }
  }
  std::string string() {
    const char open = peek();
    const std::size_t end = open == '\'' || open == '"' ? text_.find(open, at_ + 1) : text_.npos;
    if (end == text_.npos) {
      fail();
    }
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool boolean() {
    peek();
    for (const std::string_view word : {"True", "False"}) {
      if (text_.substr(at_).starts_with(word)) {
        at_ += word.size();
        return word == "True";
      }
    }
    fail();
  }
  std::vector<std::size_t> tuple() {
    std::vector<std::size_t> sizes;
    expect('(');
    while (!take(')')) {
      std::size_t value = 0;
      if (peek() < '0' || peek() > '9' || sizes.size() == 32) {
        fail();
      }
      for (; at_ < text_.size() && text_[at_] >= '0' && text_[at_] <= '9'; ++at_) {
        if (value > (std::size_t{1} << 56) / 10) {
          fail();
        }
        value = value * 10 + std::size_t(text_[at_] - '0');
      }
      sizes.push_back(value);
      if (!take(',') && peek() != ')') {
        fail();
      }
    }
    return sizes;
  }

  std::string_view text_;
  const std::string& origin_;
  std::size_t at_ = 0;
  std::string descr_;
  bool seen_descr_ = false, seen_order_ = false, seen_shape_ = false;
  NpyHeader header_;
};

std::string to_text(const std::vector<std::size_t>& sizes) {
  std::string text;
  for (const std::size_t s : sizes) {
    text += (text.empty() ? "" : " x ") + std::to_string(s);
  }
  return text.empty() ? "a scalar" : text;
}

// Frames of `shape` in an array of `sizes`, or nothing if it does not hold such frames.
std::optional<std::size_t> frames_in(const std::vector<std::size_t>& sizes, const Shape& shape) {
  const std::vector<std::size_t> frame{std::size_t(shape.channels), std::size_t(shape.height),
                                       std::size_t(shape.width)};
  const auto ends_with = [&](std::size_t skip, std::size_t axes) {
    return std::equal(sizes.begin() + std::ptrdiff_t(skip), sizes.end(), frame.begin(),
                      frame.begin() + std::ptrdiff_t(axes));
  };
  if (sizes.size() == 4 && ends_with(1, 3)) {
    return sizes[0];
  }
  if (sizes.size() == 3 && ends_with(0, 3)) {
    return 1;
  }
  if (sizes.size() == 2 && shape.pixels() == 1 && ends_with(1, 1)) {
    return sizes[0];
  }
  return std::nullopt;
}

}  // namespace

NpyHeader parse_npy_header(std::span<const std::byte> begin, std::size_t file_size,
                           const std::string& origin) {
  const std::string_view text(reinterpret_cast<const char*>(begin.data()), begin.size());
  const auto fail = [&](const std::string& why) {
    throw Error(Error::Code::format, origin + ": " + why);
  };
  if (!text.starts_with(kMagic) || text.size() < 12) {
    fail(text.starts_with(kMagic) ? "cut off .npy file" : "not an .npy file");
  }
  const auto byte = [&](std::size_t i) { return std::size_t(std::to_integer<int>(begin[i])); };
  const std::size_t version = byte(6);
  if (version < 1 || version > 3) {
    fail(".npy version " + std::to_string(version) + " is not known");
  }
  const std::size_t prefix = version == 1 ? 10 : 12;
  const std::size_t size =
      byte(8) | byte(9) << 8 | (version == 1 ? 0 : byte(10) << 16 | byte(11) << 24);
  if (size > text.size() - prefix) {
    fail("cut off .npy file: its header is not whole");
  }
  NpyHeader header = HeaderParser(text.substr(prefix, size), origin).parse();
  header.data_offset = prefix + size;
  std::size_t expected = 4;
  for (const std::size_t s : header.sizes) {
    if (s != 0 && expected > (std::size_t{1} << 56) / s) {
      fail("an .npy file of an absurd size: " + to_text(header.sizes));
    }
    expected *= s;
  }
  if (file_size != header.data_offset + expected) {
    fail("damaged .npy file: " + std::to_string(file_size) + " bytes, its header says " +
         std::to_string(header.data_offset + expected));
  }
  return header;
}

// --- reading ---------------------------------------------------------------------------------

NpyFrames::NpyFrames(const std::filesystem::path& path, const Shape& shape)
    : name_(path.string()), file_(std::fopen(path.c_str(), "rbe")), shape_(shape) {
  std::error_code error;
  const auto size = std::filesystem::file_size(path, error);
  if (file_ == nullptr || error) {
    throw Error(Error::Code::io, name_ + ": cannot open: " + std::strerror(errno));
  }
  std::vector<std::byte> begin(kMaxHeader);
  begin.resize(std::fread(begin.data(), 1, begin.size(), file_.get()));
  const NpyHeader header = parse_npy_header(begin, std::size_t(size), name_);
  const std::optional<std::size_t> count = frames_in(header.sizes, shape);
  if (!count) {
    throw Error(Error::Code::format,
                name_ + ": has shape " + to_text(header.sizes) + ", the network wants N x " +
                    to_text({std::size_t(shape.channels), std::size_t(shape.height),
                             std::size_t(shape.width)}));
  }
  count_ = *count;
  fortran_order_ = header.fortran_order && header.sizes.size() > 1;
  if (std::fseek(file_.get(), long(header.data_offset), SEEK_SET) != 0) {
    throw Error(Error::Code::io, name_ + ": cannot seek: " + std::strerror(errno));
  }
  if (fortran_order_) {
    whole_.resize(count_ * shape_.size());
    read(whole_.data(), whole_.size());
  } else {
    frame_.resize(shape_.size());
  }
}

void NpyFrames::read(float* to, std::size_t count) {
  errno = 0;
  if (std::fread(to, sizeof(float), count, file_.get()) != count) {
    throw Error(Error::Code::io, name_ + ": cannot read: " +
                                     (errno != 0 ? std::strerror(errno) : "the file got shorter"));
  }
}

std::optional<Tensor> NpyFrames::next(Tensor memory) {
  if (done_ == count_) {
    return std::nullopt;
  }
  if (!fortran_order_) {
    read(frame_.data(), frame_.size());
  }
  const std::size_t height = std::size_t(shape_.height);
  const std::size_t width = std::size_t(shape_.width);
  const std::size_t channels = std::size_t(shape_.channels);
  Tensor tensor =
      memory.shape() == shape_ && memory.border().empty() ? std::move(memory) : Tensor(shape_);
  float* to = tensor.view().data();
  const float* const from = fortran_order_ ? whole_.data() + done_ : frame_.data();
  const std::size_t channel = fortran_order_ ? count_ : height * width;  // steps
  const std::size_t row = fortran_order_ ? count_ * channels : width;
  const std::size_t column = fortran_order_ ? count_ * channels * height : 1;
  for (std::size_t y = 0; y < height; ++y) {
    for (std::size_t x = 0; x < width; ++x) {
      for (std::size_t c = 0; c < channels; ++c) {
        *to++ = from[c * channel + y * row + x * column];
      }
    }
  }
  ++done_;
  return tensor;
}

// --- writing ---------------------------------------------------------------------------------

NpyWriter::NpyWriter(const std::filesystem::path& path, const Shape& row)
    : path_(path), file_(std::fopen(path.c_str(), "wbe")), row_(row), planes_(row.size()) {
  if (file_ == nullptr) {
    fail();
  }
  write(header().data(), kHeaderSize);
}

NpyWriter::~NpyWriter() {
  if (file_ == nullptr) {
    return;
  }
  std::fclose(file_);
  std::error_code ignored;
  if (std::filesystem::is_regular_file(path_, ignored)) {
    std::filesystem::remove(path_, ignored);
  }
}

void NpyWriter::fail() const {
  throw Error(Error::Code::io, path_.string() + ": cannot write: " + std::strerror(errno));
}

void NpyWriter::write(const void* data, std::size_t size) {
  if (std::fwrite(data, 1, size, file_) != size) {
    fail();
  }
}

std::string NpyWriter::header() const {
  std::string text(kMagic);
  text += {'\1', '\0', char(kHeaderSize - 10), '\0'};
  text += "{'descr': '<f4', 'fortran_order': False, 'shape': (" + std::to_string(count_) + ", " +
          std::to_string(row_.channels);
  if (row_.pixels() != 1) {
    text += ", " + std::to_string(row_.height) + ", " + std::to_string(row_.width);
  }
  text += "), }";
  text.resize(kHeaderSize - 1, ' ');
  return text + '\n';
}

void NpyWriter::add(std::span<const float> row) {
  require(file_ != nullptr, "NpyWriter::add: closed");
  require(row.size() == row_.size(), "NpyWriter::add: a row of another shape");
  const std::size_t channels = std::size_t(row_.channels);
  for (std::size_t p = 0; p < row_.pixels(); ++p) {
    for (std::size_t c = 0; c < channels; ++c) {
      planes_[c * row_.pixels() + p] = row[p * channels + c];
    }
  }
  write(planes_.data(), planes_.size() * sizeof(float));
  ++count_;
}

void NpyWriter::close() {
  require(file_ != nullptr, "NpyWriter::close: closed already");
  const std::string text = header();
  if (std::fseek(file_, 0, SEEK_SET) != 0) {
    fail();
  }
  write(text.data(), text.size());
  if (std::fflush(file_) != 0) {
    fail();
  }
  std::FILE* file = std::exchange(file_, nullptr);
  if (std::fclose(file) != 0) {
    fail();
  }
}

}  // namespace sbcnn::apps
