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

  // A walk from the root that cannot end at any of the n <= 8 colours `gone`: false if none is left.
  bool begin(const uint32_t* gone, int n, int bits) {
    at_ = 0;
    left_ = bits;
    gone_ = 0;
    for (int i = 0; i < n; ++i)
      if (has(gone[i], bits)) without_[gone_++] = gone[i];
    return count_ > static_cast<uint32_t>(gone_);
  }
  // Which branches lead to a colour: bits 0 and 1.
  uint32_t branches() const {
    uint32_t out = 0;
    for (uint32_t b = 0; b < 2; ++b) {
      const uint32_t next = nodes_[at_].next[b];
      if (next == 0) continue;
      uint32_t lost = 0;
      for (int i = 0; i < gone_; ++i) lost += (without_[i] >> (left_ - 1) & 1) == b;
      if (nodes_[next].colours > lost) out |= 1u << b;
    }
    return out;
  }
  void step(int bit) {
    --left_;
    at_ = nodes_[at_].next[bit];
    int n = 0;
    for (int i = 0; i < gone_; ++i)
      if (static_cast<int>(without_[i] >> left_ & 1) == bit) without_[n++] = without_[i];
    gone_ = n;
  }
  bool has(uint32_t colour, int bits) const {
    uint32_t at = 0;
    for (int i = bits; i-- > 0;) {
      at = nodes_[at].next[colour >> i & 1];
      if (at == 0) return false;
    }
    return true;
  }

  // Adds a colour that it does not have.
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
      ++nodes_[at].colours;
    }
    ++count_;
  }

 private:
  struct Node {
    uint32_t next[2] = {0, 0};  // 0: none
    uint32_t colours = 0;       // below it
  };
  std::vector<Node> nodes_;
  uint32_t at_ = 0, count_ = 0;
  uint32_t without_[8] = {};
  int gone_ = 0, left_ = 0;
  bool full_ = false;
};

}  // namespace lmc::graphic
