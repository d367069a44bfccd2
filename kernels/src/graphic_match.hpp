// Finds and follows the newest place with the same neighbourhood: in drawings
// glyphs and widgets come again.
#pragma once
#include <cstddef>
#include <cstdint>

#include "buffer.hpp"

namespace lmc::graphic {

class Match {
 public:
  // log2 of the number of remembered places; least: neighbours that must agree.
  Match(int log2_places, uint32_t least) : least_(least), shift_(32 - log2_places), heads_(size_t{1} << log2_places) {}

  bool following() const { return from_ != 0; }
  uint32_t expected() const { return expected_; }
  uint32_t length() const { return length_; }
  // How many of the newest 8 predictions were wrong.
  uint32_t misses() const { return static_cast<uint32_t>(__builtin_popcount(misses_)); }

  void prefetch(uint32_t hash) const { __builtin_prefetch(&heads_[hash >> shift_]); }

  // Before the pixel `at`, with the hash of its neighbourhood.
  void find(const uint32_t* pixels, size_t at, size_t stride, uint32_t hash) {
    uint32_t& head = heads_[hash >> shift_];
    if (head != 0 && length_ < kLong) {
      const uint32_t length = agreement(pixels, head, at, static_cast<ptrdiff_t>(stride));
      if (length >= least_ && length > length_) {
        from_ = head;
        length_ = length;
        misses_ = 0;
      }
    }
    head = static_cast<uint32_t>(at);
    expected_ = from_ != 0 ? pixels[from_] : 0;
  }

  // After it.
  void follow(uint32_t pixel) {
    if (from_ == 0) return;
    const bool hit = expected_ == pixel;
    misses_ = (misses_ << 1 | !hit) & 255;
    length_ = !hit ? 0 : length_ < kMost ? length_ + 1 : kMost;
    ++from_;
    if (misses() > 4) {
      from_ = 0;
      length_ = 0;
    }
  }

  // Past what lies between two rows.
  void next_row(size_t gap) {
    if (from_ != 0) from_ += gap;
  }

 private:
  static constexpr uint32_t kLong = 16, kMost = 65535;

  // Pixels around that agree before the first that does not, nearest first, at most 24.
  static uint32_t agreement(const uint32_t* pixels, size_t a, size_t b, ptrdiff_t s) {
    const ptrdiff_t around[] = {-1,         -s,         -s - 1,     -s + 1,     -2,         -2 * s,     -s + 2,     -s - 2,
                                -2 * s + 1, -2 * s - 1, -3,         -2 * s + 2, -2 * s - 2, -s + 3,     -s - 3,     -4,
                                -3 * s,     -3 * s + 1, -3 * s - 1, -s + 4,     -s - 4,     -5,         -2 * s + 3, -2 * s - 3};
    uint32_t length = 0;
    for (const ptrdiff_t o : around) {
      if (pixels[static_cast<ptrdiff_t>(a) + o] != pixels[static_cast<ptrdiff_t>(b) + o]) break;
      ++length;
    }
    return length;
  }

  uint32_t least_;
  int shift_;
  Buffer<uint32_t> heads_;  // places, 0: none
  size_t from_ = 0;         // where the predicted pixel lies, 0: nowhere
  uint32_t expected_ = 0;
  uint32_t length_ = 0;  // neighbours that agreed, and then hits in a row
  uint32_t misses_ = 0;  // the newest 8 predictions, 1: wrong, newest lowest
};

}  // namespace lmc::graphic
