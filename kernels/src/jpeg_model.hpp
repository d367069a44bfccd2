// The coefficient model of JPEG frames. Integers only; ARITHMETIC.md ("JPEG coefficients") defines
// every step and kernels/reference_jpeg.py is equal.
//
// A block is coded in the order of Lepton: how many inner coefficients (both frequencies above zero)
// are not zero, and their values; the same for the first row, then the first column; then DC. So the
// edges are known from the neighbours' samples and all that is inside, and DC from everything else.
//
// Sources: D. R. Horn et al., "The design, implementation, and deployment of a system to
// transparently compress hundreds of petabytes of image files for a file-storage service", NSDI 2017;
// the prediction of edges is by R. Lakhani (US patent application 2007/0154106, as told there).
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dispatch.hpp"
#include "jpeg_decisions.hpp"
#include "jpeg_scan.hpp"

namespace lmc::jpeg {

// Two lines of probabilities for each byte of a band's part of the file, within limits: log2 of their number.
inline int log2_lines(uint64_t size, int bands) {
  int log2 = 16;
  while (log2 < 21 && (static_cast<uint64_t>(bands) << log2) < 2 * size) ++log2;
  return log2;
}

// What a coefficient of frequency u adds to the first sample of a line: 1024 sqrt(2) cos(u pi / 16), but 1024 at 0.
constexpr int kEdge[8] = {1024, 1420, 1338, 1204, 1024, 805, 554, 283};
// The same half a sample further out, at the border.
constexpr int kBorder[8] = {1024, 1448, 1448, 1448, 1448, 1448, 1448, 1448};
// 2048 cos(u (2x + 1) pi / 16), but 1448 at u = 0, by [x][u].
constexpr int kCosine[8][8] = {
    {1448, 2009, 1892, 1703, 1448, 1138, 784, 400},     {1448, 1703, 784, -400, -1448, -2009, -1892, -1138},
    {1448, 1138, -784, -2009, -1448, 400, 1892, 1703},  {1448, 400, -1892, -1138, 1448, 1703, -784, -2009},
    {1448, -400, -1892, 1138, 1448, -1703, -784, 2009}, {1448, -1138, -784, 2009, -1448, -400, 1892, -1703},
    {1448, -1703, 784, 400, -1448, 2009, -1892, 1138},  {1448, -2009, 1892, -1703, 1448, -1138, 784, -400}};

// Places of the inner coefficients, in the order of the scans.
struct Inner {
  uint8_t place[49];
  constexpr Inner() : place{} {
    int n = 0;
    for (int k = 0; k < 64; ++k)
      if (kZigzag[k] / 8 != 0 && kZigzag[k] % 8 != 0) place[n++] = kZigzag[k];
  }
};
constexpr Inner kInner;

constexpr int16_t kNoBlock[64] = {};

// 0, 1, 2, 3, then two steps for each doubling.
inline int steps(int64_t v) {
  if (v < 4) return static_cast<int>(v);
  const int n = 64 - __builtin_clzll(static_cast<uint64_t>(v));
  return 2 * n + static_cast<int>(v >> (n - 2) & 1) - 2;
}
inline int sign_of(int64_t v) { return (v > 0) - (v < 0); }
// 0, 1 or 2: two signs differ, one is missing, they agree.
inline int agree(int a, int b) { return 1 + a * b; }
inline int cap(int v, int most) { return v < most ? v : most; }
// v / unit, rounded, halves away from zero.
inline int64_t nearest(int64_t v, int64_t unit) {
  const int64_t n = (2 * std::llabs(v) + unit) / (2 * unit);
  return v < 0 ? -n : n;
}

// What later blocks need of a block that is coded.
struct Trace {
  int32_t right[8], right_border[8];    // its last column, and the border behind, by vertical frequency
  int32_t bottom[8], bottom_border[8];  // its last row, and the border below, by horizontal frequency
  int16_t columns[2][8], rows[2][8];    // samples of its two last columns and rows, outermost first
  int16_t error;                        // of its predicted DC
  uint8_t inner, row, column;           // numbers of coefficients that are not zero
  bool there;
};

// Codes the blocks of a band. bits(known, p) codes a bit with probability p of a one and returns it, as
// in code_bytes of mixer.hpp; decoding, `known` means nothing.
template <typename Bits>
class Band {
 public:
  Band(const Headers& headers, std::vector<Plane>& planes, bool decode, int log2_lines, Bits& bits,
       bool avx2 = use_avx2())
      : headers_(headers), planes_(planes), decode_(decode), bits_(bits), decisions_(log2_lines, avx2) {}

  // The rows of MCUs from begin to end, component after component; report(blocks) follows each row of
  // blocks. Throws Unknown.
  template <typename Report>
  void code(int begin, int end, Report&& report) {
    for (size_t i = 0; i < headers_.components.size(); ++i) {
      component_ = &headers_.components[i];
      plane_ = &planes_[i];
      number_ = static_cast<int>(i);
      const int width = component_->width;
      const int first = std::min(component_->height, begin * component_->v);
      const int last = std::min(component_->height, end * component_->v);
      for (size_t k = 0; k < 64; ++k) step_[k] = component_->quant[k];
      above_.assign(static_cast<size_t>(width) + 2, Trace{});
      now_.assign(static_cast<size_t>(width) + 2, Trace{});
      std::swap(errors_, errors_before_);
      errors_.clear();
      for (int y = first; y < last; ++y) {
        if (decode_) plane_->make_row(y);
        for (int x = 0; x < width; ++x) {
          look_around(x, y, first);
          block();
        }
        std::swap(above_, now_);
        report(width);
      }
    }
  }

 private:
  enum Kind { kInnerCount, kInnerValue, kEdgeCount, kEdgeValue, kDc };

  // ---- the neighbourhood ------------------------------------------------------------------------------

  // first: the component's first row in this band.
  void look_around(int x, int y, int first) {
    const bool up = y > first, more = x + 1 < component_->width;
    block_ = plane_->block(x, y);
    w_ = x > 0 ? plane_->block(x - 1, y) : kNoBlock;
    ww_ = x > 1 ? plane_->block(x - 2, y) : kNoBlock;
    n_ = up ? plane_->block(x, y - 1) : kNoBlock;
    nn_ = y > first + 1 ? plane_->block(x, y - 2) : kNoBlock;
    nw_ = up && x > 0 ? plane_->block(x - 1, y - 1) : kNoBlock;
    ne_ = up && more ? plane_->block(x + 1, y - 1) : kNoBlock;
    const size_t at = static_cast<size_t>(x) + 1;
    west_ = &now_[at - 1];
    here_ = &now_[at];
    north_ = &above_[at];
    north_west_ = &above_[at - 1];
    north_east_ = &above_[at + 1];
    other_ = luma_ = kNoBlock;
    beside_ = false;
    std::memset(energy_, 0, sizeof energy_);
    if (number_ == 0) return;
    // The first component's block at this place, or the four that may cover it.
    const Component &c = *component_, &l = headers_.components[0], &p = headers_.components[static_cast<size_t>(number_) - 1];
    const int lx = std::min(x * l.h / c.h, l.width - 1), ly = std::min(y * l.v / c.v, l.height - 1);
    const int mx = std::min(lx + (l.h > c.h), l.width - 1), my = std::min(ly + (l.v > c.v), l.height - 1);
    const Plane& luma = planes_[0];
    luma_ = luma.block(lx, ly);
    for (const int16_t* b : {luma_, luma.block(mx, ly), luma.block(lx, my), luma.block(mx, my)})
      for (int k = 0; k < 64; ++k) energy_[k] += std::abs(int{b[k]});
    if (number_ > 1 && p.width == c.width && p.height == c.height) {
      other_ = planes_[static_cast<size_t>(number_) - 1].block(x, y);
      beside_ = true;
    } else if (l.h == c.h && l.v == c.v) {
      other_ = luma_;
    }
  }

  static int magnitude(const int16_t* b, int place) { return std::abs(int{b[place]}); }
  static int inner_count(const int16_t* b) {
    int n = 0;
    for (int place : kInner.place) n += b[place] != 0;
    return n;
  }
  template <typename T>
  static int edge_count(const T* b, int stride) {
    int n = 0;
    for (int i = 1; i < 8; ++i) n += b[i * stride] != 0;
    return n;
  }
  // The magnitudes of three neighbours, in 32nds.
  int weighted(int place) const {
    if (!north_->there || !west_->there) return 32 * (magnitude(w_, place) + magnitude(n_, place));
    return 13 * (magnitude(w_, place) + magnitude(n_, place)) + 6 * magnitude(nw_, place);
  }

  // ---- symbols ----------------------------------------------------------------------------------------

  void start(Kind kind, int place) {
    kind_ = kind;
    voice_ = 0;
    base_ = static_cast<uint64_t>((number_ * 8 + kind) * 64 + place) * Decisions::kVoices;
  }
  // The next voice: up to four numbers below 1024 are its context.
  void voice(int sign, int a = 0, int b = 0, int c = 0, int d = 0) {
    const uint64_t number = static_cast<uint64_t>(voice_);
    const uint64_t fields = ((static_cast<uint64_t>(a) << 10 | static_cast<uint64_t>(b)) << 10 | static_cast<uint64_t>(c)) << 10 |
                            static_cast<uint64_t>(d);
    decisions_.set(voice_++, (base_ + number) << 40 | fields, sign);
  }

  // A number of `width` bits, the highest first. row: which number it is and what it depends on most,
  // 0 to 51; guess: what it is expected to be, 0 to 65.
  int count(int width, int known, int row, int guess) {
    int v = 1, node = 1;
    for (int done = 0; done < width; ++done) {
      if (done == 3) {
        decisions_.move(static_cast<uint32_t>(v));
        node = 1;
      }
      const int selected[] = {4096 + row * 64 + v, 1792 + number_ * 64 + v, 2048 + guess * 8 + done, kind_ * 16 + done};
      const int bit = decisions_.code(bits_, known >> (width - 1 - done) & 1, node - 1, selected, 50688 + guess * 64 + v);
      v = v * 2 + bit;
      node = node * 2 + bit;
    }
    return v - (1 << width);
  }

  // A value: is it zero, its sign, the width of its magnitude, the bits below the highest. s1 (0 to 111)
  // and s2 (0 to 126) select vectors, s3 (0 to 3167) a context of the second map.
  int value(int known, int place, int s1, int s2, int s3) {
    const auto decide = [&](int bit, int node, int part, bool is_sign = false) {
      const int selected[] = {(number_ * 64 + place) * 16 + part, s1 * 16 + part, s2 * 16 + part, kind_ * 16 + part};
      return decisions_.code(bits_, bit, node, selected, s3 * 16 + part, is_sign);
    };
    const int size = std::abs(known), width = size == 0 ? 0 : 32 - __builtin_clz(static_cast<unsigned>(size));
    if (decide(size == 0, 0, 0)) return 0;
    const int negative = decide(known < 0, 1, 1, true);
    decisions_.turn(negative ? -1 : 1);
    int n = 1;
    while (n < kWidest && decide(width > n, 1 + cap(n, 7), 1 + cap(n, 7))) ++n;
    int m = 1;
    for (int left = n - 2; left >= 0; --left) {
      const int done = n - 2 - left;
      // Three bits are told apart by those above them, further ones only by their place.
      if (done > 0) decisions_.move(static_cast<uint32_t>(n * 64 + (done < 4 ? m : 32 + left)));
      m = m * 2 + decide(size >> left & 1, done > 0 ? 0 : 9 + cap(n - 2, 5), 9 + cap(done, 6));
    }
    return negative ? -m : m;
  }
  static constexpr int kWidest = 12;  // bits of a magnitude: DC and its prediction are within +-2047

  // ---- a block ----------------------------------------------------------------------------------------

  void block() {
    for (int i = 0; i < 8; ++i) {
      down_[i] = west_->right[i];
      down_border_[i] = west_->right_border[i];
      across_[i] = north_->bottom[i];
      across_border_[i] = north_->bottom_border[i];
    }
    std::memset(dequantised_, 0, sizeof dequantised_);
    *here_ = Trace{};
    inner();
    edge(false);
    edge(true);
    dc();
    leave();
  }

  // Takes a coefficient that is known now into what the borders lack.
  void take(int place, int value) {
    if (value == 0) return;
    if (decode_) block_[place] = static_cast<int16_t>(value);
    const int u = place % 8, v = place / 8;
    const int d = std::min(std::max(value * step_[place], -32767), 32767);
    dequantised_[place] = d;
    down_[v] -= kEdge[u] * d;
    down_border_[v] -= kBorder[u] * d;
    across_[u] -= kEdge[v] * d;
    across_border_[u] -= kBorder[v] * d;
  }

  // What a border lacks, if this coefficient alone made it up: in quarters of its step.
  int64_t quarters(int64_t lack, int weight, int place) const { return nearest(4 * lack, int64_t{weight} * step_[place]); }
  static int fine(int64_t v) { return steps(std::min<int64_t>(std::llabs(v), 4000)); }  // 0 to 23
  static int exact(int64_t v, int most) { return static_cast<int>(std::min<int64_t>(std::llabs(v), most)); }

  void inner() {
    start(kInnerCount, 0);
    const int w = west_->inner, n = north_->inner, nw = north_west_->inner, ne = north_east_->inner;
    const int mean = west_->there && north_->there ? (w + n + 1) >> 1 : w + n;
    const int ww = inner_count(ww_), nn = inner_count(nn_), other = inner_count(other_);
    int luma = 0, sum = 0;
    for (int place : kInner.place) {
      luma += energy_[place] != 0;
      sum += cap(magnitude(w_, place), 15) + cap(magnitude(n_, place), 15);
    }
    const int outer_w = west_->row + west_->column, outer_n = north_->row + north_->column;
    sum = steps(sum);
    voice(0, mean);
    voice(0, w, n);
    voice(0, w / 3, n / 3, nw / 3);
    voice(0, mean, ne);
    voice(0, sum);
    voice(0, sum, mean / 2);
    voice(0, luma, other);
    voice(0, mean, luma / 2, other);
    voice(0, outer_w, mean);
    voice(0, outer_n, outer_w);
    voice(0);
    voice(0, w);
    voice(0, n);
    voice(0, w + n + nw + ne);
    voice(0, w > n, mean);
    voice(0, 2 * w + 2 * n + ne - nw + 49);
    voice(0, steps(std::abs(west_->error)), mean);
    voice(0, steps(std::abs(north_->error)), mean);
    voice(0, ww, w);
    voice(0, nn, n);
    voice(0, other, mean);
    voice(0, other, w / 4, n / 4);
    voice(0, ww + w + n + nn, (nw + ne) / 4);
    voice(0, luma);
    voice(0, mean, steps(step_[9]));
    voice(0, nw, n);
    voice(0, ne, w);
    voice(0, std::max(w, n), std::min(w, n) / 4);
    voice(0, sum, outer_w / 2, outer_n / 2);
    voice(0, sum, luma / 2, other / 2);
    voice(0, w + n + luma, other);
    voice(0, w / 2, n / 2, nw / 4, ne / 4);
    const int total = count(6, inner_count(block_), mean, number_ > 0 ? other : (nw + ne + 1) / 2);
    if (total > 49) damaged();
    here_->inner = static_cast<uint8_t>(total);

    int left = total, previous = 0, previous2 = 0, so_far = 0;
    for (int k = 0; k < 49 && left > 0; ++k) {
      const int place = kInner.place[k], u = place % 8, v = place / 8;
      const int wa = magnitude(w_, place), na = magnitude(n_, place);
      // Coefficients of this block that are known, next to this one.
      const int left_of = u > 1 ? block_[place - 1] : 0, over = v > 1 ? block_[place - 8] : 0;
      const int la = std::abs(left_of), oa = std::abs(over), da = u > 1 && v > 1 ? magnitude(block_, place - 9) : 0;
      // Frequencies nearby, in two neighbours.
      int near = 2 * (wa + na);
      near += magnitude(w_, place - 1) + magnitude(n_, place - 1) + magnitude(w_, place - 8) + magnitude(n_, place - 8);
      if (u < 7) near += magnitude(w_, place + 1) + magnitude(n_, place + 1);
      if (v < 7) near += magnitude(w_, place + 8) + magnitude(n_, place + 8);
      near = steps(near);
      const int around = steps(weighted(place) >> 2);
      const int64_t d1 = quarters(down_[v], kEdge[u], place), d2 = quarters(down_border_[v], kBorder[u], place);
      const int64_t a1 = quarters(across_[u], kEdge[v], place), a2 = quarters(across_border_[u], kBorder[v], place);
      const int64_t both = (d1 + a1) >> 1, all = (d1 + a1 + d2 + a2) >> 2;
      const int s_both = sign_of(both), s_other = sign_of(other_[place]), s_w = sign_of(w_[place]), s_n = sign_of(n_[place]);
      const int other_a = cap(magnitude(other_, place), 7), luma_a = steps(energy_[place]);
      const int rest = steps(left), density = cap(left * 16 / (50 - k), 15);
      const int p1 = std::abs(previous), p2 = std::abs(previous2);
      start(kInnerValue, place);
      voice(0, around, rest);
      voice(0, cap(wa, 7), cap(na, 7), rest / 4);
      voice(0, left);
      voice(0, cap(la, 3), cap(oa, 3), cap(da, 3), rest / 2);
      voice(0, cap(p1, 3), cap(p2, 3), rest);
      voice(0, steps(so_far), rest);
      voice(s_other, other_a, around / 2);
      voice(sign_of(d1), fine(d1), rest / 2);
      voice(sign_of(a1), fine(a1), rest / 2);
      voice(sign_of(d1), fine(d1) / 2, fine(a1) / 2, agree(sign_of(d1), sign_of(a1)));
      voice(0, cap(magnitude(nw_, place), 7), cap(magnitude(ne_, place), 7), cap(wa + na, 7));
      voice(s_n != 0 ? s_n : s_w, cap(na, 3), cap(wa, 3), agree(s_w, s_n));
      voice(0, w + n, total);
      voice(0, total, around / 2);
      voice(0, near, around / 2);
      voice(0, steps(weighted(place)), density, cap(la + oa, 7));
      voice(0, near, density, cap(la + oa, 7));
      voice(s_other, luma_a, around / 2, other_a);
      voice(sign_of(d2), fine(d2), around / 2);
      voice(sign_of(a2), fine(a2), around / 2);
      voice(0, cap(magnitude(ww_, place), 3), cap(magnitude(nn_, place), 3), cap(wa, 3), cap(na, 3));
      voice(0, steps(la + oa + da), near, rest / 2);
      voice(0, cap(weighted(place) / 4, 31), steps(so_far) / 2);
      voice(0, rest, density, cap(p1, 7));
      voice(s_both, fine(both), rest / 2);
      voice(sign_of(all), fine(all), around);
      voice(s_other != 0 ? s_other : s_both, other_a, fine(both) / 2, agree(s_other, s_both));
      voice(0, cap(wa, 15), cap(na, 15));
      voice(0, near, rest);
      voice(s_other, luma_a, rest, other_a);
      voice(left_of != 0 ? sign_of(left_of) : sign_of(over), cap(la, 2), cap(oa, 2), agree(sign_of(left_of), sign_of(over)));
      voice(0);
      const int got = value(block_[place], place, left, 1 + cap(around, 31), cap(around, 27) * 64 + density * 4 + cap(la + oa, 3));
      take(place, got);
      left -= got != 0;
      so_far += std::abs(got);
      previous2 = previous;
      previous = got;
    }
    if (left != 0) damaged();
  }

  // The coefficients of the first row, or of the first column.
  void edge(bool column) {
    const int stride = column ? 8 : 1, side = column;
    const int w = column ? west_->column : west_->row, n = column ? north_->column : north_->row;
    const int64_t* lack = column ? down_ : across_;
    const int64_t* lack_border = column ? down_border_ : across_border_;
    const int total = here_->inner, before = column ? here_->row : 0;
    int reach = 0, energy = 0, likely = 0, likely_border = 0;
    for (int place : kInner.place) {
      if (block_[place] == 0) continue;
      reach = std::max(reach, column ? place / 8 : place % 8);
      energy += magnitude(block_, place);
    }
    for (int i = 1; i < 8; ++i) {
      likely += std::llabs(quarters(lack[i], kEdge[0], i * stride)) > 2;
      likely_border += std::llabs(quarters(lack_border[i], kBorder[0], i * stride)) > 2;
    }
    energy = steps(energy);
    const int other = edge_count(other_, stride), luma = edge_count(luma_, stride);
    start(kEdgeCount, side);
    voice(0, total, (w + n) / 2);
    voice(0, w, n);
    voice(0, likely, total);
    voice(0, likely, w, n);
    voice(0, reach, w, n);
    voice(0, reach, likely, before);
    voice(0, total, before);
    voice(0, other, likely, reach);
    voice(0, energy, likely);
    voice(0, other, w + n);
    voice(0, likely);
    voice(0, likely_border, likely);
    voice(0, likely_border, total);
    voice(0, reach, before);
    voice(0, total);
    voice(0, w + n);
    voice(0, before, w, n);
    voice(0, column ? west_->row : west_->column, column ? north_->row : north_->column, before);
    voice(0, edge_count(ne_, stride), n, w);
    voice(0, edge_count(nw_, stride), n, w);
    voice(0, luma, other, likely);
    voice(0);
    voice(0, edge_count(nn_, stride) + edge_count(ww_, stride), n, w);
    voice(0, edge_count(energy_, stride), likely, other);
    voice(0, likely_border, w, n);
    voice(0, likely_border, likely, energy);
    voice(0, total, likely, before);
    voice(0, total, w, n);
    voice(0, other, w, n, likely);
    voice(0, reach, total);
    voice(0, energy, w, n);
    voice(0, energy, total);
    int left = count(3, edge_count(block_, stride), 50 + side, 50 + likely * 2 + side);
    (column ? here_->column : here_->row) = static_cast<uint8_t>(left);

    int previous = 0, so_far = 0;
    int64_t missed = 0;
    for (int i = 1; i < 8 && left > 0; ++i) {
      const int place = i * stride;
      const int64_t p1 = quarters(lack[i], kEdge[0], place), p2 = quarters(lack_border[i], kBorder[0], place);
      // The other border sees this coefficient beside unknown ones of its line.
      const int64_t p3 = quarters(column ? across_[0] : down_[0], kEdge[i], place);
      const int64_t mean = (p1 + p2) >> 1, all = (2 * p1 + 2 * p2 + p3) >> 2;
      const int wa = magnitude(w_, place), na = magnitude(n_, place), around = steps(weighted(place) >> 2);
      const int inward = column ? 1 : 8;
      int line = 0;  // the inner coefficients of the same frequency
      for (int j = 1; j < 8; ++j) line += magnitude(block_, place + j * inward);
      line = steps(line);
      const int next = magnitude(block_, place + inward);
      const int further = i < 7 ? steps(magnitude(w_, place + stride) + magnitude(n_, place + stride)) : 0;
      const int s1 = sign_of(p1), s2 = sign_of(p2), s3 = sign_of(p3), sm = sign_of(mean), s_other = sign_of(other_[place]);
      const int s_w = sign_of(w_[place]), s_n = sign_of(n_[place]), s_along = column ? s_n : s_w, s_cross = column ? s_w : s_n;
      const int other_a = cap(magnitude(other_, place), 15), luma_a = steps(energy_[place]), fm = fine(mean);
      start(kEdgeValue, place);
      voice(s1, fine(p1), left);
      voice(s2, fine(p2), left);
      voice(sm, fm, left);
      voice(s1, fine(p1), around);
      voice(s1, fine(p1), fine(p2), agree(s1, s2));
      voice(0, around, left);
      voice(s1, exact(p1, 80), left / 3);
      voice(sm, exact(mean, 80));
      voice(s1, fine(p1), line, left / 2);
      voice(s1, fine(p1), fine(p3) / 2, agree(s1, s3));
      voice(sm, fm, cap(wa, 7), cap(na, 7), agree(sm, s_along));
      voice(s_along != 0 ? s_along : s_cross, cap(wa, 7), cap(na, 7), left, agree(s_w, s_n));
      voice(0, left, line, cap(next, 7));
      voice(sm, fm, other_a, agree(sm, s_other));
      voice(s_other, other_a, around, left / 2);
      voice(s_other, other_a, luma_a, left / 2);
      voice(sm, fm, steps(so_far), cap(std::abs(previous), 3));
      voice(s2, fine(p2), total);
      voice(sm, fm, further, left / 2);
      voice(0, cap(magnitude(nw_, place), 7), cap(magnitude(ne_, place), 7), cap(wa + na, 7), left);
      voice(s3, fine(p3), around);
      voice(sm, fm, column ? here_->column : left);
      voice(0, steps(weighted(place)), total / 2, left);
      voice(sm, cap(magnitude(ww_, place), 7), cap(magnitude(nn_, place), 7), fm);
      voice(sm, fm, luma_a, left / 2);
      voice(sm, fm, line, around);
      voice(s2, exact(p2, 160), cap(next, 3));
      voice(sm, exact(mean, 160), left);
      voice(sm, fm, fine(missed), agree(sm, sign_of(missed)));
      voice(sign_of(all), fine(all), left);
      voice(s_along, cap(wa, 15), cap(na, 15));
      voice(sm);
      const int got = value(block_[place], place, 50 + fm, 34 + left * 8 + cap(around, 14) / 2, 1792 + fine(p1) * 24 + fine(p2));
      take(place, got);
      left -= got != 0;
      so_far += std::abs(got);
      previous = got;
      missed = mean - 4 * got;
    }
    if (left != 0) damaged();
  }

  void dc() {
    transform();
    // Each sample at a border tells what DC adds to this block's samples, if lines go on straight.
    int32_t told[16];
    int n = 0;
    int64_t from_north = 0, from_west = 0;
    if (north_->there) {
      for (int x = 0; x < 8; ++x, ++n)
        from_north += told[n] = (3 * north_->rows[0][x] - north_->rows[1][x] - 3 * samples_[0][x] + samples_[1][x]) >> 1;
    }
    if (west_->there) {
      for (int y = 0; y < 8; ++y, ++n)
        from_west += told[n] = (3 * west_->columns[0][y] - west_->columns[1][y] - 3 * samples_[y][0] + samples_[y][1]) >> 1;
    }
    // The mean of the middle half.
    int64_t mean = 0, spread = 0;
    if (n > 0) {
      std::sort(told, told + n);
      for (int i = n / 4; i < n - n / 4; ++i) mean += told[i];
      mean >>= n == 16 ? 3 : 2;
      spread = told[n - 1] - told[0];
    }
    const int64_t unit = 2 * step_[0];  // a step of DC in a sample's units
    const int predicted = static_cast<int>(std::min<int64_t>(std::max<int64_t>(nearest(mean, unit), -2047), 2047));
    // In quarters of a step: what rounding left, and what one border alone would say.
    const int64_t rounding = nearest(4 * mean, unit) - 4 * predicted;
    const int64_t up = north_->there ? nearest(from_north >> 1, unit) - 4 * predicted : 0;
    const int64_t left = west_->there ? nearest(from_west >> 1, unit) - 4 * predicted : 0;
    const int uncertain = fine(nearest(4 * spread, unit)), finer = steps(std::min<int64_t>(nearest(16 * spread, unit), 16000));
    const int ew = steps(std::abs(int{west_->error})), en = steps(std::abs(int{north_->error}));
    const int s_w = sign_of(west_->error), s_n = sign_of(north_->error), su = sign_of(up), sl = sign_of(left);
    const int fu = fine(up), fl = fine(left), inner = here_->inner, edges = here_->row + here_->column;
    const int beside = beside_ ? errors_before_[errors_.size()] : 0, sb = sign_of(beside), eb = steps(std::abs(beside));
    const auto differs = [&](int dc) {
      voice(sign_of(dc - predicted), steps(std::abs(dc - predicted)), uncertain);
    };
    start(kDc, 0);
    voice(0, uncertain);
    voice(0, uncertain, (inner + edges) / 2);
    voice(0, uncertain, ew, en);
    voice(su, fu, uncertain);
    voice(sl, fl, uncertain);
    voice(su, fu, fl, agree(su, sl));
    voice(sign_of(rounding), exact(rounding, 1023), uncertain);
    voice(s_w, ew, uncertain);
    voice(s_n, en, uncertain);
    voice(s_w, ew, en, agree(s_w, s_n));
    voice(sb, eb, uncertain);
    voice(sb, eb, fu);
    voice(0, inner, edges);
    voice(0, edges, uncertain);
    voice(su);
    voice(sl);
    voice(0, ew + en, uncertain);
    voice(sign_of(up - left), fine(up - left), uncertain);
    voice(sign_of(up + left), fine(up + left), uncertain);
    differs(n_[0]);
    differs(w_[0]);
    differs(w_[0] + n_[0] - nw_[0]);
    voice(0, steps(std::abs(w_[0] - nw_[0])), steps(std::abs(n_[0] - nw_[0])));
    differs((n_[0] + ne_[0]) >> 1);
    voice(0, steps(step_[0]), uncertain);
    voice(su, uncertain, fu / 2, fl / 2, agree(su, sl));
    voice(sb, eb, ew, en);
    voice(0, inner, uncertain);
    const int64_t rest = up + left - 2 * rounding;
    voice(sign_of(rest), fine(rest), ew);
    voice(0, finer);
    differs(ne_[0]);
    voice(0, uncertain, ew + en + steps(std::abs(int{north_east_->error})));
    const int error = value(block_[0] - predicted, 0, 80 + uncertain, 106 + cap(fu, 20), 2368 + uncertain * 32 + cap((ew + en) / 2, 31));
    here_->error = static_cast<int16_t>(error);
    errors_.push_back(here_->error);
    take(0, predicted + error);
  }

  // The samples without DC, in 16ths.
  void transform() {
    int32_t half[8][8];
    for (int v = 0; v < 8; ++v) {
      for (int x = 0; x < 8; ++x) {
        int32_t sum = 512;
        for (int u = 0; u < 8; ++u) sum += kCosine[x][u] * dequantised_[v * 8 + u];
        half[v][x] = std::min(std::max(sum >> 10, -65535), 65535);
      }
    }
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        int32_t sum = 256;
        for (int v = 0; v < 8; ++v) sum += kCosine[y][v] * half[v][x];
        samples_[y][x] = sum >> 9;
      }
    }
  }

  // Leaves what later blocks need.
  void leave() {
    Trace& t = *here_;
    t.there = true;
    const auto sample = [&](int y, int x) {
      return static_cast<int16_t>(std::min(std::max(samples_[y][x] + 2 * dequantised_[0], -32767), 32767));
    };
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < 2; ++j) {
        t.columns[j][i] = sample(i, 7 - j);
        t.rows[j][i] = sample(7 - j, i);
      }
    }
    for (int v = 0; v < 8; ++v) {
      for (int u = 0; u < 8; ++u) {
        const int d = dequantised_[v * 8 + u];
        if (d == 0) continue;
        t.right[v] += (u % 2 ? -kEdge[u] : kEdge[u]) * d;
        t.right_border[v] += (u % 2 ? -kBorder[u] : kBorder[u]) * d;
        t.bottom[u] += (v % 2 ? -kEdge[v] : kEdge[v]) * d;
        t.bottom_border[u] += (v % 2 ? -kBorder[v] : kBorder[v]) * d;
      }
    }
  }

  [[noreturn]] static void damaged() { throw Unknown("coefficients that no image has"); }

  const Headers& headers_;
  std::vector<Plane>& planes_;
  const bool decode_;
  Bits& bits_;
  Decisions decisions_;

  // The component and its rows.
  const Component* component_ = nullptr;
  Plane* plane_ = nullptr;
  int number_ = 0;
  int step_[64] = {};
  std::vector<Trace> above_, now_;  // of blocks -1 to width
  std::vector<int16_t> errors_, errors_before_;  // of the predicted DCs: of this component, of the one before

  // The block and its neighbourhood; kNoBlock where there is none.
  int16_t* block_ = nullptr;
  const int16_t *w_ = kNoBlock, *n_ = kNoBlock, *nw_ = kNoBlock, *ne_ = kNoBlock, *ww_ = kNoBlock, *nn_ = kNoBlock;
  const int16_t* luma_ = kNoBlock;   // of the first component, at the same place
  const int16_t* other_ = kNoBlock;  // of the component before or the first one, if its blocks are the same
  bool beside_ = false;              // other_ is of the component before
  int energy_[64] = {};              // magnitudes of the first component, summed over four blocks
  const Trace *west_ = nullptr, *north_ = nullptr, *north_west_ = nullptr, *north_east_ = nullptr;
  Trace* here_ = nullptr;
  int dequantised_[64] = {};
  int32_t samples_[8][8] = {};
  // What this block's first column and the border before it lack of the west's last one and the border
  // behind it, by vertical frequency; the same for rows.
  int64_t down_[8] = {}, down_border_[8] = {}, across_[8] = {}, across_border_[8] = {};

  // The symbol.
  int kind_ = 0, voice_ = 0;
  uint64_t base_ = 0;
};

}  // namespace lmc::jpeg
