#include "apps/image.h"

#include <doctest/doctest.h>
#include <png.h>
#include <turbojpeg.h>

#include <cmath>
#include <cstring>
#include <random>

#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using sbcnn::test::error_of;
using sbcnn::test::has;

namespace {

using Bytes = std::vector<std::byte>;

Bytes bytes_of(std::string_view text) {
  const auto* p = reinterpret_cast<const std::byte*>(text.data());
  return {p, p + text.size()};
}

// Smooth, so that JPEG keeps it; channels differ.
Image gradient(int height, int width, int channels) {
  Image image{{height, width, channels}, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (int c = 0; c < channels; ++c) {
        image.pixels.push_back(std::uint8_t(20 + 60 * c + 100 * y / height + 10 * x / width));
      }
    }
  }
  return image;
}

Bytes jpeg_of(const Image& image, int flags = 0) {
  unsigned char* data = nullptr;
  unsigned long size = 0;
  const bool grey = image.shape.channels == 1;
  const tjhandle jpeg = tjInitCompress();
  REQUIRE(tjCompress2(jpeg, image.pixels.data(), image.shape.width, 0, image.shape.height,
                      grey ? TJPF_GRAY : TJPF_RGB, &data, &size, grey ? TJSAMP_GRAY : TJSAMP_420,
                      95, flags) == 0);
  const Bytes bytes(reinterpret_cast<std::byte*>(data), reinterpret_cast<std::byte*>(data) + size);
  tjFree(data);
  tjDestroy(jpeg);
  return bytes;
}

Bytes png_of(const void* pixels, int height, int width, png_uint_32 format) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = png_uint_32(width);
  png.height = png_uint_32(height);
  png.format = format;
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(png);
  Bytes bytes(size);
  REQUIRE(png_image_write_to_memory(&png, bytes.data(), &size, 0, pixels, 0, nullptr) != 0);
  bytes.resize(size);
  return bytes;
}
Bytes png_of(const Image& image) {
  return png_of(image.pixels.data(), image.shape.height, image.shape.width,
                image.shape.channels == 1 ? PNG_FORMAT_GRAY : PNG_FORMAT_RGB);
}

Bytes pnm_of(const Image& image) {
  Bytes bytes = bytes_of((image.shape.channels == 1 ? "P5 " : "P6\n# made by a test\n") +
                         std::to_string(image.shape.width) + " " +
                         std::to_string(image.shape.height) + "\n255\n");
  const auto* p = reinterpret_cast<const std::byte*>(image.pixels.data());
  bytes.insert(bytes.end(), p, p + image.pixels.size());
  return bytes;
}

int largest_difference(const Image& a, const Image& b) {
  int most = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    most = std::max(most, std::abs(a.pixels[i] - b.pixels[i]));
  }
  return most;
}

std::string decode_error(const Bytes& bytes) {
  return error_of([&] { decode_image(bytes, "x.img"); });
}

Image flat(int height, int width, std::vector<std::uint8_t> colour) {
  Image image{{height, width, int(colour.size())}, {}};
  image.pixels.resize(image.shape.size());
  for (std::size_t i = 0; i < image.pixels.size(); ++i) {
    image.pixels[i] = colour[i % colour.size()];
  }
  return image;
}

}  // namespace

TEST_CASE("image: PNG, grey and colour, comes back exactly") {
  for (const int channels : {1, 3}) {
    for (const auto& [h, w] : {std::pair(1, 1), {7, 5}, {64, 33}}) {
      const Image image = gradient(h, w, channels);
      const Image decoded = decode_image(png_of(image), "x.png");
      CHECK(decoded.shape == image.shape);
      CHECK(decoded.pixels == image.pixels);
    }
  }
}

TEST_CASE("image: PNG transparency is dropped, colours stay") {
  const std::vector<std::uint8_t> rgba{10, 20, 30, 255, 40, 50, 60, 128, 70, 80, 90, 0};
  const Image decoded = decode_image(png_of(rgba.data(), 1, 3, PNG_FORMAT_RGBA), "x.png");
  CHECK(decoded.shape == Shape{1, 3, 3});
  CHECK(decoded.pixels == std::vector<std::uint8_t>{10, 20, 30, 40, 50, 60, 70, 80, 90});
}

TEST_CASE("image: JPEG, grey and colour, baseline and progressive, comes back closely") {
  for (const int channels : {1, 3}) {
    for (const int flags : {0, int(TJFLAG_PROGRESSIVE)}) {
      const Image image = gradient(48, 37, channels);
      const Image decoded = decode_image(jpeg_of(image, flags), "x.jpg");
      CHECK(decoded.shape == image.shape);
      CHECK(largest_difference(image, decoded) <= 6);
    }
  }
}

TEST_CASE("image: PGM and PPM come back exactly") {
  for (const int channels : {1, 3}) {
    const Image image = gradient(9, 4, channels);
    const Image decoded = decode_image(pnm_of(image), "x.ppm");
    CHECK(decoded.shape == image.shape);
    CHECK(decoded.pixels == image.pixels);
  }
}

TEST_CASE("image: PNM of other depths is scaled to 8 bits") {
  CHECK(decode_image(bytes_of(std::string("P5 3 1 1\n\0\1\7", 12)), "x").pixels ==
        std::vector<std::uint8_t>{0, 255, 255});
  CHECK(decode_image(bytes_of(std::string("P5 2 1 65535 \xff\xff\x80\x00", 17)), "x").pixels ==
        std::vector<std::uint8_t>{255, 128});
}

TEST_CASE("image: damaged PNM headers are refused with the reason") {
  for (const std::string text :
       {"P5", "P5 ", "P5 2", "P5 2 2", "P5 2 2 255", "P5 2 2 0 1234", "P5 2 2 65536 1234",
        "P5 -2 2 255 1234", "P5 a 2 255 1234", "P5 999999999999 1 255 1", "P6 # no end"}) {
    CAPTURE(text);
    CHECK(has(decode_error(bytes_of(text)), "x.img: damaged PNM: its header"));
  }
  CHECK(has(decode_error(bytes_of("P5 0 2 255 1234")), "without pixels"));
  CHECK(has(decode_error(bytes_of("P5 2 2 255 123")), "cut off"));
  CHECK(has(decode_error(bytes_of("P6 100000000 100000000 255 1")), "cut off"));
}

TEST_CASE("image: every truncation of every format is an error") {
  const Image image = gradient(24, 20, 3);
  const std::vector<Bytes> files{png_of(image), jpeg_of(image), jpeg_of(image, TJFLAG_PROGRESSIVE),
                                 pnm_of(image)};
  for (std::size_t f = 0; f < files.size(); ++f) {
    const bool jpeg = f == 1 || f == 2;
    int whole = 0;
    for (std::size_t size = 0; size < files[f].size(); ++size) {
      const std::string error = decode_error({files[f].begin(), files[f].begin() + long(size)});
      CHECK((error.empty() || error.starts_with("x.img: ")));
      CHECK(error.find('\n') == std::string::npos);
      whole += error.empty();
    }
    // The end marker carries no picture: without it a decoder may still have everything.
    CHECK(whole <= (jpeg ? 2 : f == 0 ? 12 : 0));
  }
}

TEST_CASE("image: random bytes behind every magic are errors, nothing worse") {
  std::mt19937 random(1);
  for (const std::string magic : {"", "\xff\xd8\xff", "\x89PNG\r\n\x1a\n", "P5", "P6"}) {
    for (int i = 0; i < 200; ++i) {
      Bytes bytes = bytes_of(magic);
      for (std::size_t n = random() % 300; n > 0; --n) {
        bytes.push_back(std::byte(random() & 255));
      }
      CHECK(has(decode_error(bytes), "x.img: "));
    }
  }
}

TEST_CASE("image: flipped bytes give an image or an error, nothing worse") {
  const Image image = gradient(24, 20, 3);
  std::mt19937 random(2);
  int errors = 0;
  for (const Bytes& good : {png_of(image), jpeg_of(image), pnm_of(image)}) {
    for (int i = 0; i < 300; ++i) {
      Bytes bytes = good;
      bytes[random() % bytes.size()] ^= std::byte(1 << (random() % 8));
      errors += !decode_error(bytes).empty();
    }
  }
  CHECK(errors > 100);
}

TEST_CASE("image: absurd sizes are refused before memory is taken") {
  Bytes png = png_of(gradient(4, 4, 3));
  png[16] = std::byte(0x00);  // width: 0x00ffffff, and the checksum is wrong as well
  png[17] = png[18] = png[19] = std::byte(0xff);
  CHECK(has(decode_error(png), "damaged PNG"));
  Bytes jpeg = jpeg_of(gradient(16, 16, 1));
  for (std::size_t i = 0; i + 8 < jpeg.size(); ++i) {
    if (jpeg[i] == std::byte(0xff) && jpeg[i + 1] == std::byte(0xc0)) {
      jpeg[i + 5] = jpeg[i + 7] = std::byte(0xfe);  // 254 * 256 in both directions
      break;
    }
  }
  CHECK(has(decode_error(jpeg), "pixels is too large"));
}

TEST_CASE("image: other files are named as such") {
  CHECK(decode_error({}) == "x.img: an empty file");
  for (const char* text : {"GIF89a", "BM", "P3 1 1 255 0 0 0", "hello"}) {
    CHECK(has(decode_error(bytes_of(text)), "not an image that sbcnn reads"));
  }
}

TEST_CASE("read_file: whole files, and errors that name them") {
  const test::TemporaryFolder folder;
  const std::string content(200000, 'x');
  folder.write("a", content);
  CHECK(read_file(folder / "a", 1 << 20) == bytes_of(content));
  CHECK(read_file(folder / "a", 200000).size() == 200000);
  CHECK(has(error_of([&] { read_file(folder / "a", 199999); }), "a: larger than"));
  CHECK(has(error_of([&] { read_file(folder / "b", 1); }), "b: cannot open: No such file"));
  CHECK(has(error_of([&] { read_file(folder.path(), 1); }), "is a folder"));
}

TEST_CASE("resize: the same size gives the same pixels") {
  const Image image = gradient(6, 5, 3);
  const auto same = resize(image, {0, 0, 6, 5}, 6, 5);
  for (std::size_t i = 0; i < same.size(); ++i) {
    CHECK(same[i] == doctest::Approx(image.pixels[i]));
  }
}

TEST_CASE("resize: a flat image stays flat at any size") {
  const Image image = flat(13, 7, {10, 200, 30});
  for (const auto& [h, w] : {std::pair(1, 1), {2, 50}, {50, 2}, {13, 8}, {5, 3}}) {
    const auto out = resize(image, {0, 0, 13, 7}, h, w);
    REQUIRE(out.size() == std::size_t(h * w * 3));
    for (std::size_t i = 0; i < out.size(); ++i) {
      CHECK(out[i] == doctest::Approx(image.pixels[i % 3]).epsilon(1e-5));
    }
  }
}

TEST_CASE("resize: shrinking a checkerboard gives its mean, every pixel counts") {
  Image image{{32, 32, 1}, {}};
  for (int i = 0; i < 32 * 32; ++i) {
    image.pixels.push_back((i / 32 + i) % 2 == 0 ? 255 : 0);
  }
  for (const float v : resize(image, {0, 0, 32, 32}, 4, 4)) {
    CHECK(v == doctest::Approx(127.5).epsilon(0.01));
  }
}

TEST_CASE("resize: twice as large interpolates linearly between pixel centres") {
  const Image image{{1, 2, 1}, {0, 100}};
  const auto out = resize(image, {0, 0, 1, 2}, 1, 4);
  const std::vector<float> expected{0, 25, 75, 100};
  for (std::size_t i = 0; i < 4; ++i) {
    CHECK(out[i] == doctest::Approx(expected[i]));
  }
}

TEST_CASE("resize: shrinking weighs by a triangle that reaches one target pixel to each side") {
  const Image image{{1, 8, 1}, {0, 10, 20, 30, 40, 50, 60, 70}};
  const auto out = resize(image, {0, 0, 1, 8}, 1, 3);
  // Around 4/3, weights 1 - |d| / (8/3): 0.6875, 0.9375, 0.5625, 0.1875.
  CHECK(out[0] == doctest::Approx((9.375 + 11.25 + 5.625) / 2.375));
  CHECK(out[1] == doctest::Approx(35));
  CHECK(out[2] == doctest::Approx(70 - out[0]));
}

TEST_CASE("resize: a box takes its part of the image only") {
  Image image{{4, 4, 1}, std::vector<std::uint8_t>(16, 0)};
  image.pixels[5] = image.pixels[6] = image.pixels[9] = image.pixels[10] = 80;
  const auto out = resize(image, {1, 1, 2, 2}, 1, 1);
  CHECK(out[0] > 40);
  CHECK(resize(image, {1, 1, 1, 1}, 1, 1)[0] == doctest::Approx(80));
}

TEST_CASE("preprocess: channel order, mean and deviation") {
  const Image image = flat(2, 2, {10, 20, 30});
  Preprocess how;
  how.mean = {1, 2, 3};
  how.stddev = {2, 4, 8};
  Tensor t = preprocess(image, {2, 2, 3}, how);
  CHECK(t.view().at(1, 1)[0] == doctest::Approx((10 - 1) / 2.0));
  CHECK(t.view().at(1, 1)[2] == doctest::Approx((30 - 3) / 8.0));
  how.order = Preprocess::Order::bgr;
  t = preprocess(image, {2, 2, 3}, how);
  CHECK(t.view().at(0, 0)[0] == doctest::Approx((30 - 1) / 2.0));
  CHECK(t.view().at(0, 0)[2] == doctest::Approx((10 - 3) / 8.0));
  how = {};
  how.mean = {5};
  t = preprocess(image, {2, 2, 3}, how);
  CHECK(t.view().at(0, 1)[1] == doctest::Approx(15));
}

TEST_CASE("preprocess: colour to grey and grey to colour") {
  const Tensor grey = preprocess(flat(1, 1, {10, 20, 30}), {1, 1, 1}, {});
  CHECK(grey.view().at(0, 0)[0] == doctest::Approx(0.299 * 10 + 0.587 * 20 + 0.114 * 30));
  const Tensor colour = preprocess(flat(1, 1, {77}), {1, 1, 3}, {});
  for (int c = 0; c < 3; ++c) {
    CHECK(colour.view().at(0, 0)[c] == doctest::Approx(77));
  }
  Preprocess how;
  how.order = Preprocess::Order::grey;
  const Tensor three = preprocess(flat(1, 1, {10, 20, 30}), {1, 1, 3}, how);
  CHECK(three.view().at(0, 0)[2] == doctest::Approx(18.15));
}

TEST_CASE("preprocess: stretch keeps all, crop keeps the centre") {
  Image image{{2, 6, 1}, {}};  // left third 0, middle 100, right 200
  for (int i = 0; i < 12; ++i) {
    image.pixels.push_back(std::uint8_t(i % 6 / 2 * 100));
  }
  Preprocess how;
  const Tensor stretched = preprocess(image, {2, 3, 1}, how);
  CHECK(stretched.view().at(0, 0)[0] < 20);
  CHECK(stretched.view().at(0, 2)[0] > 180);
  how.fit = Preprocess::Fit::crop;
  const Tensor cropped = preprocess(image, {2, 2, 1}, how);
  for (int x = 0; x < 2; ++x) {
    CHECK(cropped.view().at(1, x)[0] == doctest::Approx(100));
  }
}

TEST_CASE("preprocess: what no image can give is refused") {
  const Image image = flat(1, 1, {1, 2, 3});
  CHECK(has(error_of([&] { preprocess(image, {1, 1, 4}, {}); }), "wants 4 channels"));
  Preprocess how;
  how.mean = {1, 2};
  CHECK(has(error_of([&] { preprocess(image, {1, 1, 3}, how); }), "2 means for 3 channels"));
  how = {};
  how.stddev = {1, 0, 1};
  CHECK(has(error_of([&] { preprocess(image, {1, 1, 3}, how); }), "divides by 0"));
}
