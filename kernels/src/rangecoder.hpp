// A binary range coder that reads and writes the words of constriction's
// RangeEncoder/RangeDecoder (32-bit words, 64-bit state) bit for bit.
//
// The loops of lmc must look at each decoded bit before they can compute the
// next probability, so the coder lives beside them; tests/kernels/test_coder.py
// pins this file against constriction itself on random streams. A decision
// with probability p (that the bit is 1, in units of 2^-24) is the symbol of a
// categorical distribution [2^24 - p, p]: bit 0 lies below bit 1.
//
// Method: G. N. N. Martin, "Range encoding", 1979; the carry handling by
// counting "inverted" words is constriction's (R. Bamler, 2022).
#pragma once
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace lmc {

constexpr int kProbBits = 24;  // 1 <= p <= 2^24 - 1

class RangeEncoder {
 public:
  void encode(int bit, uint32_t p) {
    const uint64_t scale = range_ >> kProbBits;
    const uint64_t below = (uint64_t{1} << kProbBits) - p;
    const uint64_t new_lower = lower_ + (bit ? scale * below : 0);
    range_ = scale * (bit ? p : below);
    if (inverted_ != 0 && new_lower + range_ > new_lower) {
      // The interval no longer straddles the wrap: the held-back words are known.
      release(new_lower < lower_);
    }
    lower_ = new_lower;
    if (range_ < (uint64_t{1} << 32)) {
      const uint32_t word = static_cast<uint32_t>(lower_ >> 32);
      lower_ <<= 32;
      range_ <<= 32;
      if (inverted_ != 0) {
        ++inverted_;
      } else if (lower_ + range_ > lower_) {
        words_.push_back(word);
      } else {
        inverted_ = 1;
        first_inverted_ = word;
      }
    }
  }

  // Ends the stream as constriction does: whatever words follow, it decodes.
  std::vector<uint32_t> words() && {
    if (range_ == UINT64_MAX) return std::move(words_);
    const uint64_t point = lower_ + ((uint64_t{1} << 32) - 1);
    if (inverted_ != 0) release(point < lower_);
    const uint32_t word = static_cast<uint32_t>(point >> 32);
    words_.push_back(word);
    // Only where one word does not decide between the ends of the interval.
    if (static_cast<uint32_t>((lower_ + range_) >> 32) == word) words_.push_back(0);
    return std::move(words_);
  }

  // Ends the stream for a reader that knows its length and reads zeros behind
  // it: the words, highest byte first, ending with the shortest point of the
  // interval, whose zero bytes (up to 8) are left out.
  std::vector<uint8_t> bytes() && {
    uint64_t point = lower_;
    for (int free = 64; free > 0; free -= 8) {
      const uint64_t mask = free == 64 ? UINT64_MAX : (uint64_t{1} << free) - 1;
      point = (lower_ + mask) & ~mask;
      if (point - lower_ < range_) break;
      point = lower_;
    }
    if (inverted_ != 0) release(point < lower_);  // else nothing can have wrapped
    words_.push_back(static_cast<uint32_t>(point >> 32));
    words_.push_back(static_cast<uint32_t>(point));
    std::vector<uint8_t> out;
    out.reserve(words_.size() * 4);
    for (const uint32_t word : words_) {
      for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<uint8_t>(word >> shift));
    }
    for (int last = 0; last < 8 && out.back() == 0; ++last) out.pop_back();
    return out;
  }

 private:
  void release(bool carry) {
    words_.push_back(carry ? first_inverted_ + 1 : first_inverted_);
    words_.insert(words_.end(), inverted_ - 1, carry ? 0 : UINT32_MAX);
    inverted_ = 0;
  }

  uint64_t lower_ = 0;
  uint64_t range_ = UINT64_MAX;
  size_t inverted_ = 0;
  uint32_t first_inverted_ = 0;
  std::vector<uint32_t> words_;
};

class RangeDecoder {
 public:
  // Reads `size` bytes (words, highest byte first) of memory that outlives the
  // decoder, and zeros behind them.
  RangeDecoder(const uint8_t* bytes, size_t size) : next_(bytes), end_(bytes + size) {
    point_ = static_cast<uint64_t>(read()) << 32;
    point_ |= read();
  }

  int decode(uint32_t p) {
    const uint64_t scale = range_ >> kProbBits;
    const uint64_t below = scale * ((uint64_t{1} << kProbBits) - p);
    int bit = 0;
    if (point_ - lower_ >= below) {
      bit = 1;
      lower_ += below;
      range_ = scale * p;
      // Behind the last symbol lies only rounding slack: no encoder points there.
      if (point_ - lower_ >= range_) damaged_ = true;
    } else {
      range_ = below;
    }
    if (range_ < (uint64_t{1} << 32)) {
      lower_ <<= 32;
      range_ <<= 32;
      point_ = (point_ << 32) | read();
    }
    return bit;
  }

  // True once the bytes have shown that they cannot come from the encoder.
  bool damaged() const { return damaged_; }

 private:
  uint32_t read() {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) {
      word <<= 8;
      if (next_ != end_) {
        word |= *next_++;
      } else if (++missing_ > 8) {
        damaged_ = true;  // the encoder leaves out 8 bytes at most
      }
    }
    return word;
  }

  const uint8_t* next_;
  const uint8_t* end_;
  uint64_t lower_ = 0;
  uint64_t range_ = UINT64_MAX;
  uint64_t point_ = 0;
  int missing_ = 0;
  bool damaged_ = false;
};

}  // namespace lmc
