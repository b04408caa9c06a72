#include "apps/inputs.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <cstring>
#include <filesystem>
#include <random>

#include "apps/idx.h"
#include "apps/npy.h"
#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using sbcnn::test::error_of;
using sbcnn::test::has;
using sbcnn::test::TemporaryFolder;

namespace {

std::string big_endian(std::uint32_t v) {
  return {char(v >> 24), char(v >> 16), char(v >> 8), char(v)};
}
std::string idx_of(const std::vector<std::uint32_t>& sizes, const std::string& data) {
  std::string text{0, 0, 8, char(sizes.size())};
  for (const std::uint32_t s : sizes) {
    text += big_endian(s);
  }
  return text + data;
}
std::string counting(std::size_t size) {
  std::string data;
  for (std::size_t i = 0; i < size; ++i) {
    data += char(i % 251);
  }
  return data;
}
std::string gzip_of(const std::string& text) {
  z_stream z{};
  REQUIRE(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string out(deflateBound(&z, text.size()) + 32, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = uInt(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = uInt(out.size());
  REQUIRE(deflate(&z, Z_FINISH) == Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string npy_of(const std::string& dict, const std::vector<float>& data, int version = 1) {
  std::string header = dict;
  header += std::string(63 - (header.size() + (version == 1 ? 10 : 12)) % 64, ' ') + "\n";
  std::string text = "\x93NUMPY";
  text += {char(version), 0, char(header.size()), char(header.size() >> 8)};
  if (version > 1) {
    text += std::string(2, '\0');
  }
  text += header;
  return text + std::string(reinterpret_cast<const char*>(data.data()), data.size() * 4);
}
std::string dict_of(const std::string& shape, const std::string& fortran = "False",
                    const std::string& type = "<f4") {
  return "{'descr': '" + type + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
}
std::vector<float> numbers(std::size_t count) {
  std::vector<float> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(float(i));
  }
  return values;
}

std::string pgm(char value) {
  return std::string("P5 2 2 255\n") + std::string(4, value);
}

std::vector<std::string> names_of(Inputs& inputs) {
  std::vector<std::string> names;
  while (auto input = inputs.next()) {
    names.push_back(std::filesystem::path(input->name).filename().string());
  }
  return names;
}

constexpr Shape kGrey{2, 2, 1};

}  // namespace

TEST_CASE("idx: images, plain and gzipped, grey and colour") {
  const TemporaryFolder folder;
  const std::string grey = idx_of({3, 2, 4}, counting(24));
  folder.write("grey", grey);
  folder.write("grey.gz", gzip_of(grey));
  for (const char* name : {"grey", "grey.gz"}) {
    IdxImages images(folder / name);
    CHECK(images.count() == 3);
    const auto first = images.next();
    REQUIRE(first);
    CHECK(first->shape == Shape{2, 4, 1});
    CHECK(first->pixels[7] == 7);
    CHECK(images.next()->pixels[0] == 8);
    CHECK(images.next()->pixels[7] == 23);
    CHECK_FALSE(images.next());
    CHECK_FALSE(images.next());
  }
  folder.write("colour", idx_of({1, 2, 2, 3}, counting(12)));
  CHECK(IdxImages(folder / "colour").next()->shape == Shape{2, 2, 3});
}

TEST_CASE("idx: labels") {
  const TemporaryFolder folder;
  folder.write("labels.gz", gzip_of(idx_of({4}, std::string("\3\0\xff\1", 4))));
  CHECK(read_idx_labels(folder / "labels.gz") == std::vector<int>{3, 0, 255, 1});
  folder.write("images", idx_of({1, 2, 2}, counting(4)));
  CHECK(has(error_of([&] { read_idx_labels(folder / "images"); }), "of 3 dimensions: labels have"));
}

TEST_CASE("idx: what is not an IDX file of images is refused with the reason") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& content) {
    folder.write("x", content);
    return error_of([&] { IdxImages(folder / "x").next(); });
  };
  CHECK(has(error(""), "x: cut off"));
  CHECK(has(error("PNG!"), "not an IDX file"));
  CHECK(has(error(std::string("\0\0\x0d\1\0\0\0\1aaaa", 12)), "unsigned bytes"));
  CHECK(has(error(std::string("\0\0\x08\5", 4)), "not an IDX file"));
  CHECK(has(error(idx_of({4}, counting(4))), "of 1 dimensions"));
  CHECK(has(error(idx_of({1, 2, 2, 2}, counting(8))), "of 4 dimensions"));
  CHECK(has(error(idx_of({1, 0, 2}, "")), "absurd size"));
  CHECK(has(error(idx_of({1, 0xffffffff, 0xffffffff}, "")), "absurd size"));
  CHECK(has(error(idx_of({0xffffffff, 0x1000, 0x1000}, "")), "4 GiB"));
  CHECK(has(error(idx_of({2, 2, 2}, counting(7))), "its header says 24"));
  CHECK(has(error(idx_of({2, 2, 2}, counting(9))), "its header says 24"));
  CHECK(has(error_of([&] { IdxImages(folder / "none"); }), "none: cannot open: No such file"));
}

TEST_CASE("idx: a gzipped file that is cut off anywhere is an error, and so is a bomb") {
  const TemporaryFolder folder;
  std::mt19937 random(1);
  std::string noise;
  for (int i = 0; i < 400; ++i) {
    noise += char(random());
  }
  const std::string whole = gzip_of(idx_of({4, 10, 10}, noise));
  const auto read_all = [&] {
    IdxImages images(folder / "x.gz");
    while (images.next()) {
    }
  };
  for (std::size_t size = 2; size < whole.size(); ++size) {
    folder.write("x.gz", whole.substr(0, size));
    CAPTURE(size);
    CHECK(has(error_of(read_all), "x.gz: "));
  }
  folder.write("x.gz", whole);
  CHECK(error_of(read_all).empty());
  std::string flipped = whole;
  flipped[flipped.size() - 6] ^= 1;  // the checksum
  folder.write("x.gz", flipped);
  CHECK(has(error_of(read_all), "damaged gzip file"));
  folder.write("x.gz", gzip_of(idx_of({1, 2, 2}, std::string(50'000'000, '\0'))));
  CHECK(has(error_of(read_all), "more in it than its header says"));
}

TEST_CASE("npy: C order, every version of the header, becomes H x W x C") {
  const TemporaryFolder folder;
  for (const int version : {1, 2, 3}) {
    folder.write("x.npy", npy_of(dict_of("(2, 3, 2, 2)"), numbers(24), version));
    NpyFrames frames(folder / "x.npy", {2, 2, 3});
    CHECK(frames.count() == 2);
    Tensor t = *frames.next();
    CHECK(t.view().at(0, 0)[0] == 0);
    CHECK(t.view().at(0, 0)[2] == 8);
    CHECK(t.view().at(1, 0)[1] == 6);
    t = *frames.next();
    CHECK(t.view().at(1, 1)[2] == 23);
    CHECK_FALSE(frames.next());
  }
}

TEST_CASE("npy: Fortran order holds the same values") {
  const TemporaryFolder folder;
  std::vector<float> data(24);
  for (std::size_t n = 0; n < 2; ++n) {
    for (std::size_t c = 0; c < 3; ++c) {
      for (std::size_t y = 0; y < 2; ++y) {
        for (std::size_t x = 0; x < 2; ++x) {
          data[n + 2 * (c + 3 * (y + 2 * x))] = float(1000 * n + 100 * c + 10 * y + x);
        }
      }
    }
  }
  folder.write("x.npy", npy_of(dict_of("(2, 3, 2, 2)", "True"), data));
  NpyFrames frames(folder / "x.npy", {2, 2, 3});
  CHECK(frames.next()->view().at(1, 0)[2] == 210);
  CHECK(frames.next()->view().at(0, 1)[1] == 1101);
}

TEST_CASE("npy: one frame without N, and flat inputs") {
  const TemporaryFolder folder;
  folder.write("x.npy", npy_of(dict_of("(1, 2, 2)"), numbers(4)));
  CHECK(NpyFrames(folder / "x.npy", kGrey).count() == 1);
  folder.write("y.npy", npy_of(dict_of("(3, 5)"), numbers(15)));
  NpyFrames flat(folder / "y.npy", {1, 1, 5});
  flat.next();
  CHECK(flat.next()->view().at(0, 0)[4] == 9);
  folder.write("z.npy", npy_of(dict_of("(0, 1, 2, 2)"), {}));
  CHECK(NpyFrames(folder / "z.npy", kGrey).count() == 0);
}

TEST_CASE("npy: a wrong shape is an error with both shapes") {
  const TemporaryFolder folder;
  folder.write("x.npy", npy_of(dict_of("(2, 3, 2, 2)"), numbers(24)));
  CHECK(error_of([&] {
          NpyFrames(folder / "x.npy", {4, 5, 3});
        }) ==
        (folder / "x.npy").string() + ": has shape 2 x 3 x 2 x 2, the network wants N x 3 x 4 x 5");
  folder.write("s.npy", npy_of(dict_of("()"), numbers(1)));
  CHECK(has(error_of([&] { NpyFrames(folder / "s.npy", kGrey); }), "has shape a scalar"));
}

TEST_CASE("npy: damaged files are refused with the reason") {
  const TemporaryFolder folder;
  const auto error = [&](const std::string& content) {
    folder.write("x.npy", content);
    return error_of([&] { NpyFrames(folder / "x.npy", kGrey).next(); });
  };
  const std::string good = npy_of(dict_of("(1, 1, 2, 2)"), numbers(4));
  CHECK(error(good).empty());
  for (std::size_t size = 0; size < good.size(); ++size) {
    CAPTURE(size);
    CHECK(has(error(good.substr(0, size)), "x.npy: "));
  }
  CHECK(has(error(good + "x"), "its header says"));
  CHECK(has(error(npy_of(dict_of("(1, 1, 2, 2)", "False", "<f8"), numbers(8))), "of type <f8"));
  CHECK(has(error(npy_of(dict_of("(1, 1, 2, 2)", "False", ">f4"), numbers(4))), "of type >f4"));
  CHECK(has(error(npy_of("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,), }",
                         numbers(4))),
            "of type of records"));
  for (const std::string dict :
       {"", "{", "{}", "[]", "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': Maybe}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1 1)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'shape': (1,)}",
        "{'descr': '<f4', 'more': 1}"}) {
    CAPTURE(dict);
    CHECK(has(error(npy_of(dict, numbers(4))), "damaged .npy header"));
  }
  CHECK(has(error(npy_of(dict_of("(4294967296, 4294967296, 4294967296)"), {})), "absurd size"));
  std::string other = good;
  other[6] = 9;
  CHECK(has(error(other), ".npy version 9 is not known"));
}

TEST_CASE("npy: random header bytes are errors, nothing worse") {
  std::mt19937 random(3);
  const std::string good = npy_of(dict_of("(1, 1, 2, 2)"), numbers(4));
  for (int i = 0; i < 2000; ++i) {
    std::string text = good;
    for (int k = 0; k < 3; ++k) {
      text[6 + random() % 90] = char(random());
    }
    const auto* p = reinterpret_cast<const std::byte*>(text.data());
    const std::string error = error_of([&] {
      parse_npy_header({p, text.size()}, text.size(), "x");
    });
    CHECK((error.empty() || error.starts_with("x: ")));
  }
}

TEST_CASE("npy: what is written is read back, with the number of rows") {
  const TemporaryFolder folder;
  const auto path = folder / "y.npy";
  {
    NpyWriter writer(path, {2, 2, 3});
    writer.add(numbers(12));
    std::vector<float> second(12, -1.5f);
    writer.add(second);
    writer.close();
  }
  NpyFrames frames(path, {2, 2, 3});
  REQUIRE(frames.count() == 2);
  const Tensor first = *frames.next();
  CHECK(first.view().at(1, 0)[2] == 8);
  CHECK(frames.next()->view().at(1, 1)[0] == -1.5f);
  NpyWriter flat(folder / "flat.npy", {1, 1, 10});
  flat.close();
  CHECK(NpyFrames(folder / "flat.npy", {1, 1, 10}).count() == 0);
}

TEST_CASE("npy: a full disk, a missing folder, and a stream that broke off") {
  const TemporaryFolder folder;
  CHECK(has(error_of([&] {
              NpyWriter(folder / "none" / "y.npy", {1, 1, 1});
            }),
            "y.npy: cannot write: No such file"));
  CHECK(has(error_of([] {
              NpyWriter writer("/dev/full", {1, 1, 4096});
              for (int i = 0; i < 100; ++i) {
                writer.add(std::vector<float>(4096));
              }
              writer.close();
            }),
            "/dev/full: cannot write: No space left"));
  CHECK(std::filesystem::exists("/dev/full"));
  {
    NpyWriter writer(folder / "y.npy", {1, 1, 1});
    writer.add(std::vector<float>{1});
  }
  CHECK_FALSE(std::filesystem::exists(folder / "y.npy"));
}

TEST_CASE("inputs: images, folders, IDX and npy in the order of the arguments") {
  const TemporaryFolder folder;
  folder.write("one.pgm", pgm(1));
  folder.write("set/b.pgm", pgm(3));
  folder.write("set/a.PGM", pgm(2));
  folder.write("set/deep/c.ppm", "P6 1 1 255\nabc");
  folder.write("set/readme.txt", "no image");
  folder.write("many", idx_of({2, 2, 2}, counting(8)));
  folder.write("x.npy", npy_of(dict_of("(1, 1, 2, 2)"), numbers(4)));
  Inputs inputs({(folder / "one.pgm").string(), (folder / "set").string(),
                 (folder / "many").string(), (folder / "x.npy").string()},
                kGrey, {});
  CHECK(inputs.count() == 7);
  CHECK(inputs.has_images());
  const auto first = inputs.next();
  CHECK(first->index == 0);
  CHECK(first->value.view().at(1, 1)[0] == doctest::Approx(1));
  CHECK(names_of(inputs) ==
        std::vector<std::string>{"a.PGM", "b.pgm", "c.ppm", "many[0]", "many[1]", "x.npy[0]"});
  CHECK(inputs.failures().empty());
}

TEST_CASE("inputs: damaged images in a folder are left out and noted") {
  const TemporaryFolder folder;
  folder.write("a.pgm", pgm(1));
  folder.write("b.pgm", "P5 2 2 255\nxx");
  folder.write("c.png", "not a png");
  folder.write("d.jpg", "");
  folder.write("e.pgm", pgm(5));
  Inputs inputs({folder.path().string()}, kGrey, {});
  CHECK(inputs.count() == 5);
  CHECK(inputs.next()->index == 0);
  CHECK(inputs.next()->index == 4);
  CHECK_FALSE(inputs.next());
  REQUIRE(inputs.failures().size() == 3);
  CHECK(has(inputs.failures()[0], "b.pgm: damaged PNM"));
  CHECK(has(inputs.failures()[2], "d.jpg: an empty file"));
}

TEST_CASE("inputs: a single damaged or missing file is an error") {
  const TemporaryFolder folder;
  folder.write("b.pgm", "P5 2 2 255\nxx");
  Inputs inputs({(folder / "b.pgm").string()}, kGrey, {});
  CHECK(has(error_of([&] { inputs.next(); }), "b.pgm: damaged PNM"));
  CHECK(has(error_of([&] { Inputs({(folder / "none.jpg").string()}, kGrey, {}); }),
            "none.jpg: cannot open: No such file"));
  std::filesystem::create_directory(folder / "empty");
  CHECK(has(error_of([&] { Inputs({(folder / "empty").string()}, kGrey, {}); }),
            "empty: no images below this folder"));
}

TEST_CASE("inputs: a network that no image fits is not blamed on a folder's files") {
  const TemporaryFolder folder;
  folder.write("a.pgm", pgm(1));
  Inputs inputs({folder.path().string()}, {2, 2, 7}, {});
  CHECK(has(error_of([&] { inputs.next(); }), "the network wants 7 channels"));
}

TEST_CASE("inputs: npy alone needs no preprocessing") {
  const TemporaryFolder folder;
  folder.write("x.npy", npy_of(dict_of("(1, 1, 2, 2)"), numbers(4)));
  Inputs inputs({(folder / "x.npy").string()}, kGrey, {});
  CHECK_FALSE(inputs.has_images());
}

TEST_CASE("labels: one a line") {
  const TemporaryFolder folder;
  folder.write("l.txt", "tench, Tinca tinca\ngoldfish\r\n\nlast");
  CHECK(read_labels((folder / "l.txt").string()) ==
        std::vector<std::string>{"tench, Tinca tinca", "goldfish", "", "last"});
  folder.write("e.txt", "");
  CHECK(has(error_of([&] { read_labels((folder / "e.txt").string()); }), "no labels in it"));
  folder.write("b.txt", std::string("a\0b", 3));
  CHECK(has(error_of([&] { read_labels((folder / "b.txt").string()); }), "not a text file"));
  CHECK(has(error_of([&] { read_labels((folder / "none").string()); }), "cannot open"));
}
