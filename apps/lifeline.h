// Standard input of a process that another one started: the job's secret, then the lifeline.
//
// Whoever starts a rank writes one line, the secret, and then holds the pipe open; its end says
// that the job is over, whatever ended it. Sockets, files and `ps` never see the secret.
#pragma once

#include <string>

namespace sbcnn::apps {

// The first line of standard input, without its break, and not a byte more. Throws Error(usage,
// `otherwise`) if there is none of at most 1024 bytes.
std::string read_secret(const char* otherwise);

// From now on this process exits with status 1 when standard input ends, whatever it is doing.
void hold_lifeline();

}  // namespace sbcnn::apps
