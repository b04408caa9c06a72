// Standard input of a process that another one started: the job's secret, then the lifeline.
//
// Whoever starts a rank writes one line, the secret, and then holds the pipe open; its end says
// that the job is over, whatever ended it. Sockets, files and `ps` never see the secret.
#pragma once

#include <cstddef>
#include <string>

namespace sbcnn::apps {

inline constexpr std::size_t kLongestSecret = 1024;  // bytes

// The first line of a descriptor, standard input unless told, without its break, and not a byte
// more. Throws Error(usage, `otherwise`) if there is no whole one of at most kLongestSecret.
std::string read_secret(const char* otherwise, int from = 0);

// From now on this process exits with status 1 when standard input ends, whatever it is doing.
void hold_lifeline();

}  // namespace sbcnn::apps
