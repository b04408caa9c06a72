// Measured choices on disk: what was written comes back, and damage is as good as nothing.
#include "apps/tuning_cache.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <unistd.h>

#include <iterator>

#include "test/apps/temporary.h"

using namespace sbcnn;
using namespace sbcnn::apps;
using kernels::ConvAlgorithm;
using sbcnn::test::has;
using sbcnn::test::TemporaryFolder;

namespace {

TuningSubject subject(std::uint64_t tasks = 1) {
  TuningSubject s;
  s.tasks = tasks;
  s.processor = "Cortex-A72";
  s.threads = 4;
  return s;
}

std::string content(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// A folder with one saved file.
struct Saved {
  TemporaryFolder folder;
  std::filesystem::path file;

  Saved() {
    TuningCache cache(folder / "new/cache", subject());
    cache.tuning().record("3x3 64 64", ConvAlgorithm::winograd4);
    cache.tuning().record("1x1 8 8", ConvAlgorithm::direct);
    REQUIRE(cache.save().empty());
    file = cache.file();
  }
  std::size_t choices(const TuningSubject& s = subject()) const {
    return TuningCache(file.parent_path(), s).tuning().size();
  }
};

struct Variable {
  Variable(const char* name, const char* value) : name_(name) {
    const char* const old = getenv(name);
    old_ = old == nullptr ? "" : old;
    had_ = old != nullptr;
    set(value);
  }
  ~Variable() { set(had_ ? old_.c_str() : nullptr); }
  Variable(Variable&&) = delete;

 private:
  void set(const char* value) const {
    value == nullptr ? unsetenv(name_) : setenv(name_, value, 1);
  }
  const char* name_;
  std::string old_;
  bool had_ = false;
};

}  // namespace

TEST_CASE("tuning cache: choices come back") {
  const Saved saved;
  TuningCache again(saved.file.parent_path(), subject());
  CHECK(again.tuning().find("3x3 64 64") == ConvAlgorithm::winograd4);
  CHECK(again.tuning().find("1x1 8 8") == ConvAlgorithm::direct);
  CHECK_FALSE(again.tuning().changed());
  const TuningCount count = count_tunings(saved.file.parent_path());
  CHECK(count.files == 1);
  CHECK(count.choices == 2);
}

TEST_CASE("tuning cache: what was not measured anew is not written") {
  const Saved saved;
  std::filesystem::remove(saved.file);
  TuningCache cache(saved.file.parent_path(), subject());
  CHECK(cache.save().empty());
  CHECK_FALSE(std::filesystem::exists(saved.file));
}

TEST_CASE("tuning cache: another slice, board or way to compute has a file of its own") {
  const Saved saved;
  CHECK(saved.choices(subject(2)) == 0);
  TuningSubject other = subject();
  other.processor = "Cortex-A76";
  CHECK(saved.choices(other) == 0);
  other = subject();
  other.threads = 3;
  CHECK(saved.choices(other) == 0);
  other = subject();
  other.precision = kernels::Precision::fp16;
  CHECK(saved.choices(other) == 0);
  other = subject();
  other.isa = kernels::Isa::neon == other.isa ? kernels::Isa::sse2 : kernels::Isa::neon;
  CHECK(saved.choices(other) == 0);
}

TEST_CASE("tuning cache: the first line says format, version and processor") {
  const Saved saved;
  const std::string text = content(saved.file);
  const std::string line = text.substr(0, text.find('\n'));
  CHECK(line.starts_with("sbcnn-tuning 1 "));
  CHECK(has(line, "version"));
  CHECK(has(line, "Cortex-A72"));
  TuningSubject odd = subject();
  odd.processor = "two\nlines";
  CHECK(odd.text().find('\n') == std::string::npos);
}

TEST_CASE("tuning cache: a damaged file counts as none, and is written anew") {
  const Saved saved;
  const std::string whole = content(saved.file);
  REQUIRE(saved.choices() == 2);
  for (std::size_t size = 0; size < whole.size(); size += 7) {
    saved.folder.write("new/cache/" + saved.file.filename().string(), whole.substr(0, size));
    CHECK(saved.choices() == 0);
  }
  for (std::size_t at = 0; at < whole.size(); ++at) {
    std::string damaged = whole;
    damaged[at] = char(damaged[at] ^ 1);
    saved.folder.write("new/cache/" + saved.file.filename().string(), damaged);
    CHECK(saved.choices() == 0);
  }
  for (const std::string& odd :
       {std::string("\0\0\0", 3), std::string(2 << 20, 'x'), whole + "x"}) {
    saved.folder.write("new/cache/" + saved.file.filename().string(), odd);
    CHECK(saved.choices() == 0);
    CHECK(count_tunings(saved.file.parent_path()).files == 0);
  }
  TuningCache cache(saved.file.parent_path(), subject());
  cache.tuning().record("1x1 8 8", ConvAlgorithm::direct);
  CHECK(cache.save().empty());
  CHECK(saved.choices() == 1);
}

TEST_CASE("tuning cache: a file of another subject under our name is not ours") {
  const Saved saved;
  const TuningCache other(saved.file.parent_path(), subject(2));
  std::filesystem::rename(saved.file, other.file());
  CHECK(saved.choices(subject(2)) == 0);
}

TEST_CASE("tuning cache: no folder, or one that cannot be written, is one line and no error") {
  const TemporaryFolder folder;
  folder.write("file", "not a folder");
  for (const std::filesystem::path& where :
       {std::filesystem::path(), folder / "file", folder / "file/below",
        std::filesystem::path("/proc/nowhere")}) {
    TuningCache cache(where, subject());
    CHECK(cache.save().empty());  // nothing was measured
    cache.tuning().record("1x1 8 8", ConvAlgorithm::direct);
    const std::string warning = cache.save();
    CHECK(has(warning, "cannot be kept"));
    CHECK(has(warning, where.string()));
    CHECK(warning.find('\n') == std::string::npos);
    CHECK(count_tunings(where).files == 0);
  }
}

TEST_CASE("tuning cache: a folder in place of the file") {
  const Saved saved;
  std::filesystem::remove(saved.file);
  std::filesystem::create_directories(saved.file / "below");
  CHECK(saved.choices() == 0);
  TuningCache cache(saved.file.parent_path(), subject());
  cache.tuning().record("1x1 8 8", ConvAlgorithm::direct);
  CHECK(has(cache.save(), "cannot be kept"));
}

TEST_CASE("tuning cache: the default folder follows the environment") {
  const Variable home("HOME", "/home/me");
  {
    const Variable cache("XDG_CACHE_HOME", "/var/cache/me");
    CHECK(default_cache_folder() == "/var/cache/me/sbcnn");
  }
  for (const char* unusable : {static_cast<const char*>(nullptr), "", "relative"}) {
    const Variable cache("XDG_CACHE_HOME", unusable);
    CHECK(default_cache_folder() == "/home/me/.cache/sbcnn");
    const Variable nowhere("HOME", nullptr);
    CHECK(default_cache_folder().empty());
  }
}
