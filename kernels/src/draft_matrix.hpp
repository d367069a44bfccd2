// Products of int8 matrices with rows of floats, for drafts: fast on few rows, exact on none.
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "buffer.hpp"
#include "threads.hpp"

namespace lmc::draft {

constexpr int kStrip = 16;  // outputs side by side

// out[r][kStrip] = sum over k of w[k][kStrip] x[r][k], for up to four rows.
void strip_products(const int8_t* w, int inputs, const float* const* x, int rows, float* out);

class Matrix {
 public:
  Matrix() = default;
  // w: [outputs][inputs]; scale: one for each output.
  Matrix(const int8_t* w, const float* scale, int outputs, int inputs)
      : outputs_(outputs), inputs_(inputs), strips_((outputs + kStrip - 1) / kStrip),
        packed_(static_cast<size_t>(strips_) * static_cast<size_t>(inputs) * kStrip), scale_(static_cast<size_t>(strips_ * kStrip), 0.0f) {
    for (int o = 0; o < outputs; ++o) {
      scale_[static_cast<size_t>(o)] = scale[o];
      int8_t* to = packed_.data() + static_cast<size_t>(o / kStrip) * static_cast<size_t>(inputs) * kStrip + o % kStrip;
      for (int k = 0; k < inputs; ++k) to[static_cast<size_t>(k) * kStrip] = w[static_cast<size_t>(o) * static_cast<size_t>(inputs) + static_cast<size_t>(k)];
    }
  }

  int outputs() const { return outputs_; }
  int inputs() const { return inputs_; }

  // out: [rows][stride], of which `outputs` are written; x: [rows][inputs].
  void multiply(Pool& pool, const float* x, int rows, float* out, size_t stride) const {
    const int tasks = strips_ < 8 ? 1 : 4 * pool.threads();
    pool.run(tasks, [&](int task, int) {
      for (int s = strips_ * task / tasks; s < strips_ * (task + 1) / tasks; ++s) {
        const int8_t* w = packed_.data() + static_cast<size_t>(s) * static_cast<size_t>(inputs_) * kStrip;
        const int n = outputs_ - s * kStrip < kStrip ? outputs_ - s * kStrip : kStrip;
        for (int r = 0; r < rows; r += 4) {
          const int count = rows - r < 4 ? rows - r : 4;
          const float* from[4];
          alignas(64) float sums[4 * kStrip];
          for (int i = 0; i < count; ++i) from[i] = x + static_cast<size_t>(r + i) * static_cast<size_t>(inputs_);
          strip_products(w, inputs_, from, count, sums);
          for (int i = 0; i < count; ++i)
            for (int o = 0; o < n; ++o)
              out[static_cast<size_t>(r + i) * stride + static_cast<size_t>(s * kStrip + o)] = sums[i * kStrip + o] * scale_[static_cast<size_t>(s * kStrip + o)];
        }
      }
    });
  }

 private:
  int outputs_ = 0, inputs_ = 0, strips_ = 0;
  Buffer<int8_t> packed_;
  std::vector<float> scale_;
};

}  // namespace lmc::draft
