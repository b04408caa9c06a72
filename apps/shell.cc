#include "apps/shell.h"

#include <algorithm>
#include <cctype>

#include "core/error.h"

namespace sbcnn::apps {

std::vector<std::string> split_command(std::string_view line) {
  std::vector<std::string> words;
  std::string word;
  bool inside = false;  // of a word, which may be empty: ''
  char open = 0;        // the quote that is open
  const auto fail = [&](const char* why) {
    throw Error(Error::Code::usage, "command '" + std::string(line) + "': " + why);
  };
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (open == '\'' && c != '\'') {
      word += c;
    } else if (c == '\\') {
      if (++i == line.size()) {
        fail("ends in a backslash");
      }
      const bool kept =
          open == '"' && std::string_view("\"\\$`").find(line[i]) == std::string_view::npos;
      word += kept ? "\\" : "";
      word += line[i];
      inside = true;
    } else if (c == open) {
      open = 0;
    } else if (open == 0 && (c == '\'' || c == '"')) {
      open = c;
      inside = true;
    } else if (open == 0 && std::isspace(static_cast<unsigned char>(c)) != 0) {
      if (inside) {
        words.push_back(std::move(word));
        word.clear();
      }
      inside = false;
    } else {
      word += c;
      inside = true;
    }
  }
  if (open != 0) {
    fail("a quote is not closed");
  }
  if (inside) {
    words.push_back(std::move(word));
  }
  if (words.empty()) {
    fail("is empty");
  }
  return words;
}

std::string quote(std::string_view word) {
  const bool plain = !word.empty() && std::all_of(word.begin(), word.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("/._-+:,@%").find(c) != std::string_view::npos;
  });
  if (plain) {
    return std::string(word);
  }
  std::string quoted = "'";
  for (const char c : word) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

}  // namespace sbcnn::apps
