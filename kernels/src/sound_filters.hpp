// A long filter that learns by normalised steps of steepest descent (NLMS), in 16 and 32 bits.
//
// Method: B. Widrow and M. E. Hoff, 1960; cascades of such filters from long to short: M. Ashland, Monkey's
// Audio. Included by each variant of sound_*.cpp in a namespace of its own: no #pragma once.

class Filter {
 public:
  // taps: a multiple of 16. shift: inputs are 64ths of samples >> shift.
  Filter(int taps, int rate, int shift)
      : taps_(taps), rate_(rate), shift_(shift), history_(static_cast<size_t>(taps) + kRoom), weights_(static_cast<size_t>(taps)),
        high_(static_cast<size_t>(taps)) {}

  int32_t predict() const {
    return static_cast<int32_t>(dot16(history_.data() + at_, high_.data(), taps_)) >> (13 - shift_);
  }
  // value: what should have been predicted, in 64ths.
  void learn(int64_t value, int32_t predicted) {
    const int16_t* const x = history_.data() + at_;
    const int64_t error = clamp64((value - predicted) >> shift_, -32767, 32767);
    const int64_t step = clamp64(error * rate_ * (1 << 25) / (power_ + 64 * taps_ + 1), -65535, 65535);
    if (step != 0) train16(weights_.data(), high_.data(), x, static_cast<int32_t>(step), taps_);
    const int16_t now = static_cast<int16_t>(clamp64(value >> shift_, -32767, 32767));
    power_ += int32_t{now} * now - int32_t{x[0]} * x[0];
    history_[at_ + static_cast<size_t>(taps_)] = now;
    if (++at_ < kRoom) return;
    std::memmove(history_.data(), history_.data() + at_, static_cast<size_t>(taps_) * sizeof(int16_t));
    at_ = 0;
  }

 private:
  static constexpr size_t kRoom = 4096;
  int taps_, rate_, shift_;
  Buffer<int16_t> history_;  // the oldest first
  Buffer<int32_t> weights_;  // units of 2^-29
  Buffer<int16_t> high_;     // their upper halves
  size_t at_ = 0;
  int64_t power_ = 0;
};
