// This board: its name, its cores, its memory, its sbcnn.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace sbcnn::apps {

std::string version();  // of sbcnn
std::string host_name();

int default_threads(int slots);     // usable cores for each of this board's ranks
std::size_t peak_memory_of_self();  // bytes resident at most, of this process
// Makes the allocator give large blocks back to the system as soon as they are freed, instead
// of learning to keep them: a board has little memory, and weights come and go in large blocks.
void return_memory_early();

// The program that workers on this board run; see SessionOptions::binary. Throws Error(usage) if
// none is found.
std::filesystem::path worker_binary(const std::filesystem::path& wanted);

}  // namespace sbcnn::apps
