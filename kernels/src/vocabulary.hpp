// The token table: byte strings in sorted order, walked as a trie.
//
// Sorting makes every trie node, and every bit prefix of the next byte under a
// node, a contiguous range [low, high) of token ids. No trie is stored: the
// ranges are found by binary search in the table itself.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lmc {

class Vocabulary {
 public:
  // `bytes` holds the strings one after another, `offsets` where each begins
  // and the last one ends. Throws std::invalid_argument unless the strings are
  // non-empty, strictly ascending, and include all 256 single bytes (so that
  // every byte string can be spelt).
  Vocabulary(std::vector<uint8_t> bytes, std::vector<uint32_t> offsets)
      : bytes_(std::move(bytes)), offsets_(std::move(offsets)) {
    if (offsets_.size() < 257 || offsets_.front() != 0 || offsets_.back() != bytes_.size()) {
      throw std::invalid_argument("token table: bad offsets");
    }
    int singles = 0;
    for (uint32_t id = 0; id < size(); ++id) {
      if (offsets_[id + 1] <= offsets_[id] || offsets_[id + 1] > bytes_.size()) {
        throw std::invalid_argument("token table: an empty or misplaced token");
      }
      singles += length(id) == 1;
    }
    for (uint32_t id = 1; id < size(); ++id) {
      if (!less(id - 1, id)) throw std::invalid_argument("token table: not sorted");
    }
    if (singles != 256) throw std::invalid_argument("token table: a single byte is missing");
    for (unsigned value = 0; value < 256; ++value) roots_[value] = search(0, size(), 0, value);
  }

  uint32_t size() const { return static_cast<uint32_t>(offsets_.size() - 1); }
  uint32_t length(uint32_t id) const { return offsets_[id + 1] - offsets_[id]; }
  const uint8_t* bytes(uint32_t id) const { return bytes_.data() + offsets_[id]; }

  // First id in [low, high) whose byte at `depth` is at least `value`. All ids
  // of the range must be longer than `depth` and agree in the bytes before it.
  uint32_t split(uint32_t low, uint32_t high, uint32_t depth, unsigned value) const {
    if (depth == 0) return std::min(std::max(roots_[value], low), high);  // the longest searches, known before
    return search(low, high, depth, value);
  }

 private:
  uint32_t search(uint32_t low, uint32_t high, uint32_t depth, unsigned value) const {
    while (low < high) {
      const uint32_t middle = low + (high - low) / 2;
      if (bytes(middle)[depth] < value) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }

  bool less(uint32_t a, uint32_t b) const {
    const uint8_t *x = bytes(a), *y = bytes(b);
    const uint32_t nx = length(a), ny = length(b);
    for (uint32_t i = 0; i < nx && i < ny; ++i) {
      if (x[i] != y[i]) return x[i] < y[i];
    }
    return nx < ny;
  }

  std::vector<uint8_t> bytes_;
  std::vector<uint32_t> offsets_;
  uint32_t roots_[256];  // by byte: the first id that begins with it or a greater one
};

}  // namespace lmc
