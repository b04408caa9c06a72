// In place of libFuzzer: runs a fuzzer's entry on files, on their beginnings, and on copies with
// single bytes changed. Always the same inputs, in about a second. usage: fuzz_NAME FOLDER...
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Bytes = std::vector<std::uint8_t>;

constexpr std::size_t kVariants = 500;  // of each file
constexpr std::size_t kLargest = 1 << 16;

void run(const Bytes& bytes) {
  // A copy of just that size, so that sanitizers see what reads beyond its end.
  const Bytes exact(bytes.begin(), bytes.end());
  LLVMFuzzerTestOneInput(exact.data(), exact.size());
}

void vary(const Bytes& seed) {
  std::mt19937 random(1);
  run(seed);
  if (seed.empty() || seed.size() > kLargest) {
    return;
  }
  const std::size_t step = std::max<std::size_t>(1, seed.size() / kVariants);
  for (std::size_t i = 0; i < seed.size(); i += step) {
    run(Bytes(seed.begin(), seed.begin() + std::ptrdiff_t(i)));
    Bytes changed = seed;
    changed[i] = std::uint8_t(random() % 4 == 0 ? 0xff : random());
    run(changed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    for (const auto& entry : std::filesystem::directory_iterator(argv[i])) {
      std::ifstream file(entry.path(), std::ios::binary);
      vary(Bytes(std::istreambuf_iterator<char>(file), {}));
      ++files;
    }
  }
  std::printf("test cases: %zu | %zu passed\n", files, files);
  return files > 0 ? 0 : 1;
}
