// Huffman codes as the writers of Ut Video and HuffYUV files make them, and their bits.
//
// Which lengths a writer gives to symbols of equal counts depends on how its heap is sifted; so the heap is part of
// the rule, and is done here step by step as FFmpeg's ff_huff_gen_len_table() (libavcodec/huffman.c) does it.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <utility>
#include <vector>

namespace lmc::huffman {

// The bytes are no packet that is understood, or no description of one.
struct Bad : std::runtime_error {
  Bad() : std::runtime_error("no packet that can be written again") {}
};

inline void require(bool right) {
  if (!right) throw Bad();
}

constexpr uint8_t kNone = 255;  // the length of a symbol without a code
constexpr int kLongest = 32;    // bits of a code

// How a writer finds lengths from counts. The numbers are on the wire.
enum Rule : uint8_t {
  kUsed,  // FFmpeg since 2014: only symbols that occur
  kAll,   // the same with all symbols
  kOld,   // before, and Libav: all symbols, and counts weigh less against the offset
  kRules
};

struct Weighed {
  uint64_t weight;
  uint32_t node;
};

// Moves an item down until no child is lighter; of equal children the first one is swapped.
inline void sift(std::vector<Weighed>& heap, size_t at) {
  for (size_t child; (child = 2 * at + 1) < heap.size(); at = child) {
    if (child + 1 < heap.size() && heap[child].weight > heap[child + 1].weight) ++child;
    if (heap[at].weight <= heap[child].weight) return;
    std::swap(heap[at], heap[child]);
  }
}

// Lengths of codes, below 32; kNone for symbols without one. At least two symbols must get a code. Counts are below
// 2^40: a weight is below 2^63, the one that marks an item as taken.
inline std::vector<uint8_t> lengths_of(const std::vector<uint64_t>& counts, Rule rule) {
  std::vector<uint8_t> lengths(counts.size(), kNone);
  std::vector<uint32_t> symbols;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (rule != kUsed || counts[i] != 0) symbols.push_back(static_cast<uint32_t>(i));
  }
  const size_t n = symbols.size();
  require(n >= 2);
  const int shift = rule == kOld ? 8 : 14;
  std::vector<Weighed> heap(n);
  std::vector<uint32_t> parent(2 * n), depth(2 * n);
  // A larger offset makes the tree flatter, until it is flat enough.
  for (uint64_t offset = 1;; offset <<= 1) {
    for (size_t i = 0; i < n; ++i) heap[i] = {(counts[symbols[i]] << shift) + offset, static_cast<uint32_t>(i)};
    for (size_t i = n / 2; i-- > 0;) sift(heap, i);
    for (size_t next = n; next < 2 * n - 1; ++next) {
      const uint64_t least = heap[0].weight;
      parent[heap[0].node] = static_cast<uint32_t>(next);
      heap[0].weight = INT64_MAX;
      sift(heap, 0);
      parent[heap[0].node] = static_cast<uint32_t>(next);
      heap[0].node = static_cast<uint32_t>(next);
      heap[0].weight += least;
      sift(heap, 0);
    }
    depth[2 * n - 2] = 0;
    for (size_t i = 2 * n - 2; i-- > 0;) depth[i] = depth[parent[i]] + 1;
    if (*std::max_element(depth.begin(), depth.begin() + static_cast<ptrdiff_t>(n)) < 32) break;
  }
  for (size_t i = 0; i < n; ++i) lengths[symbols[i]] = static_cast<uint8_t>(depth[i]);
  return lengths;
}

// The order of symbols whose codes have the same length.
enum class Order { kRising, kFalling };

// A complete prefix code: the longest codes come first. Raises Bad on lengths that make none.
class Code {
 public:
  Code(const std::vector<uint8_t>& lengths, Order order) : lengths_(lengths), codes_(lengths.size()) {
    std::vector<std::vector<uint32_t>> of(kLongest + 1);
    for (size_t i = 0; i < lengths.size(); ++i) {
      require(lengths[i] == kNone || (lengths[i] >= 1 && lengths[i] <= kLongest));
      if (lengths[i] != kNone) of[lengths[i]].push_back(static_cast<uint32_t>(i));
    }
    uint64_t start = 0;  // as a fraction of 2^32
    for (int length = kLongest; length >= 1; --length) {
      if (order == Order::kFalling) std::reverse(of[length].begin(), of[length].end());
      for (const uint32_t symbol : of[length]) {
        const uint64_t step = uint64_t{1} << (32 - length);
        require(start % step == 0 && start < uint64_t{1} << 32);
        codes_[symbol] = static_cast<uint32_t>(start / step);
        starts_.push_back(static_cast<uint32_t>(start));
        symbols_.push_back(symbol);
        start += step;
      }
    }
    require(start == uint64_t{1} << 32);
    uint32_t at = 0;
    for (uint32_t i = 0; i < kTable; ++i) {
      while (at + 1 < starts_.size() && starts_[at + 1] <= i << (32 - kTableBits)) ++at;
      first_[i] = at;
    }
    first_[kTable] = static_cast<uint32_t>(starts_.size()) - 1;
  }

  int length(uint32_t symbol) const { return lengths_[symbol]; }  // kNone: it has no code
  uint32_t code(uint32_t symbol) const { return codes_[symbol]; }
  // The symbol that 32 bits begin with.
  uint32_t find(uint32_t bits) const {
    const uint32_t top = bits >> (32 - kTableBits), low = first_[top], high = first_[top + 1];
    if (low == high) return symbols_[low];
    const auto begin = starts_.begin();
    return symbols_[static_cast<size_t>(std::upper_bound(begin + low, begin + high + 1, bits) - begin) - 1];
  }

 private:
  static constexpr int kTableBits = 11;
  static constexpr uint32_t kTable = 1u << kTableBits;
  std::vector<uint8_t> lengths_;
  std::vector<uint32_t> codes_, starts_, symbols_;  // starts_, symbols_: in the order of codes
  std::array<uint32_t, kTable + 1> first_;
};

// Words of 32 bits, their lowest byte first; in each the highest bit comes first. size: a multiple of four.
class WordReader {
 public:
  WordReader(const uint8_t* data, size_t size) : data_(data), size_(size) { require(size % 4 == 0); }

  uint32_t symbol(const Code& code) {
    const uint32_t found = code.find(peek());
    at_ += static_cast<size_t>(code.length(found));
    return found;
  }
  uint32_t bits(int n) {  // 1 to 32
    const uint32_t value = peek() >> (32 - n);
    at_ += static_cast<size_t>(n);
    return value;
  }
  bool beyond() const { return at_ > 8 * size_; }
  size_t at() const { return at_; }  // in bits

 private:
  // The next 32 bits; zeros behind the end.
  uint32_t peek() const {
    const size_t word = at_ / 32 * 4;
    const uint64_t both = static_cast<uint64_t>(load(word)) << 32 | load(word + 4);
    return static_cast<uint32_t>(both << (at_ % 32) >> 32);
  }
  uint32_t load(size_t at) const {
    if (at + 4 > size_) return 0;
    return data_[at] | data_[at + 1] << 8 | data_[at + 2] << 16 | static_cast<uint32_t>(data_[at + 3]) << 24;
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
};

class WordWriter {
 public:
  explicit WordWriter(std::vector<uint8_t>& out) : out_(out) {}

  void symbol(const Code& code, uint32_t symbol) {
    require(code.length(symbol) != kNone);
    bits(code.code(symbol), code.length(symbol));
  }
  void bits(uint32_t value, int n) {  // 1 to 32
    held_ = held_ << n | value;
    count_ += n;
    if (count_ < 32) return;
    count_ -= 32;
    word(static_cast<uint32_t>(held_ >> count_));
  }
  // Zeros to the end of a word.
  void align() {
    if (count_ != 0) bits(0, 32 - count_);
  }
  int count() const { return count_; }  // bits of a word that is not full

 private:
  void word(uint32_t value) {
    for (int i = 0; i < 4; ++i) out_.push_back(static_cast<uint8_t>(value >> 8 * i));
  }

  std::vector<uint8_t>& out_;
  uint64_t held_ = 0;
  int count_ = 0;
};

// What is predicted from left, above, and the sum of both less the one between them: the middle one.
inline uint8_t median(uint8_t left, uint8_t above, uint8_t corner) {
  const uint8_t plane = static_cast<uint8_t>(left + above - corner);
  return std::max(std::min(left, above), std::min(std::max(left, above), plane));
}

}  // namespace lmc::huffman
