// Linear predictors of a channel that learn from every colour that is coded.
//
// Method: normalised least mean squares (N. Nagumo, A. Noda, 1967), in integers.
#pragma once
#include <cstdint>

namespace lmc::graphic {

// A slow and a fast one of the same features. Predictions are in units of 1/4.
class Linear {
 public:
  static constexpr int kFeatures = 14;

  Linear() {
    for (auto& w : weight_) {  // a plane, and the change of the channel before
      w[0] = 32768;
      w[1] = -16384;
      w[2] = 16384;
      w[8] = 49152;
      w[9] = -16384;
    }
  }

  // features: differences from `origin` or of other channels, within +-255; most: the greatest sample.
  void predict(const int (&features)[kFeatures], int origin, int most) {
    for (int k = 0; k < 2; ++k) {
      int64_t sum = 0;
      for (int i = 0; i < kFeatures; ++i) {
        f_[i] = features[i];
        sum += int64_t{weight_[k][i]} * f_[i];
      }
      const int64_t v = (sum >> 14) + 4 * origin;
      out_[k] = static_cast<int>(v < 0 ? 0 : v > 4 * most ? 4 * most : v);
    }
  }
  int fast() const { return out_[0]; }
  int slow() const { return out_[1]; }

  void learn(int sample) {
    int64_t norm = 16;
    for (const int v : f_) norm += v * v;
    for (int k = 0; k < 2; ++k) {
      const int64_t step = static_cast<int64_t>(4 * sample - out_[k]) * (k ? 256 : 1024);
      for (int i = 0; i < kFeatures; ++i) {
        const int64_t v = weight_[k][i] + step * f_[i] / norm;  // rounds towards 0
        weight_[k][i] = static_cast<int32_t>(v > kLimit ? kLimit : v < -kLimit ? -kLimit : v);
      }
    }
  }

 private:
  static constexpr int64_t kLimit = (4 << 16) - 1;

  int32_t weight_[2][kFeatures] = {};  // units of 2^-16
  int f_[kFeatures] = {};
  int out_[2] = {};
};

}  // namespace lmc::graphic
