// Memory for the packed weights of one factory: block after block in one range of addresses.
//
// Kernels are made in the order in which a network runs them, so what lies behind the weights of
// one are those of the next: a kernel that fetches weights ahead of their use (tile.h) runs on into
// the next layer's. And as one long range they fill huge pages even where a layer alone would not;
// weights are read once a frame from end to end, so with pages of 4 KiB every page is a miss of the
// address cache.
//
// Blocks are zeroed and 64-byte aligned. One that is given back frees memory once all later ones
// are, too. The WeightMemory outlives its blocks. One thread at a time. Throws std::bad_alloc.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

namespace sbcnn::kernels {

class WeightMemory {
 public:
  class Block {
   public:
    Block() = default;
    float* data() { return data_.get(); }
    const float* data() const { return data_.get(); }
    std::size_t size() const { return size_; }

   private:
    friend class WeightMemory;
    struct GiveBack {
      WeightMemory* memory;
      void operator()(float* data) const { memory->give_back(data); }
    };
    std::unique_ptr<float, GiveBack> data_;
    std::size_t size_ = 0;
  };

  WeightMemory() = default;
  ~WeightMemory();
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;

  Block take(std::size_t floats);
  std::size_t used() const { return used_; }  // bytes

 private:
  struct Piece {
    std::size_t begin = 0, end = 0;  // bytes
    bool live = true;
  };

  void reserve();
  void give_back(const float* data);
  void use_huge_pages(const Piece& fresh);

  std::byte* range_ = nullptr;
  std::size_t reserved_ = 0, used_ = 0, touched_ = 0;  // bytes
  std::size_t merged_ = 0;                             // bytes whose pages have been merged
  std::vector<Piece> pieces_;                          // by address
};

}  // namespace sbcnn::kernels
