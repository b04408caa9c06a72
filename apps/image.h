// Images: from the bytes of a file to the network's input.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "core/model.h"
#include "core/tensor.h"

namespace sbcnn::apps {

inline constexpr std::size_t kMaxPixels = std::size_t{1} << 26;  // 8192 x 8192

// 8 bits a channel, rows from the top, channels last: grey (1) or RGB (3).
struct Image {
  Shape shape;
  std::vector<std::uint8_t> pixels;
};

// JPEG, PNG, PGM or PPM (P5, P6), told apart by content. Transparency is dropped, 16-bit samples
// become 8-bit ones. Sizes are checked before memory is taken. Throws Error(format) naming
// `origin` and the reason if the image is damaged, cut off or something else.
Image decode_image(std::span<const std::byte> file, const std::string& origin);

// The whole file, if it has at most `limit` bytes. Throws Error(io).
std::vector<std::byte> read_file(const std::filesystem::path&, std::size_t limit);

// The part of an image that is resized, in pixels and fractions of them.
struct Box {
  double top = 0, left = 0, height = 0, width = 0;
};

// `height` x `width` x channels floats in 0..255. Bilinear; when shrinking, the triangle grows
// with the scale so that every pixel counts (as Pillow and torchvision's antialias do).
std::vector<float> resize(const Image&, const Box&, int height, int width);

// The network's input of `shape`, which has 1 or 3 channels: fitted, in the network's channel
// order, (pixel - mean) / stddev. Missing mean or stddev: 0 and 1; one entry: for all channels.
// Throws Error(unsupported) if an image cannot give `shape`, or the numbers do not fit it.
Tensor preprocess(const Image&, const Shape& shape, const Preprocess&);

}  // namespace sbcnn::apps
