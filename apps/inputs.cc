#include "apps/inputs.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <string_view>

#include "apps/idx.h"
#include "apps/image.h"
#include "apps/npy.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxImageFile = std::size_t{1} << 30;
constexpr std::size_t kMaxLabelFile = std::size_t{1} << 24;

bool is_image_name(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return char(std::tolower(c)); });
  constexpr std::string_view known[] = {".jpg", ".jpeg", ".png", ".ppm", ".pgm", ".pnm"};
  return std::find(std::begin(known), std::end(known), extension) != std::end(known);
}

std::vector<std::string> images_below(const std::string& folder) {
  std::vector<std::string> found;
  std::error_code error;
  fs::recursive_directory_iterator i(folder, error);
  for (; !error && i != fs::recursive_directory_iterator(); i.increment(error)) {
    std::error_code unknown;
    if (is_image_name(i->path()) && !i->is_directory(unknown)) {
      found.push_back(i->path().string());
    }
  }
  if (error) {
    throw Error(Error::Code::io, folder + ": cannot list the folder: " + error.message());
  }
  if (found.empty()) {
    throw Error(Error::Code::io, folder + ": no images below this folder (jpg, png, ppm, pgm)");
  }
  std::sort(found.begin(), found.end());
  return found;
}

// Of any type of values, so that the error can say which ones are read.
bool is_idx(std::string_view begin) {
  return begin.size() >= 4 && begin[0] == 0 && begin[1] == 0 && begin[2] >= 8 && begin[2] <= 14;
}

std::string first_bytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    throw Error(Error::Code::io, path + ": cannot open: " + std::strerror(errno));
  }
  std::string bytes(8, '\0');
  file.read(bytes.data(), std::streamsize(bytes.size()));
  bytes.resize(std::size_t(file.gcount()));
  return bytes;
}

}  // namespace

// What one argument gives. `skipped` is set when an input was left out, with its reason.
class Inputs::Source {
 public:
  struct Item {
    std::string name;
    Tensor value;
    std::string skipped;
  };
  virtual ~Source() = default;
  virtual std::size_t count() const = 0;
  virtual std::optional<Item> next(Tensor memory) = 0;
};

class Inputs::ImageFile : public Source {
 public:
  ImageFile(const Inputs& inputs, std::string path) : inputs_(inputs), path_(std::move(path)) {}
  std::size_t count() const override { return 1; }
  std::optional<Item> next(Tensor /*memory*/) override {
    if (std::exchange(done_, true)) {
      return std::nullopt;
    }
    const Image image = decode_image(read_file(path_, kMaxImageFile), path_);
    return Item{path_, preprocess(image, inputs_.shape_, inputs_.how_), ""};
  }

 private:
  const Inputs& inputs_;
  std::string path_;
  bool done_ = false;
};

class Inputs::Folder : public Source {
 public:
  Folder(const Inputs& inputs, const std::string& path)
      : inputs_(inputs), files_(images_below(path)) {}
  std::size_t count() const override { return files_.size(); }
  std::optional<Item> next(Tensor /*memory*/) override {
    if (at_ == files_.size()) {
      return std::nullopt;
    }
    const std::string& path = files_[at_++];
    try {
      return ImageFile(inputs_, path).next({});
    } catch (const Error& e) {
      if (e.code() != Error::Code::io && e.code() != Error::Code::format) {
        throw;  // the fault is not the file's
      }
      return Item{path, {}, e.what()};
    }
  }

 private:
  const Inputs& inputs_;
  std::vector<std::string> files_;
  std::size_t at_ = 0;
};

class Inputs::Idx : public Source {
 public:
  Idx(const Inputs& inputs, const std::string& path)
      : inputs_(inputs), path_(path), images_(path) {}
  std::size_t count() const override { return images_.count(); }
  std::optional<Item> next(Tensor /*memory*/) override {
    const auto image = images_.next();
    if (!image) {
      return std::nullopt;
    }
    return Item{path_ + "[" + std::to_string(at_++) + "]",
                preprocess(*image, inputs_.shape_, inputs_.how_), ""};
  }

 private:
  const Inputs& inputs_;
  std::string path_;
  IdxImages images_;
  std::size_t at_ = 0;
};

class Inputs::Npy : public Source {
 public:
  Npy(const Inputs& inputs, const std::string& path) : path_(path), frames_(path, inputs.shape_) {}
  std::size_t count() const override { return frames_.count(); }
  std::optional<Item> next(Tensor memory) override {
    auto frame = frames_.next(std::move(memory));
    if (!frame) {
      return std::nullopt;
    }
    return Item{path_ + "[" + std::to_string(at_++) + "]", std::move(*frame), ""};
  }

 private:
  std::string path_;
  NpyFrames frames_;
  std::size_t at_ = 0;
};

Inputs::Inputs(const std::vector<std::string>& arguments, const Shape& shape, Preprocess how)
    : shape_(shape), how_(std::move(how)) {
  for (const std::string& argument : arguments) {
    sources_.push_back(open(argument));
    count_ += sources_.back()->count();
  }
}

Inputs::~Inputs() = default;

std::unique_ptr<Inputs::Source> Inputs::open(const std::string& argument) {
  std::error_code error;
  if (fs::is_directory(argument, error)) {
    has_images_ = true;
    return std::make_unique<Folder>(*this, argument);
  }
  const std::string begin = first_bytes(argument);
  if (begin.starts_with("\x93NUMPY")) {
    return std::make_unique<Npy>(*this, argument);
  }
  has_images_ = true;
  if (begin.starts_with("\x1f\x8b") || is_idx(begin)) {
    return std::make_unique<Idx>(*this, argument);
  }
  return std::make_unique<ImageFile>(*this, argument);
}

std::optional<Input> Inputs::next() {
  while (!sources_.empty()) {
    auto item = sources_.front()->next(std::exchange(memory_, {}));
    if (!item) {
      sources_.pop_front();
      continue;
    }
    const std::size_t index = index_++;
    if (item->skipped.empty()) {
      return Input{std::move(item->name), index, std::move(item->value)};
    }
    failures_.push_back(std::move(item->skipped));
  }
  return std::nullopt;
}

std::vector<std::string> read_labels(const std::string& path) {
  const std::vector<std::byte> bytes = read_file(path, kMaxLabelFile);
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (text.find('\0') != text.npos) {
    throw Error(Error::Code::format, path + ": not a text file: one label a line is wanted");
  }
  std::vector<std::string> labels;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = text.substr(begin, end - begin);
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    labels.emplace_back(line);
    begin = end + 1;
  }
  if (labels.empty()) {
    throw Error(Error::Code::format, path + ": no labels in it");
  }
  return labels;
}

}  // namespace sbcnn::apps
