// The colours that an image has shown so far, as a binary trie over their bits
// in coding order: what of a known colour need not be coded.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc::graphic {

class Colours {
 public:
  static constexpr size_t kMost = size_t{1} << 20;  // nodes; an image with more colours is no drawing

  Colours() : nodes_(1) {}

  bool full() const { return full_; }
  uint32_t count() const { return count_; }

  // A walk from the root: bits 1 and 2 say which branches exist (3: both).
  void begin() { at_ = 0; }
  uint32_t branches() const { return (nodes_[at_].next[0] != 0) | (nodes_[at_].next[1] != 0) << 1; }
  void step(int bit) { at_ = nodes_[at_].next[bit]; }

  bool has(uint32_t colour, int bits) const {
    uint32_t at = 0;
    for (int i = bits; i-- > 0;) {
      at = nodes_[at].next[colour >> i & 1];
      if (at == 0) return false;
    }
    return true;
  }

  void add(uint32_t colour, int bits) {
    if (nodes_.size() + static_cast<size_t>(bits) > kMost) {
      full_ = true;
      return;
    }
    uint32_t at = 0;
    for (int i = bits; i-- > 0;) {
      uint32_t next = nodes_[at].next[colour >> i & 1];
      if (next == 0) {
        next = static_cast<uint32_t>(nodes_.size());
        nodes_[at].next[colour >> i & 1] = next;
        nodes_.push_back({});
      }
      at = next;
    }
    ++count_;
  }

 private:
  struct Node {
    uint32_t next[2] = {0, 0};
  };
  std::vector<Node> nodes_;
  uint32_t at_ = 0, count_ = 0;
  bool full_ = false;
};

}  // namespace lmc::graphic
