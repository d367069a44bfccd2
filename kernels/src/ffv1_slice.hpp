// Samples of a slice of FFV1: each is foretold from its neighbours, and what it differs by is coded in
// a context of their differences (RFC 9043, 3.1 to 3.8). One walk reads and writes: it takes a
// `Codes`, which are of the range coder or Golomb-Rice codes, and whose kWrites tells which it is.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "ffv1_parameters.hpp"

namespace lmc::ffv1 {

// What Golomb-Rice codes know of a context.
struct Rice {
  int32_t drift = 0, error = 4, bias = 0, count = 1;

  int parameter() const {
    int k = 0;
    for (int64_t i = count; i < error; i += i) ++k;
    return k;
  }
  int32_t flip() const { return (2 * drift + count) >> 31; }
  void update(int32_t v) {
    error += std::abs(v);
    drift += v;
    if (count == 128) {
      count >>= 1;
      drift >>= 1;
      error >>= 1;
    }
    ++count;
    if (drift <= -count) {
      bias = std::max(bias - 1, -128);
      drift = std::max(drift + count, 1 - count);
    } else if (drift > 0) {
      bias = std::min(bias + 1, 127);
      drift = std::min(drift - count, 0);
    }
  }
};

// The contexts of a set, in a slice.
struct Contexts {
  int table = -1;
  std::vector<States> states;  // for the range coder
  std::vector<Rice> rice;      // for Golomb-Rice codes
};

// The lowest `bits` with their sign.
inline int32_t folded(int32_t value, int bits) {
  return static_cast<int32_t>(static_cast<uint32_t>(value) << (32 - bits)) >> (32 - bits);
}

template <typename Coder>
class RangeCodes {
 public:
  static constexpr bool kWrites = Coder::kWrites;

  // most: bytes that it may write. Hostile fields could make it write 60 for each sample.
  RangeCodes(Coder& coder, size_t most) : coder_(coder), most_(most) {}
  void begin_plane() {}
  void begin(Contexts& contexts, int) {
    coder_.within(most_);
    states_ = contexts.states.data();
  }
  int32_t code(int32_t known, int context, int, int) { return symbol(coder_, known, states_[context], true); }
  void end() {}

 private:
  Coder& coder_;
  const size_t most_;
  States* states_ = nullptr;
};

constexpr int kLimit = 12;  // zeros before a value that is written plainly

// log2 of how many zeros each step of a run stands for.
constexpr std::array<int, 41> kRunBits = {0, 0, 0, 0, 1, 1, 1,  1,  2,  2,  2,  2,  3,  3,  3,  3,  4,  4,  5,  5, 6,
                                          6, 7, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24};

class RiceReader {
 public:
  static constexpr bool kWrites = false;

  explicit RiceReader(std::string_view bytes) : in_(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()) {}
  void begin_plane() { step_ = 0; }
  void begin(Contexts& contexts, int bits) {
    rice_ = contexts.rice.data();
    bits_ = bits;
    run_ = 0;
    mode_ = kNone;
  }
  int32_t code(int32_t, int context, int x, int width) {
    if (context == 0 && mode_ == kNone) mode_ = kRun;
    if (mode_ == kNone) return value(rice_[context]);
    if (run_ == 0 && mode_ == kRun) {
      if (in_.read(1)) {
        run_ = 1 << kRunBits[step_];
        if (x + run_ <= width) ++step_;
        require(step_ < static_cast<int>(kRunBits.size()));
      } else {
        run_ = static_cast<int>(in_.read(kRunBits[step_]));
        if (step_ > 0) --step_;
        mode_ = kLast;
      }
    }
    if (--run_ >= 0) return 0;
    mode_ = kNone;
    run_ = 0;
    const int32_t found = value(rice_[context]);
    return found >= 0 ? found + 1 : found;  // it is not 0
  }
  void end() {}

 private:
  int32_t value(Rice& rice) {
    const int k = rice.parameter();
    uint64_t zeros = 0;
    while (zeros < kLimit && !in_.read(1)) ++zeros;
    const uint64_t code = zeros < kLimit ? zeros << k | in_.read(k) : in_.read(bits_) + kLimit - 1;
    const int32_t v = (static_cast<int32_t>(code >> 1) ^ -static_cast<int32_t>(code & 1)) ^ rice.flip();
    const int32_t found = folded(v + rice.bias, bits_);
    rice.update(v);
    return found;
  }

  enum Mode { kNone, kRun, kLast };
  BitReader in_;
  Rice* rice_ = nullptr;
  int bits_ = 8, step_ = 0, run_ = 0;
  Mode mode_ = kNone;
};

class RiceWriter {
 public:
  static constexpr bool kWrites = true;

  void begin_plane() { step_ = 0; }
  void begin(Contexts& contexts, int bits) {
    rice_ = contexts.rice.data();
    bits_ = bits;
    run_ = 0;
    in_run_ = false;
  }
  int32_t code(int32_t known, int context, int, int) {
    in_run_ = in_run_ || context == 0;
    int32_t coded = known;
    if (in_run_) {
      if (known == 0) {
        ++run_;
        return known;
      }
      whole_steps();
      out_.write(static_cast<uint64_t>(run_), 1 + kRunBits[step_]);
      if (step_ > 0) --step_;
      run_ = 0;
      in_run_ = false;
      coded -= known > 0;  // it is not 0
    }
    value(coded, rice_[context]);
    return known;
  }
  void end() {
    if (!in_run_) return;
    whole_steps();
    if (run_ > 0) out_.write(1, 1);
  }
  std::vector<uint8_t>& finish() {
    out_.align();
    return out_.bytes();
  }
  size_t size() const { return out_.size(); }

 private:
  void whole_steps() {
    for (; run_ >= 1 << kRunBits[step_]; ++step_) {
      run_ -= 1 << kRunBits[step_];
      out_.write(1, 1);
    }
  }
  void value(int32_t known, Rice& rice) {
    const int32_t v = folded(known - rice.bias, bits_);
    const int k = rice.parameter();
    const int32_t flipped = v ^ rice.flip();
    const uint32_t code = static_cast<uint32_t>(flipped) << 1 ^ static_cast<uint32_t>(flipped >> 31);
    if (code >> k < kLimit) {
      out_.write(1, static_cast<int>(code >> k) + 1);
      out_.write(code, k);
    } else {
      out_.write(0, kLimit);
      out_.write(code - kLimit + 1, bits_);
    }
    rice.update(v);
  }

  BitWriter out_;
  Rice* rice_ = nullptr;
  int bits_ = 8, step_ = 0, run_ = 0;
  bool in_run_ = false;
};

// Rows of a plane with their border: the last three, the newest first.
class Rows {
 public:
  explicit Rows(int width) : width_(width), stride_(static_cast<size_t>(width) + 4), values_(3 * stride_) {}

  int32_t* operator[](int age) { return values_.data() + ((newest_ + age) % 3) * stride_ + 2; }
  void next() {
    newest_ = (newest_ + 2) % 3;
    int32_t *row = (*this)[0], *above = (*this)[1];
    row[-1] = above[0];
    above[width_] = above[width_ - 1];
  }

 private:
  int width_;
  size_t stride_;
  std::vector<int32_t> values_;
  size_t newest_ = 0;
};

// bits: of a sample. is_signed: whether samples of 16 bits are foretold as signed numbers, a quirk of
// the first writer that became the format (RFC 9043, 3.3.1).
template <typename Codes>
void code_line(Codes& codes, Rows& rows, int width, const QuantTable& table, int bits, bool is_signed) {
  int32_t* const row = rows[0];
  const int32_t *const above = rows[1], *const above_2 = rows[2];
  const int32_t mask = (1 << bits) - 1;
  for (int x = 0; x < width; ++x) {
    const int32_t left = row[x - 1], corner = above[x - 1], top = above[x], right = above[x + 1];
    int context = table.of[0][(left - corner) & 255] + table.of[1][(corner - top) & 255] +
                  table.of[2][(top - right) & 255];
    if (table.wide) context += table.of[3][(row[x - 2] - left) & 255] + table.of[4][(above_2[x] - top) & 255];
    const int32_t low = std::min(left, top), high = std::max(left, top);
    const int32_t foretold = std::max(low, std::min(high, left + top - corner));
    const bool negative = context < 0;
    if (negative) context = -context;
    int32_t known = 0;
    if (Codes::kWrites) known = folded(negative ? foretold - row[x] : row[x] - foretold, bits);
    const uint32_t differs = static_cast<uint32_t>(codes.code(known, context, x, width));
    if (!Codes::kWrites) {
      const uint32_t value = static_cast<uint32_t>(foretold) + (negative ? 0u - differs : differs);
      row[x] = is_signed ? static_cast<int16_t>(value) : static_cast<int32_t>(value) & mask;
    }
  }
  codes.end();
}

// A rectangle of a plane of samples.
struct Area {
  uint16_t* first;
  size_t stride;
  int width, height;

  uint16_t* row(int y) const { return first + static_cast<size_t>(y) * stride; }
};

template <typename Codes>
void code_plane(Codes& codes, const Area& area, Contexts& contexts, const QuantTable& table, int bits, bool rice) {
  codes.begin_plane();
  Rows rows(area.width);
  const bool is_signed = bits == 16 && !rice;
  const auto mask = static_cast<uint16_t>((1 << bits) - 1);
  for (int y = 0; y < area.height; ++y) {
    rows.next();
    uint16_t* const samples = area.row(y);
    int32_t* const row = rows[0];
    if (Codes::kWrites) {
      for (int x = 0; x < area.width; ++x) {
        row[x] = is_signed ? static_cast<int32_t>(static_cast<int16_t>(samples[x])) : samples[x];
      }
    }
    codes.begin(contexts, bits);
    code_line(codes, rows, area.width, table, bits, is_signed);
    if (!Codes::kWrites) {
      for (int x = 0; x < area.width; ++x) samples[x] = static_cast<uint16_t>(row[x]) & mask;
    }
  }
}

// Green, blue, red and perhaps alpha, row by row; blue and red as what they differ by from green, and
// green as a mean (RFC 9043, 3.7.2).
template <typename Codes>
void code_colours(Codes& codes, const std::vector<Area>& areas, std::vector<Contexts>& sets, const Parameters& p) {
  const int width = areas[0].width, offset = 1 << p.bits;
  const auto mask = static_cast<uint16_t>(offset - 1);
  codes.begin_plane();
  std::vector<Rows> rows(areas.size(), Rows(width));
  for (int y = 0; y < areas[0].height; ++y) {
    for (Rows& each : rows) each.next();
    int32_t *const green = rows[0][0], *const blue = rows[1][0], *const red = rows[2][0];
    if (Codes::kWrites) {
      for (size_t i = 0; i < areas.size(); ++i) std::copy_n(areas[i].row(y), width, rows[i][0]);
      for (int x = 0; x < width; ++x) {
        blue[x] -= green[x];
        red[x] -= green[x];
        green[x] += (blue[x] + red[x]) >> 2;
        blue[x] += offset;
        red[x] += offset;
      }
    }
    for (size_t i = 0; i < areas.size(); ++i) {
      Contexts& contexts = sets[(i + 1) / 2];
      codes.begin(contexts, p.bits + 1);
      code_line(codes, rows[i], width, p.tables[contexts.table], p.bits + 1, false);
    }
    if (!Codes::kWrites) {
      for (int x = 0; x < width; ++x) {
        const int32_t b = blue[x] - offset, r = red[x] - offset, g = green[x] - ((b + r) >> 2);
        areas[0].row(y)[x] = static_cast<uint16_t>(g) & mask;
        areas[1].row(y)[x] = static_cast<uint16_t>(b + g) & mask;
        areas[2].row(y)[x] = static_cast<uint16_t>(r + g) & mask;
        if (areas.size() > 3) areas[3].row(y)[x] = static_cast<uint16_t>(rows[3][0][x]) & mask;
      }
    }
  }
}

}  // namespace lmc::ffv1
