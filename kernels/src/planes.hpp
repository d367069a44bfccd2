// The samples of a strip of a picture or of a frame, and what has been learned about their errors, with borders,
// so that every causal neighbour of every pixel can be read without asking whether it exists.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc {

constexpr int kBorder = 8;  // columns beside, and rows above
constexpr int kLag = 3;     // a row is this many pixels behind the row above it

// One value a pixel. The border is filled from what is known when it is needed: see `put`.
class Plane {
 public:
  Plane(int height, int width, int32_t first)
      : stride_(width + 2 * kBorder),
        height_(height),
        width_(width),
        first_(first),
        cells_(static_cast<size_t>(height + kBorder) * static_cast<size_t>(stride_), first) {}

  int32_t* at(int x, int y) {
    return cells_.data() + static_cast<ptrdiff_t>(y + kBorder) * stride_ + x + kBorder;
  }
  int stride() const { return stride_; }
  // As if nothing were known.
  void clear() { std::fill(cells_.begin(), cells_.end(), first_); }

  // Stores a value, and repeats it where a later pixel looks beyond the picture: in the first row into the
  // rows above, some pixels ahead; at the first pixel into the next row's left border; at the last to the right.
  void put(int x, int y, int32_t value) {
    int32_t* to = at(x, y);
    *to = value;
    if (y == 0) {
      for (int r = 1; r <= kBorder; ++r)
        for (int i = x == 0 ? -kBorder : 1; i <= kBorder && x + i < width_ + kBorder; ++i) *at(x + i, -r) = value;
    }
    if (x == 0) {
      for (int i = 1; i <= kBorder; ++i) {
        if (y == 0) to[-i] = value;
        if (y + 1 < height_) to[stride_ - i] = value;
      }
    }
    if (x == width_ - 1)
      for (int i = 1; i <= kBorder; ++i) to[i] = value;
  }

 private:
  int stride_, height_, width_;
  int32_t first_;
  std::vector<int32_t> cells_;
};

struct Offset {
  int8_t dx, dy;
};

// Neighbours in the order of their worth. With a lag of 3, row -k is known to column x + 3k - 1.
constexpr Offset kNear[] = {{-1, 0},  {0, -1},  {-1, -1}, {1, -1},  {-2, 0},  {0, -2},  {-1, -2},
                            {1, -2},  {-2, -1}, {2, -1},  {-3, 0},  {0, -3},  {-2, -2}, {2, -2},
                            {-3, -1}, {-1, -3}, {1, -3},  {3, -2},  {-3, -2}, {-4, 0}};

}  // namespace lmc
