#include <png.h>
#include <turbojpeg.h>

#include <cctype>
#include <cstring>
#include <memory>
#include <optional>
#include <string_view>

#include "apps/image.h"
#include "core/error.h"

namespace sbcnn::apps {
namespace {

using Bytes = std::span<const std::byte>;

[[noreturn]] void fail(const std::string& origin, const std::string& why) {
  throw Error(Error::Code::format, origin + ": " + why);
}

Image make_image(const std::string& origin, long height, long width, int channels) {
  if (height < 1 || width < 1) {
    fail(origin, "an image without pixels");
  }
  if (std::size_t(height) > kMaxPixels / std::size_t(width)) {
    fail(origin, "an image of " + std::to_string(width) + " x " + std::to_string(height) +
                     " pixels is too large (at most 67 million)");
  }
  Image image;
  image.shape = {int(height), int(width), channels};
  image.pixels.resize(image.shape.size());
  return image;
}

// --- JPEG ------------------------------------------------------------------------------------

// libjpeg goes on after damage with grey instead of the picture; of its warnings only stray
// bytes between segments, which some cameras write, leave the picture whole.
void check_jpeg(tjhandle jpeg, int status, const std::string& origin) {
  if (status == 0) {
    return;
  }
  const std::string_view why = tjGetErrorStr2(jpeg);
  const bool harmless =
      tjGetErrorCode(jpeg) == TJERR_WARNING && why.find("extraneous bytes") != why.npos;
  if (!harmless) {
    fail(origin, "damaged JPEG: " + std::string(why));
  }
}

Image decode_jpeg(Bytes file, const std::string& origin) {
  const std::unique_ptr<void, int (*)(tjhandle)> jpeg(tjInitDecompress(), tjDestroy);
  if (jpeg == nullptr) {
    fail(origin, "cannot start the JPEG decoder");
  }
  const auto* data = reinterpret_cast<const unsigned char*>(file.data());
  const auto size = static_cast<unsigned long>(file.size());
  int width = 0;
  int height = 0;
  int subsampling = 0;
  int colours = 0;
  check_jpeg(jpeg.get(),
             tjDecompressHeader3(jpeg.get(), data, size, &width, &height, &subsampling, &colours),
             origin);
  if (width < 1 || height < 1) {  // libjpeg takes tables alone for a whole file
    fail(origin, "damaged JPEG: it ends before the picture begins");
  }
  if (colours == TJCS_CMYK || colours == TJCS_YCCK) {
    fail(origin, "a CMYK JPEG: convert it to RGB");
  }
  const bool grey = colours == TJCS_GRAY;
  Image image = make_image(origin, height, width, grey ? 1 : 3);
  check_jpeg(jpeg.get(),
             tjDecompress2(jpeg.get(), data, size, image.pixels.data(), width, 0, height,
                           grey ? TJPF_GRAY : TJPF_RGB, TJFLAG_ACCURATEDCT | TJFLAG_LIMITSCANS),
             origin);
  return image;
}

// --- PNG -------------------------------------------------------------------------------------

Image decode_png(Bytes file, const std::string& origin) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  const std::unique_ptr<png_image, void (*)(png_image*)> owner(&png, png_image_free);
  if (png_image_begin_read_from_memory(&png, file.data(), file.size()) == 0) {
    fail(origin, std::string("damaged PNG: ") + png.message);
  }
  // Deflate shrinks at most 1032:1, a pixel has at least a bit: a header may not promise more.
  if (std::size_t(png.width) > kMaxPixels || std::size_t(png.height) > kMaxPixels ||
      std::size_t(png.width) * png.height / 8 > file.size() * 1032) {
    fail(origin, "damaged PNG: " + std::to_string(png.width) + " x " + std::to_string(png.height) +
                     " pixels cannot come from a file so small");
  }
  const bool grey = (png.format & PNG_FORMAT_FLAG_COLOR) == 0;
  const std::size_t channels = grey ? 1 : 3;
  Image image = make_image(origin, long(png.height), long(png.width), int(channels));
  png.flags |= PNG_IMAGE_FLAG_16BIT_sRGB;
  png.format = grey ? PNG_FORMAT_GA : PNG_FORMAT_RGBA;
  std::vector<std::uint8_t> with_alpha(image.shape.pixels() * (channels + 1));
  if (png_image_finish_read(&png, nullptr, with_alpha.data(), 0, nullptr) == 0) {
    fail(origin, std::string("damaged PNG: ") + png.message);
  }
  for (std::size_t i = 0; i < image.shape.pixels(); ++i) {
    std::memcpy(image.pixels.data() + i * channels, with_alpha.data() + i * (channels + 1),
                channels);
  }
  return image;
}

// --- PNM -------------------------------------------------------------------------------------

// The next number of a PNM header: white space and # comments, then decimal digits.
std::optional<int> header_number(std::string_view text, std::size_t& at) {
  while (at < text.size() &&
         (text[at] == '#' || std::isspace(static_cast<unsigned char>(text[at])) != 0)) {
    at = text[at] == '#' ? std::min(text.find('\n', at), text.size()) : at + 1;
  }
  const std::size_t begin = at;
  int value = 0;
  for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at) {
    value = value * 10 + (text[at] - '0');
    if (value > 100'000'000) {
      return std::nullopt;
    }
  }
  return at == begin ? std::nullopt : std::optional(value);
}

Image decode_pnm(Bytes file, const std::string& origin) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  std::size_t at = 2;
  const auto width = header_number(text, at);
  const auto height = width ? header_number(text, at) : std::nullopt;
  const auto most = height ? header_number(text, at) : std::nullopt;
  if (!most || *most < 1 || *most > 65535 || at == text.size() ||
      std::isspace(static_cast<unsigned char>(text[at])) == 0) {
    fail(origin, "damaged PNM: its header wants width, height and largest value");
  }
  const std::size_t begin = at + 1;
  const std::size_t channels = text[1] == '5' ? 1 : 3;
  const std::size_t bytes = *most < 256 ? 1 : 2;
  // Before memory is taken: the file must hold what its header promises.
  const auto samples = std::size_t(*width) * std::size_t(*height) * channels;  // below 2^56
  if (samples * bytes > text.size() - begin) {
    fail(origin, "damaged PNM: cut off after " + std::to_string(text.size()) + " bytes");
  }
  Image image = make_image(origin, *height, *width, int(channels));
  for (std::size_t i = 0; i < samples; ++i) {
    const auto* p = reinterpret_cast<const std::uint8_t*>(file.data()) + begin + i * bytes;
    const int value = std::min(bytes == 1 ? p[0] : p[0] * 256 + p[1], *most);
    image.pixels[i] = std::uint8_t((value * 255 + *most / 2) / *most);
  }
  return image;
}

}  // namespace

Image decode_image(std::span<const std::byte> file, const std::string& origin) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.empty()) {
    fail(origin, "an empty file");
  }
  if (text.starts_with("\xff\xd8\xff")) {
    return decode_jpeg(file, origin);
  }
  if (text.starts_with("\x89PNG")) {
    return decode_png(file, origin);
  }
  if (text.starts_with("P5") || text.starts_with("P6")) {
    return decode_pnm(file, origin);
  }
  fail(origin, "not an image that sbcnn reads (JPEG, PNG, PGM, PPM)");
}

}  // namespace sbcnn::apps
