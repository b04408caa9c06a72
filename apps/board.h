// This board: its name, its cores, its memory, its sbcnn.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace sbcnn::apps {

std::string version();  // of sbcnn
std::string host_name();

int default_threads(int slots);  // usable cores for each of this board's ranks
// Bytes of this process that are resident: at most so far, and now.
std::size_t peak_memory_of_self();
std::size_t resident_memory_of_self();
// Makes the allocator give large blocks back to the system as soon as they are freed, instead
// of learning to keep them: a board has little memory, and weights come and go in large blocks.
void return_memory_early();
void give_memory_back();  // what the allocator holds and nobody uses

// The program that workers on this board run; see SessionOptions::binary. Throws Error(usage) if
// none is found.
std::filesystem::path worker_binary(const std::filesystem::path& wanted);

}  // namespace sbcnn::apps
