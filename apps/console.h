// Lines and a progress bar on stderr that do not garble each other. May be used from any thread.
#pragma once

#include <string_view>

namespace sbcnn::apps {

// Writes `line` and a line break in one piece; on a terminal it first wipes the progress bar
// that may stand in the current line. Errors of writing are nobody's: they are ignored.
void print_line(std::string_view line);

// Shows `text` in the current line of the terminal in place of what was shown; empty text wipes
// it. Does nothing if stderr is not a terminal.
void show_status(std::string_view text);
bool stderr_is_terminal();

}  // namespace sbcnn::apps
