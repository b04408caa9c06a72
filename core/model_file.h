// Our own model file, `.sbcnn`, and reading a model of either format.
//
// File: 8 bytes magic "sbcnn\0\r\n", u32 version, u32 header bytes (both little endian), a
// msgpack header (the model's structure, metadata, and for each node the offsets and sizes of
// its weights), then raw little-endian floats, every blob at a multiple of 64 bytes. Reading
// maps the file: weights are paged in when they are touched, so rank 0 can stream slices of a
// model larger than its memory. All offsets, counts and shapes are checked against the file's
// size before anything is allocated or touched.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/model.h"

namespace sbcnn {

// The structure without weights, as bytes: what rank 0 sends to the other boards.
std::vector<std::byte> encode_skeleton(const Model&);
Model decode_skeleton(std::span<const std::byte>, const std::string& origin);

// Throws Error(io) naming the file; a file that could not be written whole is removed.
void write_model(const Model&, const std::filesystem::path&);
// Throws Error(io) or Error(format) naming the file and the reason.
Model read_model(const std::filesystem::path&);
// The same from memory that is aligned to 4 bytes and that `owner` keeps: the model's weights lie
// in it, and may leave memory if it is `mapped` from a file. `origin` stands for the file in
// errors.
Model parse_model(std::span<const std::byte>, const std::string& origin,
                  std::shared_ptr<const void> owner, bool mapped = false);

// ONNX or .sbcnn, told apart by content; ONNX models come back fused.
Model load_model(const std::filesystem::path&);

}  // namespace sbcnn
