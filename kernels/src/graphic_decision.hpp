// One kind of binary decision: adaptive probabilities (the voices), a mixer of
// its own, and two probability maps behind it. The parts are the byte models'.
#pragma once
#include <cstdint>

#include "mixer_counters.hpp"
#include "mixer_simd.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"

namespace lmc::graphic {

using mixer::Adaptive;
using mixer::Tables;

constexpr uint32_t kFrozenHalf = 1u << 31 | 1023;  // says nothing and learns nothing

template <int kVoices, int kSets, int kFinalShift, int kLastShift>
class Decision {
 public:
  static constexpr int kWidth = (kVoices + 7) / 8 * 8;
  static constexpr int kInputs = 2 * kWidth;

  // sizes: vectors of each weight set; weight: of each voice at first, units of 2^-16;
  // contexts: of the two probability maps.
  Decision(const Tables& t, bool avx2, const int* sizes, int32_t weight, int finals, size_t contexts1, size_t contexts2)
      : t_(t), avx2_(avx2), mixer_(sizes, First(weight).w, finals), refine_{{t, contexts1, 255}, {t, contexts2, 255}} {
    for (int i = 0; i < kWidth; ++i) {
      at_[i] = &silent_;
      limits_[i] = 255;
    }
  }
  Decision(const Decision&) = delete;
  Decision& operator=(const Decision&) = delete;

  // A voice for the next bit; each of its own cell.
  void voice(int i, Adaptive* cell) { at_[i] = &cell->value; }
  void silence(int i) { at_[i] = &silent_; }

  // The probability of a one, units of 2^-24, within [16, 2^24 - 16].
  uint32_t predict(const int* selected, int final_context, size_t context1, size_t context2) {
    mixer_.select(selected, final_context);
    refine_[0].prefetch(context1);
    refine_[1].prefetch(context2);
    (avx2_ ? mixer::inputs_avx2<kWidth> : mixer::inputs_scalar<kWidth>)(t_, at_, flip_, values_, x_);
    const int32_t logit = mixer_.predict(avx2_, x_);
    const uint32_t p = mixer::squash24(t_, logit);
    const uint32_t q1 = refine_[0].refine(context1, logit);
    const uint32_t q2 = refine_[1].refine(context2, logit);
    const uint32_t r = (2 * p + q1 + q2 + 2) >> 2;
    return r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r;
  }

  void learn(int bit) {
    mixer_.update(avx2_, t_, x_, bit);
    refine_[0].update(t_, bit);
    refine_[1].update(t_, bit);
    (avx2_ ? mixer::learn_avx2<kWidth> : mixer::learn_scalar<kWidth>)(t_, values_, limits_, bit);
    for (int i = 0; i < kVoices; ++i) *at_[i] = values_[i];
  }

 private:
  struct First {
    int32_t w[kInputs] = {};
    explicit First(int32_t weight) {
      for (int i = 0; i < kVoices; ++i) w[i] = weight;
    }
  };

  const Tables& t_;
  const bool avx2_;
  alignas(32) uint32_t values_[kWidth] = {};
  alignas(32) uint32_t limits_[kWidth];
  alignas(32) int16_t x_[kInputs] = {};
  uint32_t flip_[kWidth] = {};
  uint32_t* at_[kWidth];
  uint32_t silent_ = kFrozenHalf;
  mixer::Mixer<kSets, kInputs, kFinalShift, kLastShift> mixer_;
  mixer::ProbabilityMap refine_[2];
};

}  // namespace lmc::graphic
