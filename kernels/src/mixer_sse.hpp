// Adaptive probability maps (secondary symbol estimation): a context and a
// coarse logit give a corrected probability.
#pragma once
#include <cstdint>

#include "mixer_counters.hpp"

namespace lmc::mixer {

class ProbabilityMap {
 public:
  static constexpr int kSteps = 24;         // cells between -12 and +12 nats
  static constexpr int32_t kStep = 4096;    // one cell, units of 2^-12 nat

  ProbabilityMap(const Tables& t, size_t contexts, uint32_t limit)
      : limit_(limit), cells_(contexts * (kSteps + 1)) {
    for (size_t i = 0; i < cells_.size(); ++i)
      cells_[i] = i > kSteps ? cells_[i - kSteps - 1]
                             : Adaptive{(squash24(t, clamp_logit(static_cast<int32_t>(i) * kStep - 49152)) >> 2) << 10 | 6};
  }

  void prefetch(size_t context) const {
    const char* at = reinterpret_cast<const char*>(&cells_[context * (kSteps + 1)]);
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
  }
  // Probability of a one, 24 bits (may be 0; the caller clamps).
  uint32_t refine(size_t context, int32_t logit) {
    const uint32_t at = static_cast<uint32_t>(logit + 49152);
    const uint32_t cell = at / kStep, part = at % kStep;
    const size_t base = context * (kSteps + 1) + cell;
    const uint64_t sum = uint64_t{cells_[base].p22()} * (kStep - part) + uint64_t{cells_[base + 1].p22()} * part;
    chosen_ = base + (part >= kStep / 2);
    return static_cast<uint32_t>(sum * 4 / kStep);
  }
  void update(const Tables& t, int bit) { cells_[chosen_].update(t, bit, limit_); }

 private:
  uint32_t limit_;
  Buffer<Adaptive> cells_;
  size_t chosen_ = 0;
};

}  // namespace lmc::mixer
