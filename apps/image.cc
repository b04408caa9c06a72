#include "apps/image.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>

#include "core/error.h"

namespace sbcnn::apps {
namespace {

// What each output row or column is made of: weights[taps * i + k] of source index first[i] + k.
struct Taps {
  int taps = 0;
  std::vector<int> first;
  std::vector<float> weights;
};

Taps make_taps(int source, double begin, double length, int target) {
  const double scale = length / target;
  const double support = std::max(scale, 1.0);
  Taps t;
  t.taps = std::min(int(std::ceil(support)) * 2 + 1, source);
  for (int i = 0; i < target; ++i) {
    const double centre = begin + (i + 0.5) * scale;
    const int first = std::clamp(int(centre - support + 0.5), 0, source - t.taps);
    std::vector<double> w(std::size_t(t.taps));
    double sum = 0;
    for (int k = 0; k < t.taps; ++k) {
      w[std::size_t(k)] = std::max(0.0, 1 - std::abs(first + k + 0.5 - centre) / support);
      sum += w[std::size_t(k)];
    }
    t.first.push_back(first);
    for (const double v : w) {
      t.weights.push_back(float(v / sum));
    }
  }
  return t;
}

float luma(const float* rgb) {
  return 0.299f * rgb[0] + 0.587f * rgb[1] + 0.114f * rgb[2];
}

// One pixel of 1 or 3 channels as the network orders it.
void convert(const float* from, int have, float* to, int want, Preprocess::Order order) {
  if (want == 1) {
    to[0] = have == 1 ? from[0] : luma(from);
    return;
  }
  if (have == 1 || order == Preprocess::Order::grey) {
    std::fill_n(to, 3, have == 1 ? from[0] : luma(from));
    return;
  }
  const bool swap = order == Preprocess::Order::bgr;
  to[0] = from[swap ? 2 : 0];
  to[1] = from[1];
  to[2] = from[swap ? 0 : 2];
}

Box box_for(const Shape& image, const Shape& want, Preprocess::Fit fit) {
  const double height = image.height;
  const double width = image.width;
  if (fit == Preprocess::Fit::stretch) {
    return {0, 0, height, width};
  }
  const double step = std::min(height / want.height, width / want.width);  // of a target pixel
  const double h = std::min(height, step * want.height);
  const double w = std::min(width, step * want.width);
  return {(height - h) / 2, (width - w) / 2, h, w};
}

float entry(const std::vector<float>& values, int channel, float fallback) {
  return values.empty() ? fallback : values[values.size() == 1 ? 0 : std::size_t(channel)];
}

void check(const Shape& shape, const Preprocess& how) {
  if (shape.channels != 1 && shape.channels != 3) {
    throw Error(Error::Code::unsupported, "the network wants " + std::to_string(shape.channels) +
                                              " channels: no image has them, feed an .npy file");
  }
  for (const auto* values : {&how.mean, &how.stddev}) {
    if (values->size() > 1 && values->size() != std::size_t(shape.channels)) {
      throw Error(Error::Code::unsupported, "preprocessing has " + std::to_string(values->size()) +
                                                (values == &how.mean ? " means" : " deviations") +
                                                " for " + std::to_string(shape.channels) +
                                                " channels: see --mean and --std");
    }
  }
  for (const float s : how.stddev) {
    if (!std::isfinite(s) || s == 0) {
      throw Error(Error::Code::unsupported, "preprocessing divides by 0: see --std");
    }
  }
}

}  // namespace

std::vector<std::byte> read_file(const std::filesystem::path& path, std::size_t limit) {
  const auto fail = [&](const std::string& why) {
    throw Error(Error::Code::io, path.string() + ": " + why);
  };
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    fail("is a folder");
  }
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    fail(std::string("cannot open: ") + std::strerror(errno));
  }
  std::vector<std::byte> bytes;
  for (std::size_t chunk = 1 << 16; file; chunk *= 2) {  // pipes have no size
    const std::size_t before = bytes.size();
    bytes.resize(before + std::min(chunk, limit + 1 - before));
    file.read(reinterpret_cast<char*>(bytes.data() + before),
              std::streamsize(bytes.size() - before));
    bytes.resize(before + std::size_t(file.gcount()));
    if (bytes.size() > limit) {
      fail("larger than " + std::to_string(limit >> 20) + " MiB");
    }
  }
  if (!file.eof()) {
    fail(std::string("cannot read: ") + std::strerror(errno));
  }
  return bytes;
}

std::vector<float> resize(const Image& image, const Box& box, int height, int width) {
  const Shape& s = image.shape;
  require(s.size() > 0 && s.size() == image.pixels.size(), "resize: no image");
  require(height > 0 && width > 0 && box.height > 0 && box.width > 0, "resize: empty target");
  const std::size_t channels = std::size_t(s.channels);
  const Taps columns = make_taps(s.width, box.left, box.width, width);
  const Taps rows = make_taps(s.height, box.top, box.height, height);
  const int top = rows.first.front();
  const int bottom = rows.first.back() + rows.taps;
  const std::size_t stride = std::size_t(width) * channels;

  std::vector<float> narrow(std::size_t(bottom - top) * stride);  // right width, source rows
  for (int y = top; y < bottom; ++y) {
    const std::uint8_t* row =
        image.pixels.data() + std::size_t(y) * std::size_t(s.width) * channels;
    float* out = narrow.data() + std::size_t(y - top) * stride;
    for (std::size_t x = 0; x < std::size_t(width); ++x) {
      const std::uint8_t* from = row + std::size_t(columns.first[x]) * channels;
      const float* w = columns.weights.data() + x * std::size_t(columns.taps);
      for (std::size_t c = 0; c < channels; ++c) {
        float sum = 0;
        for (std::size_t k = 0; k < std::size_t(columns.taps); ++k) {
          sum += w[k] * float(from[k * channels + c]);
        }
        out[x * channels + c] = sum;
      }
    }
  }

  std::vector<float> result(std::size_t(height) * stride);
  for (std::size_t y = 0; y < std::size_t(height); ++y) {
    float* out = result.data() + y * stride;
    for (std::size_t k = 0; k < std::size_t(rows.taps); ++k) {
      const float w = rows.weights[y * std::size_t(rows.taps) + k];
      const float* from = narrow.data() + (std::size_t(rows.first[y] - top) + k) * stride;
      for (std::size_t i = 0; i < stride; ++i) {
        out[i] += w * from[i];
      }
    }
  }
  return result;
}

Tensor preprocess(const Image& image, const Shape& shape, const Preprocess& how) {
  check(shape, how);
  const std::vector<float> fitted =
      resize(image, box_for(image.shape, shape, how.fit), shape.height, shape.width);
  Tensor tensor(shape);
  float* to = tensor.view().data();
  const float* from = fitted.data();
  for (std::size_t i = 0; i < shape.pixels(); ++i) {
    convert(from, image.shape.channels, to, shape.channels, how.order);
    for (int c = 0; c < shape.channels; ++c) {
      to[c] = (to[c] - entry(how.mean, c, 0)) / entry(how.stddev, c, 1);
    }
    from += image.shape.channels;
    to += shape.channels;
  }
  return tensor;
}

}  // namespace sbcnn::apps
