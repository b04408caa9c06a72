// Command lines as a POSIX shell reads them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sbcnn::apps {

// The words of a command line: blanks, '...', "...", and backslashes as in a POSIX shell, no
// expansions. Throws Error(usage) on an open quote or no word at all.
std::vector<std::string> split_command(std::string_view line);

// `word` so that a shell reads it as one word.
std::string quote(std::string_view word);

}  // namespace sbcnn::apps
