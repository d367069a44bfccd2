// The range coder of FFV1 and its symbols (RFC 9043, 3.8.1). A bit is coded with a state, which is
// its probability of being 1 in 256ths and then moves on by a table. Reader and writer have the
// same face, so that what is coded is said once for both: `bit(known, state)` writes the bit that is
// known, or ignores it and says what was read.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "flac_bits.hpp"

namespace lmc::ffv1 {

using flac::BitReader, flac::BitWriter, flac::length_of;

// The bytes are no FFV1, or such as cannot be written again.
struct Bad : std::runtime_error {
  Bad() : std::runtime_error("no FFV1 packets that can be written again") {}
};

inline void require(bool right) {
  if (!right) throw Bad();
}

// Where a state goes after a 0 or a 1.
struct Transitions {
  std::array<uint8_t, 256> after_0{}, after_1{};

  void set(int state, uint8_t next) {
    after_1[state] = next;
    after_0[256 - state] = static_cast<uint8_t>(256 - next);
  }
  // The table of RFC 9043, 3.8.1.3: each 1 takes a twentieth off the probability of a 0.
  static Transitions usual() {
    constexpr int64_t kOne = int64_t{1} << 32, kRate = kOne / 20;
    constexpr int kMost = 248;  // no state is surer
    const auto nearer = [](int64_t p) { return p + (((kOne - p) * kRate + kOne / 2) >> 32); };
    const auto to_state = [](int64_t p) { return static_cast<int>((256 * p + kOne / 2) >> 32); };
    std::array<int, 256> next{};
    int last = 0;
    int64_t p = kOne / 2;
    for (int i = 0; i < 128; ++i, p = nearer(p)) {  // the way from 128 on
      const int state = std::max(to_state(p), last + 1);
      if (last != 0 && last < 256 && state <= kMost) next[last] = state;
      last = state;
    }
    for (int i = 256 - kMost; i <= kMost; ++i) {
      if (next[i] == 0) next[i] = std::min(std::max(to_state(nearer((i * kOne + 128) >> 8)), i + 1), kMost);
    }
    Transitions table;
    for (int i = 1; i < 255; ++i) table.after_1[i] = static_cast<uint8_t>(next[i]);
    for (int i = 1; i < 255; ++i) table.after_0[i] = static_cast<uint8_t>(256 - next[256 - i]);
    return table;
  }
};

class RangeReader {
 public:
  static constexpr bool kWrites = false;

  RangeReader(std::string_view bytes, const Transitions& moves) : bytes_(bytes), moves_(&moves) {
    require(bytes.size() >= 2);
    low_ = static_cast<uint32_t>(next() << 8);
    low_ |= next();
    require(low_ < range_);
  }

  int bit(int, uint8_t& state) {
    const uint32_t ones = range_ * state >> 8;
    range_ -= ones;
    int bit = 0;
    if (low_ < range_) {
      state = moves_->after_0[state];
    } else {
      bit = 1;
      low_ -= range_;
      range_ = ones;
      state = moves_->after_1[state];
    }
    if (range_ < 0x100) {
      range_ <<= 8;
      low_ = low_ << 8 | next();
    }
    return bit;
  }
  void use(const Transitions& moves) { moves_ = &moves; }
  void within(size_t) const {}
  // The end, where bits of another kind follow; returns where they begin.
  size_t finish() { return at_ - 1; }

 private:
  uint32_t next() {
    // A reader is at most two bytes ahead; one that goes on has been led astray.
    require(at_ < bytes_.size() + 2);
    const uint32_t byte = at_ < bytes_.size() ? static_cast<uint8_t>(bytes_[at_]) : 0;
    ++at_;
    return byte;
  }

  std::string_view bytes_;
  const Transitions* moves_;
  size_t at_ = 0;
  uint32_t low_ = 0, range_ = 0xFF00;
};

class RangeWriter {
 public:
  static constexpr bool kWrites = true;

  RangeWriter(std::vector<uint8_t>& out, const Transitions& moves) : out_(&out), moves_(&moves) {}

  int bit(int value, uint8_t& state) {
    const uint32_t ones = range_ * state >> 8;
    if (value == 0) {
      range_ -= ones;
      state = moves_->after_0[state];
    } else {
      require(ones != 0);  // a state that a table of the file's own leads to
      low_ += range_ - ones;
      range_ = ones;
      state = moves_->after_1[state];
    }
    renew();
    return value;
  }
  void use(const Transitions& moves) { moves_ = &moves; }
  // Raises Bad if more has been written.
  void within(size_t most) const { require(out_->size() + waiting_ <= most); }
  void finish() {
    low_ += 0xFF;
    for (int i = 0; i < 2; ++i) {
      range_ = 0xFF;
      renew();
    }
  }

 private:
  void renew() {
    while (range_ < 0x100) {
      const uint32_t top = low_ >> 8;
      if (low_ > 0xFF00 && low_ < 0x10000) {  // a carry may still come
        ++waiting_;
      } else {
        if (held_ >= 0) out_->push_back(static_cast<uint8_t>(held_ + (top >> 8)));
        out_->insert(out_->end(), waiting_, static_cast<uint8_t>(top > 0xFF ? 0 : 0xFF));
        waiting_ = 0;
        held_ = static_cast<int>(top & 0xFF);
      }
      low_ = (low_ & 0xFF) << 8;
      range_ <<= 8;
    }
  }

  std::vector<uint8_t>* out_;
  const Transitions* moves_;
  uint32_t low_ = 0, range_ = 0xFF00;
  int held_ = -1;       // the byte that a carry would change
  size_t waiting_ = 0;  // bytes 0xFF behind it
};

using States = std::array<uint8_t, 32>;

inline States fresh_states() {
  States states;
  states.fill(128);
  return states;
}

// A number: whether it is 0, the length of its size in ones, the bits below the first one, its sign.
template <typename Coder>
inline int32_t symbol(Coder& coder, int32_t known, States& states, bool has_sign) {
  const uint32_t size = known < 0 ? 0u - static_cast<uint32_t>(known) : static_cast<uint32_t>(known);
  if (coder.bit(known == 0, states[0])) return 0;
  const int length = Coder::kWrites ? length_of(size) - 1 : 0;
  int e = 0;
  while (coder.bit(e < length, states[1 + std::min(e, 9)])) require(++e < 31);
  uint32_t found = 1;
  for (int i = e - 1; i >= 0; --i) {
    found = 2 * found + static_cast<uint32_t>(coder.bit(static_cast<int>(size >> i & 1), states[22 + std::min(i, 9)]));
  }
  const bool negative = has_sign && coder.bit(known < 0, states[11 + std::min(e, 10)]);
  return static_cast<int32_t>(negative ? 0u - found : found);
}

}  // namespace lmc::ffv1
