#include "apps/tuning_cache.h"

#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>

#include "apps/board.h"
#include "core/error.h"
#include "core/file_writer.h"
#include "core/hash.h"
#include "core/mapped_file.h"

namespace sbcnn::apps {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFormat = "sbcnn-tuning 1 ";
constexpr std::string_view kExtension = ".tuning";
constexpr std::size_t kHashDigits = 16;
constexpr std::size_t kMaxFile = std::size_t{1} << 20;

std::string hash_text(std::string_view text) {
  Hasher h;
  h.add(std::as_bytes(std::span(text)));
  char digits[kHashDigits + 1];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(h.value()));
  return digits;
}

std::string first_line(std::string_view subject, std::string_view choices) {
  return std::string(kFormat) + hash_text(choices) + " " + std::string(subject) + "\n";
}

struct Content {
  std::string subject, choices;
};

// Nothing unless every byte is as it was written.
std::optional<Content> read(const fs::path& path) {
  try {
    const MappedFile file(path);
    if (file.bytes().size() > kMaxFile) {
      return std::nullopt;
    }
    const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                                file.bytes().size());
    const std::size_t end = text.find('\n'), subject = kFormat.size() + kHashDigits + 1;
    if (end == text.npos || end < subject) {
      return std::nullopt;
    }
    Content c{std::string(text.substr(subject, end - subject)), std::string(text.substr(end + 1))};
    const bool whole = text.substr(0, end + 1) == first_line(c.subject, c.choices);
    return whole ? std::optional(std::move(c)) : std::nullopt;
  } catch (const Error&) {  // not there, or no file
    return std::nullopt;
  }
}

fs::path variable(const char* name) {
  const char* const value = std::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

std::string TuningSubject::text() const {
  char hash[kHashDigits + 1];
  std::snprintf(hash, sizeof hash, "%016llx", static_cast<unsigned long long>(tasks));
  std::string line = "version " + version() + ", tasks " + hash + ", " + std::string(name_of(isa)) +
                     ", " + std::string(name_of(precision)) + ", " + std::to_string(threads) +
                     " threads, " + processor;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < ' ') {
      c = ' ';
    }
  }
  return line;
}

fs::path default_cache_folder() {
  const fs::path cache = variable("XDG_CACHE_HOME"), home = variable("HOME");
  if (cache.is_absolute()) {  // relative ones do not count, says the specification
    return cache / "sbcnn";
  }
  return home.is_absolute() ? home / ".cache/sbcnn" : "";
}

TuningCache::TuningCache(fs::path folder, const TuningSubject& subject)
    : folder_(std::move(folder)), subject_(subject.text()) {
  if (folder_.empty()) {
    return;
  }
  file_ = folder_ / (hash_text(subject_) + std::string(kExtension));
  const auto content = read(file_);
  if (content && content->subject == subject_) {
    tuning_.decode(content->choices);
  }
}

std::string TuningCache::save() {
  if (!tuning_.changed()) {
    return "";
  }
  const std::string cannot = "measured choices of algorithms cannot be kept for the next run: ";
  if (folder_.empty()) {
    return cannot + "neither XDG_CACHE_HOME nor HOME names a folder";
  }
  try {
    std::error_code error;
    fs::create_directories(folder_, error);
    if (error) {
      return cannot + folder_.string() + ": " + error.message();
    }
    const std::string choices = tuning_.encode(), line = first_line(subject_, choices);
    FileWriter file(file_);
    file.write(std::as_bytes(std::span(line)));
    file.write(std::as_bytes(std::span(choices)));
    file.commit();
    return "";
  } catch (const Error& e) {
    // The folder, not the file: ranks of one board have files of their own, but one message.
    const std::string what = e.what(), name = file_.string();
    return cannot + folder_.string() +
           (what.starts_with(name) ? what.substr(name.size()) : ": " + what);
  }
}

TuningCount count_tunings(const fs::path& folder) {
  TuningCount count;
  std::error_code error;
  for (fs::directory_iterator i(folder, error); !error && i != fs::directory_iterator();
       i.increment(error)) {
    const auto content = i->path().extension() == kExtension ? read(i->path()) : std::nullopt;
    if (content) {
      kernels::Tuning tuning;
      tuning.decode(content->choices);
      ++count.files;
      count.choices += tuning.size();
    }
  }
  return count;
}

}  // namespace sbcnn::apps
