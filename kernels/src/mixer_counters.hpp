// What the byte models remember: a hashed table of bit histories, and adaptive
// probabilities.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "buffer.hpp"
#include "mixer_tables.hpp"

namespace lmc::mixer {

// A probability that learns at rate 1/(n + 1.5), n capped: 22 bits of
// probability above a 10-bit count.
struct Adaptive {
  uint32_t value;

  uint32_t p22() const { return value >> 10; }
  uint32_t p12() const { return value >> 20; }
  // The distance to the observed bit shrinks by its (n + 1.5)th part.
  void update(const Tables& t, int bit, uint32_t limit) {
    const uint32_t n = value & 1023, mask = bit ? (1u << 22) - 1 : 0;
    uint32_t q = value >> 10 ^ mask;
    q -= static_cast<uint32_t>(uint64_t{q} * t.reciprocal[n] >> 16);
    value = (q ^ mask) << 10 | (n + (n < limit));
  }
};

// Bit histories of half a byte under one context: 15 nodes of a binary tree
// (node 1 the root), and a check byte at place 0. Four slots share a cache
// line; a context may lie in any of the four.
class HistoryTable {
 public:
  explicit HistoryTable(int log2_slots)
      : slots_(size_t{16} << log2_slots), shift_(32 - (log2_slots - 2)) {}

  // The line of a hash (what to prefetch).
  uint8_t* line(uint32_t hash) { return slots_.data() + (static_cast<size_t>(hash >> shift_) << 6); }

  // The slot of a hash in its line: the one whose check agrees, else the one
  // with the youngest root history, cleared.
  static uint8_t* find(uint8_t* line, uint8_t check) {
    uint8_t* worst = line;
    for (int i = 0; i < 4; ++i) {
      uint8_t* slot = line + 16 * i;
      if (slot[0] == check && slot[1] != 0) return slot;
      if (slot[1] < worst[1]) worst = slot;
    }
    std::memset(worst, 0, 16);
    worst[0] = check;
    return worst;
  }

 private:
  Buffer<uint8_t> slots_;
  int shift_;
};

}  // namespace lmc::mixer
