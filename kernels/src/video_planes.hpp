// Planes with borders that repeat their outermost samples, so that what lies around a place, also a moved one,
// can be read without asking whether it exists.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc::video {

template <class T>
class Bordered {
 public:
  Bordered(int width, int height, int border, T first = 0)
      : width_(width), height_(height), border_(border), stride_(width + 2 * border),
        cells_(static_cast<size_t>(stride_) * static_cast<size_t>(height + 2 * border), first) {}
  int stride() const { return stride_; }
  T* at(int x, int y) { return cells_.data() + place(x, y); }
  const T* at(int x, int y) const { return cells_.data() + place(x, y); }

  // Fills the border from what is inside.
  void extend() {
    for (int y = 0; y < height_; ++y) {
      T* const row = at(0, y);
      for (int i = 1; i <= border_; ++i) {
        row[-i] = row[0];
        row[width_ - 1 + i] = row[width_ - 1];
      }
    }
    for (int i = 1; i <= border_; ++i) {
      for (int x = -border_; x < width_ + border_; ++x) {
        *at(x, -i) = *at(x, 0);
        *at(x, height_ - 1 + i) = *at(x, height_ - 1);
      }
    }
  }

 private:
  size_t place(int x, int y) const { return static_cast<size_t>(y + border_) * static_cast<size_t>(stride_) + static_cast<size_t>(x + border_); }
  int width_, height_, border_, stride_;
  std::vector<T> cells_;
};

using Reference = Bordered<uint16_t>;  // a plane of an earlier frame

}  // namespace lmc::video
