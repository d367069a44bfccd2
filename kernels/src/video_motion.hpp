// Motion: for each block of luma, how far away its like lies in each earlier frame; vectors as decisions, and how an
// encoder finds them. ARITHMETIC.md, "Videos".
#pragma once
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "mixer_counters.hpp"
#include "mixer_tables.hpp"
#include "video.hpp"
#include "video_planes.hpp"

namespace lmc::video {

constexpr int kBlock = 16;
constexpr int kBeyond = 16;  // how far outside the frame a block's like may lie
constexpr int kReach = 3;    // of a window around a sample's like
constexpr int kBorderOfReference = kBeyond + kReach + 1;

struct Vector {
  int32_t x = 0, y = 0;  // columns and rows of luma
};

// The vectors of a frame into one earlier frame.
class Field {
 public:
  Field(int width, int height)
      : width_(width), height_(height), columns_((width + kBlock - 1) / kBlock), rows_((height + kBlock - 1) / kBlock),
        vectors_(static_cast<size_t>(columns_) * static_cast<size_t>(rows_)) {}
  int columns() const { return columns_; }
  int rows() const { return rows_; }
  Vector& at(int column, int row) { return vectors_[static_cast<size_t>(row) * static_cast<size_t>(columns_) + static_cast<size_t>(column)]; }
  const Vector& at(int column, int row) const { return const_cast<Field*>(this)->at(column, row); }
  const Vector& of(int x, int y) const { return at(x / kBlock, y / kBlock); }

  // What a vector is likely to be: the median of those to the left, above, and above to the right.
  Vector guess(int column, int row) const {
    const Vector none;
    const Vector& a = column > 0 ? at(column - 1, row) : none;
    const Vector& b = row > 0 ? at(column, row - 1) : none;
    const Vector& c = row > 0 && column + 1 < columns_ ? at(column + 1, row - 1) : none;
    return {median(a.x, b.x, c.x), median(a.y, b.y, c.y)};
  }
  // Whether the block moved by v lies near enough to the frame.
  bool allows(int column, int row, Vector v) const {
    const int x0 = column * kBlock, y0 = row * kBlock;
    const int x1 = x0 + kBlock < width_ ? x0 + kBlock : width_, y1 = y0 + kBlock < height_ ? y0 + kBlock : height_;
    return v.x >= -kBeyond - x0 && v.y >= -kBeyond - y0 && v.x <= width_ + kBeyond - x1 && v.y <= height_ + kBeyond - y1;
  }

 private:
  static int32_t median(int32_t a, int32_t b, int32_t c) {
    const int32_t low = a < b ? a : b, high = a < b ? b : a;
    return c < low ? low : c > high ? high : c;
  }
  int width_, height_, columns_, rows_;
  std::vector<Vector> vectors_;
};

// Codes fields: what a vector differs by from its guess, each number by its length, its bits and its sign.
class FieldCoder {
 public:
  FieldCoder() : t_(mixer::tables()) {
    for (auto& cell : cells_) cell.value = uint32_t{1} << 31 | 0;  // one half, never seen
  }
  // False if a vector leads too far away.
  template <class Coder>
  bool code(Coder& coder, Field& field, int reference) {
    const auto moved = [&field](int column, int row) {
      const Vector g = field.guess(column, row), v = field.at(column, row);
      return v.x != g.x || v.y != g.y;
    };
    for (int row = 0; row < field.rows(); ++row) {
      for (int column = 0; column < field.columns(); ++column) {
        const Vector guess = field.guess(column, row);
        Vector& v = field.at(column, row);
        const int near = (column > 0 && moved(column - 1, row)) + (row > 0 && moved(column, row - 1));
        v.x = guess.x + number(coder, v.x - guess.x, reference, near);
        v.y = guess.y + number(coder, v.y - guess.y, reference, 3 + near);
        if (!field.allows(column, row, v)) return false;
      }
    }
    return true;
  }

 private:
  static constexpr int kLengths = 20;
  // Whether longer, for each length; the first bit below the highest, by length; the sign.
  static constexpr int kCells = 2 * kLengths + 1;
  template <class Coder>
  int32_t number(Coder& coder, int32_t value, int reference, int context) {
    mixer::Adaptive* const cells = cells_ + (reference * 6 + context) * kCells;
    const uint32_t size = static_cast<uint32_t>(value < 0 ? -value : value);
    const int known = size == 0 ? 0 : 32 - __builtin_clz(size);
    int length = 0;
    while (length < kLengths - 1 && flag(coder, cells[length], length < known)) ++length;
    uint32_t v = length > 0;
    for (int i = length - 2; i >= 0; --i) {
      const int bit = static_cast<int>(size >> i & 1);
      v = v << 1 | static_cast<uint32_t>(i == length - 2 ? flag(coder, cells[kLengths + length], bit) : coder(bit, 1 << 23));
    }
    return v != 0 && flag(coder, cells[2 * kLengths], value < 0) ? -static_cast<int32_t>(v) : static_cast<int32_t>(v);
  }
  template <class Coder>
  int flag(Coder& coder, mixer::Adaptive& cell, int bit) {
    const uint32_t p = cell.p22() * 4;
    const int got = coder(bit, p < 16 ? 16 : p > (1u << 24) - 16 ? (1u << 24) - 16 : p);
    cell.update(t_, got, 255);
    return got;
  }

  const mixer::Tables& t_;
  mixer::Adaptive cells_[kReferences * 6 * kCells];
};

// Finds vectors: the least sum of differences, and a price for each bit by which a vector is less likely. The least
// squares do best where vectors change rarely, so the price is high. hint: the field into the last frame, if this
// one is into an earlier one, `back` frames ago.
inline void search(const Reference& now, const Reference& then, int width, int height, int depth, Field& field,
                   const Field* hint, int back) {
  const int64_t price = depth >= 8 ? int64_t{100} << (depth - 8) : int64_t{100} >> (8 - depth);
  const auto bits = [](int32_t d) {
    int n = 1;
    for (uint32_t v = static_cast<uint32_t>(d < 0 ? -d : d); v != 0; v >>= 1) n += 2;
    return n;
  };
  for (int row = 0; row < field.rows(); ++row) {
    for (int column = 0; column < field.columns(); ++column) {
      const int x0 = column * kBlock, y0 = row * kBlock;
      const int w = width - x0 < kBlock ? width - x0 : kBlock, h = height - y0 < kBlock ? height - y0 : kBlock;
      const Vector guess = field.guess(column, row);
      Vector best;
      int64_t least = INT64_MAX;
      const auto attempt = [&](int32_t x, int32_t y) {
        if (!field.allows(column, row, {x, y})) return;
        int64_t cost = price * (bits(x - guess.x) + bits(y - guess.y));
        for (int i = 0; i < h && cost < least; ++i) {
          const uint16_t* const a = now.at(x0, y0 + i);
          const uint16_t* const b = then.at(x0 + x, y0 + i + y);
          uint32_t sum = 0;
          for (int j = 0; j < w; ++j) sum += static_cast<uint32_t>(std::abs(a[j] - b[j]));
          cost += sum;
        }
        if (cost < least) {
          least = cost;
          best = {x, y};
        }
      };
      attempt(0, 0);
      attempt(guess.x, guess.y);
      if (hint != nullptr) attempt(back * hint->at(column, row).x, back * hint->at(column, row).y);
      if (column > 0) attempt(field.at(column - 1, row).x, field.at(column - 1, row).y);
      if (row > 0) attempt(field.at(column, row - 1).x, field.at(column, row - 1).y);
      constexpr int kAround = 7;
      const Vector middle = best;
      for (int y = -kAround; y <= kAround; ++y)
        for (int x = -kAround; x <= kAround; ++x) attempt(middle.x + x, middle.y + y);
      for (int step = 8; step > 0; step /= 2) {
        for (Vector from{best.x + 1, best.y}; from.x != best.x || from.y != best.y;) {
          from = best;
          attempt(from.x + step, from.y);
          attempt(from.x - step, from.y);
          attempt(from.x, from.y + step);
          attempt(from.x, from.y - step);
        }
      }
      field.at(column, row) = best;
    }
  }
}

}  // namespace lmc::video
