// The coefficient model of JPEG frames: binary decisions, each mixed from adaptive probabilities
// under many contexts. Integers only; ARITHMETIC.md ("JPEG coefficients") defines every step and
// kernels/reference_jpeg.py is equal.
//
// Sources: the order of a block and the prediction of its edges are those of Lepton (D. R. Horn et
// al., "The design, implementation, and deployment of a system to transparently compress hundreds of
// petabytes of image files for a file-storage service", NSDI 2017), the prediction is by
// R. Lakhani (2007); the mixing is that of the byte models.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "dispatch.hpp"
#include "jpeg_scan.hpp"
#include "mixer_contexts.hpp"
#include "mixer_counters.hpp"
#include "mixer_sse.hpp"
#include "mixer_tables.hpp"
#include "mixer_weights.hpp"

namespace lmc::jpeg {

using mixer::Adaptive;

// Bytes that the model of a band takes at most, beside the coefficients.
constexpr uint64_t kModelBytes = uint64_t{64} << 20;

// 1024 sqrt(2) cos(u pi / 16), but 1024 at u = 0: what a coefficient adds to the first sample of a line.
constexpr int kEdge[8] = {1024, 1420, 1338, 1204, 1024, 805, 554, 283};
// The same at the line's end, half a sample further out.
constexpr int kBorder[8] = {1024, 1448, 1448, 1448, 1448, 1448, 1448, 1448};
// 2048 cos(u (2x + 1) pi / 16), but 1448 at u = 0, by [x][u].
constexpr int kCosine[8][8] = {
    {1448, 2009, 1892, 1703, 1448, 1138, 784, 400},    {1448, 1703, 784, -400, -1448, -2009, -1892, -1138},
    {1448, 1138, -784, -2009, -1448, 400, 1892, 1703}, {1448, 400, -1892, -1138, 1448, 1703, -784, -2009},
    {1448, -400, -1892, 1138, 1448, -1703, -784, 2009}, {1448, -1138, -784, 2009, -1448, -400, 1892, -1703},
    {1448, -1703, 784, 400, -1448, 2009, -1892, 1138}, {1448, -2009, 1892, -1703, 1448, -1138, 784, -400}};

// Places of the coefficients of both frequencies above zero, in the order of the scans.
struct Inner {
  uint8_t place[49];
  constexpr Inner() : place{} {
    int n = 0;
    for (int k = 0; k < 64; ++k)
      if (kZigzag[k] / 8 != 0 && kZigzag[k] % 8 != 0) place[n++] = kZigzag[k];
  }
};
constexpr Inner kInner;

inline int bit_width(uint32_t v) { return v == 0 ? 0 : 32 - __builtin_clz(v); }
// 0, 1, 2, 3, then two steps for each doubling.
inline uint32_t steps(uint32_t v) {
  if (v < 4) return v;
  const int n = bit_width(v);
  return static_cast<uint32_t>(2 * n) + (v >> (n - 2) & 1) - 2;
}
inline uint32_t cap(int v, int most) { return static_cast<uint32_t>(v < most ? v : most); }

// What later blocks need of a block that is coded.
struct Trace {
  int32_t right[8], right_border[8];    // its last column, and the border behind, by vertical frequency
  int32_t bottom[8], bottom_border[8];  // its last row, and the border below, by horizontal frequency
  int16_t columns[2][8], rows[2][8];    // samples of its two last columns and rows, outermost first
  int16_t error;                        // of the predicted DC
  uint8_t inner, across, down;          // coefficients that are not zero: inner, in the first row, in the first column
  bool there;
};

class Decisions {
 public:
  static constexpr int kVoices = 24, kInputs = 2 * kVoices, kSets = 4, kLines = 19;
  static constexpr size_t kNodes = 16;  // of a line

  explicit Decisions(bool avx2)
      : t_(mixer::tables()), avx2_(avx2), lines_(kNodes << kLines), mixer_(set_sizes().data(), first().data(), 256),
        refine_{mixer::ProbabilityMap(t_, 4096, 255), mixer::ProbabilityMap(t_, 65536, 255)} {
    lines_.fill({1u << 31});
    for (int i = 0; i < kVoices; ++i) limits_[i] = 127;
  }

  // Contexts of the voices of the next symbol; sign: what each expects of its sign (-1, 0, 1).
  uint64_t context[kVoices];
  int sign[kVoices];

  void begin() {
    for (int i = 0; i < kVoices; ++i) {
      hash_[i] = mixer::hash64(context[i] * 32 + static_cast<uint64_t>(i));
    }
    find(hash_);
  }
  // Goes to other lines, for the decisions behind the first ones of a symbol.
  void move(uint32_t part) {
    uint32_t other[kVoices];
    for (int i = 0; i < kVoices; ++i) {
      uint32_t h = (hash_[i] + part * 0x9E3779B1u) * 0x85EBCA6Bu;
      h ^= h >> 15;
      other[i] = h * 0x9E3779B1u;
    }
    find(other);
  }
  // The sign is known: voices that expected the other one turn to the line beside theirs.
  void turn(int s) {
    for (int i = 0; i < kVoices; ++i)
      if (sign[i] * s < 0) {
        hash_[i] ^= uint32_t{1} << (32 - kLines);
        line_[i] = &lines_[(place_[i] ^ 1) * kNodes];
      }
  }

  // Codes a decision. selected: vectors of the sets; refined: contexts of the two maps.
  template <typename Bits>
  int code(Bits& bits, int known, int node, bool is_sign, const int* selected, int final_context,
           const uint32_t* refined) {
    const uint32_t* at[kVoices];
    uint32_t flip[kVoices];
    for (int i = 0; i < kVoices; ++i) {
      at[i] = &line_[i][node].value;
      flip[i] = is_sign && sign[i] < 0 ? ~1023u : 0;
    }
    mixer_.select(selected, final_context);
    refine_[0].prefetch(refined[0]);
    refine_[1].prefetch(refined[1]);
    (avx2_ ? mixer::inputs_avx2<kVoices> : mixer::inputs_scalar<kVoices>)(t_, at, flip, values_, x_);
    const int32_t logit = mixer_.predict(avx2_, x_);
    const uint32_t p = mixer::squash24(t_, logit);
    const uint32_t a = refine_[0].refine(refined[0], logit), b = refine_[1].refine(refined[1], logit);
    const uint32_t r = (2 * p + a + b + 2) >> 2;
    const int bit = bits(known, r < 16 ? 16 : r > (1u << 24) - 16 ? (1u << 24) - 16 : r);
    mixer_.update(avx2_, t_, x_, bit);
    refine_[0].update(t_, bit);
    refine_[1].update(t_, bit);
    (avx2_ ? mixer::learn_avx2<kVoices> : mixer::learn_scalar<kVoices>)(t_, values_, limits_, bit);
    for (int i = 0; i < kVoices; ++i) line_[i][node].value = values_[i] ^ flip[i];
    return bit;
  }

  static constexpr int kSetSizes[kSets] = {4096, 2048, 2048, 256};

 private:
  void find(const uint32_t* hashes) {
    for (int i = 0; i < kVoices; ++i) {
      place_[i] = hashes[i] >> (32 - kLines);
      line_[i] = &lines_[place_[i] * kNodes];
      __builtin_prefetch(line_[i]);
    }
  }

  static std::vector<int> set_sizes() { return {kSetSizes, kSetSizes + kSets}; }
  static std::vector<int32_t> first() {
    std::vector<int32_t> w(kInputs, 0);
    for (size_t i = 0; i < kVoices; ++i) w[i] = 10000;
    return w;
  }

  const mixer::Tables& t_;
  const bool avx2_;
  Buffer<Adaptive> lines_;
  mixer::Mixer<kSets, kInputs, 21, 10> mixer_;
  mixer::ProbabilityMap refine_[2];
  alignas(32) uint32_t values_[kVoices];
  alignas(32) uint32_t limits_[kVoices];
  alignas(32) int16_t x_[kInputs] = {};
  uint32_t hash_[kVoices] = {};
  Adaptive* line_[kVoices] = {};
  size_t place_[kVoices] = {};
};

// Codes the blocks of a band: rows from `begin` to `end` of MCUs, component after component.
template <typename Bits>
class Band {
 public:
  Band(const Headers& headers, std::vector<Plane>& planes, bool decode, Bits& bits, bool avx2 = use_avx2())
      : headers_(headers), planes_(planes), decode_(decode), bits_(bits), d_(avx2) {}

  template <typename Report>
  void code(int begin, int end, Report&& report) {
    for (size_t c = 0; c < headers_.components.size(); ++c) {
      c_ = &headers_.components[c];
      plane_ = &planes_[c];
      which_ = static_cast<int>(c);
      const int first = std::min(c_->height, begin * c_->v), last = std::min(c_->height, end * c_->v);
      for (size_t k = 0; k < 64; ++k) step_[k] = c_->quant[k];
      above_.assign(static_cast<size_t>(c_->width) + 2, Trace{});
      now_.assign(static_cast<size_t>(c_->width) + 2, Trace{});
      std::swap(errors_, errors_before_);
      errors_.clear();
      for (int y = first; y < last; ++y) {
        if (decode_) plane_->make_row(y);
        now_[0] = Trace{};
        for (int x = 0; x < c_->width; ++x) {
          set_neighbours(x, y, first);
          block();
        }
        std::swap(above_, now_);
        report(c_->width);
      }
    }
  }

 private:
  enum Kind { kCount, kInnerKind, kEdgeKind, kDc };

  void set_neighbours(int x, int y, int first) {
    const bool top = y == first;
    block_ = plane_->block(x, y);
    w_ = x > 0 ? plane_->block(x - 1, y) : kNone;
    n_ = top ? kNone : plane_->block(x, y - 1);
    nw_ = x > 0 && !top ? plane_->block(x - 1, y - 1) : kNone;
    ne_ = !top && x + 1 < c_->width ? plane_->block(x + 1, y - 1) : kNone;
    ww_ = x > 1 ? plane_->block(x - 2, y) : kNone;
    nn_ = y > first + 1 ? plane_->block(x, y - 2) : kNone;
    west_ = &now_[static_cast<size_t>(x)];
    north_ = &above_[static_cast<size_t>(x) + 1];
    here_ = &now_[static_cast<size_t>(x) + 1];
    // Blocks of components that are coded already, at the same place.
    ref_ = kNone;
    luma_ = kNone;
    beside_ = false;
    if (which_ > 0) {
      const Component& l = headers_.components[0];
      const int lx = std::min(x * l.h / c_->h, l.width - 1), ly = std::min(y * l.v / c_->v, l.height - 1);
      const Plane& plane = planes_[0];
      if (ly >= 0) {
        luma_ = plane.block(lx, ly);
        const int mx = std::min(lx + (l.h > c_->h), l.width - 1), my = std::min(ly + (l.v > c_->v), l.height - 1);
        const int16_t* four[4] = {luma_, plane.block(mx, ly), plane.block(lx, my), plane.block(mx, my)};
        for (int k = 0; k < 64; ++k) {
          int sum = 0;
          for (const int16_t* b : four) sum += std::abs(int{b[k]});
          energy_[k] = sum;
        }
      }
      const Component& p = headers_.components[static_cast<size_t>(which_) - 1];
      if (which_ > 1 && p.width == c_->width && p.height == c_->height) {
        ref_ = planes_[static_cast<size_t>(which_) - 1].block(x, y);
        beside_ = true;
      } else if (l.h == c_->h && l.v == c_->v) {
        ref_ = luma_;
      }
    }
  }

  // ---- a block --------------------------------------------------------------------------------

  void block() {
    std::memset(dequantised_, 0, sizeof dequantised_);
    for (int i = 0; i < 8; ++i) {
      down_[i] = west_->there ? west_->right[i] : 0;
      down_border_[i] = west_->there ? west_->right_border[i] : 0;
      across_[i] = north_->there ? north_->bottom[i] : 0;
      across_border_[i] = north_->there ? north_->bottom_border[i] : 0;
    }
    *here_ = Trace{};
    inner();
    edge(false);
    edge(true);
    dc();
    finish();
  }

  int at(const int16_t* b, int place) const { return std::abs(int{b[place]}); }

  uint32_t weighted(int place) const {
    if (north_->there && west_->there)
      return static_cast<uint32_t>(13 * (at(w_, place) + at(n_, place)) + 6 * at(nw_, place));
    return static_cast<uint32_t>(32 * (at(w_, place) + at(n_, place)));
  }

  // Takes a coefficient that is coded into all sums.
  void take(int place, int value) {
    const int u = place % 8, v = place / 8;
    int64_t exact = int64_t{value} * step_[place];
    const int d = static_cast<int>(exact > 32767 ? 32767 : exact < -32767 ? -32767 : exact);
    dequantised_[place] = d;
    down_[v] -= kEdge[u] * d;
    down_border_[v] -= kBorder[u] * d;
    across_[u] -= kEdge[v] * d;
    across_border_[u] -= kBorder[v] * d;
  }

  void set(int i, uint64_t context, int sign = 0) {
    d_.context[i] = (context * 4 + static_cast<uint64_t>(which_)) * 4 + kind_;
    d_.sign[i] = sign;
  }

  // A number of `width` bits, the highest first.
  int count(int width, int known, int expected) {
    d_.begin();
    int v = 1, node = 1;
    for (int i = width - 1; i >= 0; --i) {
      const int done = width - 1 - i;
      if (done == 3) {
        d_.move(static_cast<uint32_t>(v));
        node = 1;
      }
      const int selected[] = {select0_ * 64 + v, 64 * which_ + v, std::min(expected, 49) * 8 + done, done};
      const uint32_t refined[] = {static_cast<uint32_t>(select0_ * 64 + v), static_cast<uint32_t>(std::min(expected, 49) * 64 + v) + 8192};
      const int bit = d_.code(bits_, known >> i & 1, node - 1, false, selected, kind_ * 16 + done, refined);
      v = v * 2 + bit;
      node = node * 2 + bit;
    }
    return v - (1 << width);
  }

  // A value: is it zero, its sign, the width of its magnitude, the bits below the highest.
  int value(int known, int place, uint32_t s1, uint32_t s2, uint32_t s3) {
    const int bank = kind_ == kInnerKind ? 0 : kind_ == kEdgeKind ? 1 : 2;
    (void)bank;
    d_.begin();
    const auto decide = [&](int bit, int node, bool is_sign, int part) {
      const int selected[] = {(which_ * 64 + place) * 16 + part, static_cast<int>(s1 * 16) + part, static_cast<int>(s2 * 16) + part,
                              kind_ * 16 + part};
      const uint32_t refined[] = {static_cast<uint32_t>((which_ * 64 + place) * 16 + part), (s3 * 16 + static_cast<uint32_t>(part)) & 0xffff};
      return d_.code(bits_, bit, node, is_sign, selected, kind_ * 16 + part, refined);
    };
    const int magnitude = std::abs(known), width = bit_width(static_cast<uint32_t>(magnitude));
    if (decide(known == 0, 0, false, 0)) return 0;
    const int negative = decide(known < 0, 1, true, 1);
    d_.turn(negative ? -1 : 1);
    int n = 1;
    while (n < kWidest && decide(width > n, 1 + std::min(n, 7), false, 1 + std::min(n, 7))) ++n;
    int m = 1;
    for (int i = n - 2; i >= 0; --i) {
      int node;
      if (i == n - 2) {
        node = n == 2 ? 9 : n == 3 ? 10 : n == 4 ? 12 : n == 5 ? 13 : 14;
      } else {
        // Three bits below the highest are told apart, further ones only by their number.
        d_.move(static_cast<uint32_t>(n * 64 + (n - 2 - i < 4 ? m : 32 + i)));
        node = 0;
      }
      m = m * 2 + decide(magnitude >> i & 1, node, false, 9 + std::min(n - 2 - i, 6));
    }
    return negative ? -m : m;
  }
  static constexpr int kWidest = 14;

  static int sign_of(int64_t v) { return (v > 0) - (v < 0); }
  // A prediction in quarters of a step.
  int64_t quarters(int64_t sum, int weight, int place) const {
    const int64_t unit = int64_t{weight} * step_[place];
    const int64_t p = (4 * std::llabs(sum) + unit / 2) / unit;
    return sum < 0 ? -p : p;
  }
  static uint32_t fine(int64_t p) { return steps(static_cast<uint32_t>(std::min<int64_t>(std::llabs(p), 4000))); }

  void inner() {
    kind_ = kCount;
    int known = 0;
    for (int place : kInner.place) known += block_[place] != 0;
    const int wn = west_->inner, nn = north_->inner;
    const int mean = west_->there && north_->there ? (wn + nn + 1) / 2 : wn + nn;
    int luma = 0, reference = 0;
    if (which_ > 0 && luma_ != kNone)
      for (int place : kInner.place) luma += energy_[place] > 0, reference += ref_[place] != 0;
    const Trace& nwt = above_[static_cast<size_t>(west_ - now_.data())];
    const Trace& net = north_[north_ + 1 < above_.data() + above_.size() ? 1 : 0];
    const int nw = nwt.inner, ne = net.inner;
    uint32_t sum = 0;
    for (int place : kInner.place) sum += cap(at(w_, place), 15) + cap(at(n_, place), 15);
    const uint64_t w = static_cast<uint64_t>(wn), n = static_cast<uint64_t>(nn), l = static_cast<uint64_t>(luma),
                   r = static_cast<uint64_t>(reference), m = static_cast<uint64_t>(mean);
    const uint64_t outer = static_cast<uint64_t>(west_->down + west_->across), outer2 = static_cast<uint64_t>(north_->down + north_->across);
    int v = 0;
    const auto add = [&](uint64_t context) { set(v, context * 32 + static_cast<uint64_t>(v)); ++v; };
    add(m);
    add(w << 6 | n);
    add(w / 3 << 12 | n / 3 << 6 | static_cast<uint64_t>(nw / 3));
    add(m << 6 | static_cast<uint64_t>(ne));
    add(steps(sum));
    add(static_cast<uint64_t>(steps(sum)) << 6 | m / 2);
    add(l << 6 | r);
    add(m << 12 | l / 2 << 6 | r);
    add(outer << 6 | m);
    add(outer2 << 8 | outer << 4 | 1);
    add(0);
    add(w);
    add(n);
    add((w + n + static_cast<uint64_t>(nw + ne)) );
    add((w > n) << 8 | m);
    add((2 * w + 2 * n + static_cast<uint64_t>(ne - nw) ) & 1023);
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(west_->error)))) << 6 | m);
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(north_->error)))) << 6 | m);
    add(static_cast<uint64_t>(nz(ww_)) << 6 | w);
    add(static_cast<uint64_t>(nz(nn_)) << 6 | n);
    add(r << 6 | m);
    add(r << 12 | w / 4 << 6 | n / 4);
    add((static_cast<uint64_t>(nz(ww_)) + w + n + static_cast<uint64_t>(nz(nn_))) << 6 | static_cast<uint64_t>(nw + ne) / 4);
    add(l);
    select0_ = std::min(mean, 49);
    int left = count(6, known, which_ > 0 ? reference : (nw + ne + 1) / 2);
    if (left > 49) throw_damaged();
    here_->inner = static_cast<uint8_t>(left);
    const int total = left;
    kind_ = kInnerKind;
    int previous = 0, previous2 = 0;
    uint32_t so_far = 0;
    for (int k = 0; k < 49 && left > 0; ++k) {
      const int place = kInner.place[k];
      const int rest = 49 - k;
      const uint64_t p = static_cast<uint64_t>(place);
      const uint32_t around = weighted(place);
      const int wa = at(w_, place), na = at(n_, place);
      const int a1 = at(block_, place - 1) * (place % 8 > 1), a2 = at(block_, place - 8) * (place / 8 > 1),
                a3 = at(block_, place - 9) * (place % 8 > 1 && place / 8 > 1);
      // Frequencies nearby, in the neighbours.
      uint32_t near = 0;
      for (int q : {place - 8, place - 1}) near += static_cast<uint32_t>(at(w_, q) + at(n_, q));
      if (place % 8 < 7) near += static_cast<uint32_t>(at(w_, place + 1) + at(n_, place + 1));
      if (place / 8 < 7) near += static_cast<uint32_t>(at(w_, place + 8) + at(n_, place + 8));
      near = near + 2 * static_cast<uint32_t>(wa + na);
      const int64_t d1 = quarters(down_[place / 8], kEdge[place % 8], place), d2 = quarters(down_border_[place / 8], kBorder[place % 8], place);
      const int64_t c1 = quarters(across_[place % 8], kEdge[place / 8], place), c2 = quarters(across_border_[place % 8], kBorder[place / 8], place);
      const uint64_t lq = steps(static_cast<uint32_t>(left)), aq = steps(around >> 2);
      const uint64_t density = static_cast<uint64_t>(std::min(15, left * 16 / (rest + 1)));
      const uint64_t rq = ref_ == kNone ? 0 : cap(at(ref_, place), 7) + 1, eq = which_ > 0 ? steps(static_cast<uint32_t>(energy_[place])) : 0;
      v = 0;
      const auto put = [&](uint64_t context, int sign = 0) { set(v, (context << 6 | p), sign); ++v; };
      const int sr = ref_ == kNone ? 0 : sign_of(ref_[place]);
      const int sw = sign_of(w_[place]), sn = sign_of(n_[place]);
      put(aq << 8 | lq);
      put(static_cast<uint64_t>(cap(wa, 7)) << 8 | cap(na, 7) << 4 | lq / 4);
      put(static_cast<uint64_t>(left) << 6);
      put(static_cast<uint64_t>(cap(a1, 3)) << 12 | cap(a2, 3) << 8 | cap(a3, 3) << 4 | lq / 2);
      put(static_cast<uint64_t>(cap(std::abs(previous), 3)) << 12 | cap(std::abs(previous2), 3) << 8 | lq);
      put(static_cast<uint64_t>(steps(so_far)) << 8 | lq);
      put(rq << 8 | aq / 2, sr);
      put(fine(d1) << 6 | lq / 2, sign_of(d1));
      put(fine(c1) << 6 | lq / 2, sign_of(c1));
      put(static_cast<uint64_t>(fine(d1) / 2) << 12 | fine(c1) / 2 << 4 | static_cast<uint64_t>(1 + sign_of(d1) * sign_of(c1)), sign_of(d1));
      put(static_cast<uint64_t>(cap(at(nw_, place), 7)) << 8 | cap(at(ne_, place), 7) << 4 | cap(wa + na, 7));
      put(static_cast<uint64_t>(cap(na, 3)) << 8 | cap(wa, 3) << 4 | static_cast<uint64_t>(1 + sw * sn), sn != 0 ? sn : sw);
      put(static_cast<uint64_t>(wn + nn) << 8 | static_cast<uint64_t>(total));
      put(static_cast<uint64_t>(total) << 6 | aq / 2);
      put(static_cast<uint64_t>(steps(near)) << 6 | aq / 2);
      put(static_cast<uint64_t>(steps(around)) << 10 | density << 4 | cap(a1 + a2, 7));
      put(static_cast<uint64_t>(steps(near)) << 10 | density << 4 | cap(a1 + a2, 7));
      put(eq << 8 | aq / 2 | rq << 16, sr);
      put(fine(d2) << 6 | aq / 2, sign_of(d2));
      put(fine(c2) << 6 | aq / 2, sign_of(c2));
      put(static_cast<uint64_t>(cap(at(ww_, place), 3)) << 12 | cap(at(nn_, place), 3) << 8 | cap(wa, 3) << 4 | cap(na, 3));
      put(static_cast<uint64_t>(steps(static_cast<uint32_t>(a1 + a2 + a3))) << 12 | steps(near) << 6 | lq / 2);
      put(static_cast<uint64_t>(cap(static_cast<int>(around / 4), 31)) << 8 | steps(so_far) / 2);
      put(lq << 8 | density << 4 | cap(std::abs(previous), 7));
      const int got = value(block_[place], place, static_cast<uint32_t>(std::min(left, 49)) + 1, 1 + std::min<uint32_t>(static_cast<uint32_t>(aq), 31),
                            static_cast<uint32_t>(aq * 64 + density * 4 + cap(a1 + a2, 3)));
      put_value(place, got);
      if (got != 0) {
        --left;
        so_far += static_cast<uint32_t>(std::abs(got));
      }
      previous2 = previous;
      previous = got;
    }
    if (left != 0) throw_damaged();
  }

  void put_value(int place, int value) {
    if (decode_ && value != 0) {
      if (std::abs(value) > 32767) throw_damaged();
      block_[place] = static_cast<int16_t>(value);
    }
    if (value != 0) take(place, value);
  }

  // The coefficients of the first row (or column).
  void edge(bool column) {
    kind_ = kCount;
    const int stride = column ? 8 : 1;
    int known = 0;
    for (int i = 1; i < 8; ++i) known += block_[i * stride] != 0;
    const int wn = column ? west_->down : west_->across, nn = column ? north_->down : north_->across;
    const int inner = here_->inner, other = column ? here_->across : 0;
    const uint64_t side = column;
    int reach = 0, energy = 0, predicted = 0, reference = 0, ratio = 0;
    for (int place : kInner.place) {
      if (block_[place] == 0) continue;
      reach = std::max(reach, column ? place / 8 : place % 8);
      energy += at(block_, place);
    }
    for (int i = 1; i < 8; ++i) {
      const int64_t e = quarters(column ? down_[i] : across_[i], kEdge[0], i * stride);
      predicted += std::llabs(e) > 2;
      ratio += std::llabs(quarters(column ? down_border_[i] : across_border_[i], kBorder[0], i * stride)) > 2;
      reference += ref_[i * stride] != 0;
    }
    int v = 0;
    const auto add = [&](uint64_t context) { set(v, ((context * 2 + side) * 32 + static_cast<uint64_t>(v)) * 2 + 1); ++v; };
    const uint64_t w = static_cast<uint64_t>(wn), n = static_cast<uint64_t>(nn), in = static_cast<uint64_t>(inner), o = static_cast<uint64_t>(other),
                   pr = static_cast<uint64_t>(predicted), r8 = static_cast<uint64_t>(reach), rf = static_cast<uint64_t>(reference), rt = static_cast<uint64_t>(ratio);
    add(in << 6 | (w + n) / 2);
    add(w << 4 | n);
    add(pr << 6 | in);
    add(pr << 8 | w << 4 | n);
    add(r8 << 8 | w << 4 | n);
    add(r8 << 8 | pr << 4 | o);
    add(in << 6 | o);
    add(rf << 8 | pr << 4 | r8);
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(energy))) << 6 | pr);
    add(rf << 8 | (w + n));
    add(pr);
    add(rt << 8 | pr << 4);
    add(rt << 8 | in);
    add(r8 << 8 | o << 4);
    add(in);
    add(w + n);
    add(o << 8 | w << 4 | n);
    add(static_cast<uint64_t>(column ? west_->across : west_->down) << 8 | static_cast<uint64_t>(column ? north_->across : north_->down) << 4 | o);
    add(static_cast<uint64_t>(edge_nz(ne_, stride)) << 8 | n << 4 | w);
    add(static_cast<uint64_t>(edge_nz(nw_, stride)) << 8 | n << 4 | w);
    add(static_cast<uint64_t>(edge_nz(luma_, stride)) << 8 | rf << 4 | pr);
    add(0);
    add(static_cast<uint64_t>(edge_nz(nn_, stride) + edge_nz(ww_, stride)) << 8 | n << 4 | w);
    add(static_cast<uint64_t>(energy_nz(stride)) << 8 | pr << 4 | rf);
    select0_ = 50 + column;
    int left = count(3, known, predicted * 2 + column);
    (column ? here_->down : here_->across) = static_cast<uint8_t>(left);
    kind_ = kEdgeKind;
    int previous = 0;
    uint32_t so_far = 0;
    for (int i = 1; i < 8 && left > 0; ++i) {
      const int place = i * stride;
      const uint64_t p = static_cast<uint64_t>(place), l = static_cast<uint64_t>(left);
      const int64_t p1 = quarters(column ? down_[i] : across_[i], kEdge[0], place);
      const int64_t p2 = quarters(column ? down_border_[i] : across_border_[i], kBorder[0], place);
      // The other border sees this coefficient beside the unknown ones of its line.
      const int64_t p3 = quarters(column ? across_[0] : down_[0], kEdge[i], place);
      const int64_t mean = (p1 + p2) / 2;
      const int wa = at(w_, place), na = at(n_, place);
      const uint32_t around = weighted(place);
      const uint64_t aq = steps(around >> 2);
      uint32_t line = 0;  // the inner coefficients of the same frequency
      for (int j = 1; j < 8; ++j) line += static_cast<uint32_t>(at(block_, column ? place + j : place + 8 * j));
      const int next = at(block_, column ? place + 1 : place + 8);
      const int beside = static_cast<int>(at(w_, place + stride * (i < 7)) + at(n_, place + stride * (i < 7)));
      const int sr = ref_ == kNone ? 0 : sign_of(ref_[place]);
      const int s1 = sign_of(p1), s2 = sign_of(p2), sw = sign_of(w_[place]), sn = sign_of(n_[place]), sm = sign_of(mean);
      const uint64_t rq = ref_ == kNone ? 0 : cap(at(ref_, place), 15) + 1, eq = which_ > 0 ? steps(static_cast<uint32_t>(energy_[place])) : 0;
      v = 0;
      const auto put = [&](uint64_t context, int sign = 0) { set(v, (context << 6 | p), sign); ++v; };
      put(static_cast<uint64_t>(fine(p1)) << 6 | l, s1);
      put(static_cast<uint64_t>(fine(p2)) << 6 | l, s2);
      put(static_cast<uint64_t>(fine(mean)) << 6 | l, sm);
      put(static_cast<uint64_t>(fine(p1)) << 8 | aq, s1);
      put(static_cast<uint64_t>(fine(p1)) << 12 | fine(p2) << 4 | static_cast<uint64_t>(1 + s1 * s2), s1);
      put(aq << 6 | l);
      put(static_cast<uint64_t>(std::min<int64_t>(std::llabs(p1), 80)) << 6 | static_cast<uint64_t>(l / 3), s1);
      put(static_cast<uint64_t>(std::min<int64_t>(std::llabs(mean), 80)) << 6, sm);
      put(static_cast<uint64_t>(fine(p1)) << 10 | steps(line) << 4 | l / 2, s1);
      put(static_cast<uint64_t>(fine(p1)) << 12 | fine(p3) / 2 << 4 | static_cast<uint64_t>(1 + s1 * sign_of(p3)), s1);
      put(static_cast<uint64_t>(fine(mean)) << 12 | cap(wa, 7) << 8 | cap(na, 7) << 4 | static_cast<uint64_t>(1 + sm * (column ? sn : sw)), sm);
      put(static_cast<uint64_t>(cap(wa, 7)) << 12 | cap(na, 7) << 8 | l << 4 | static_cast<uint64_t>(1 + sw * sn), column ? (sn != 0 ? sn : sw) : (sw != 0 ? sw : sn));
      put(l << 10 | steps(line) << 4 | cap(next, 7));
      put(static_cast<uint64_t>(fine(mean)) << 10 | rq << 4 | static_cast<uint64_t>(1 + sm * sr), sm);
      put(rq << 10 | aq << 4 | l / 2, sr);
      put(rq << 10 | eq << 4 | l / 2, sr);
      put(static_cast<uint64_t>(fine(mean)) << 12 | steps(so_far) << 4 | cap(std::abs(previous), 3), sm);
      put(static_cast<uint64_t>(fine(p2)) << 10 | static_cast<uint64_t>(inner), s2);
      put(static_cast<uint64_t>(fine(mean)) << 10 | steps(static_cast<uint32_t>(beside)) << 4 | l / 2, sm);
      put(static_cast<uint64_t>(cap(at(nw_, place), 7)) << 12 | cap(at(ne_, place), 7) << 8 | cap(wa + na, 7) << 4 | l);
      put(static_cast<uint64_t>(fine(p3)) << 10 | aq, sign_of(p3));
      put(static_cast<uint64_t>(fine(mean)) << 10 | static_cast<uint64_t>(column ? here_->across : left) << 4 | static_cast<uint64_t>(i), sm);
      put(static_cast<uint64_t>(steps(around)) << 10 | static_cast<uint64_t>(inner) / 2 << 4 | l);
      put(static_cast<uint64_t>(cap(at(ww_, place), 7)) << 12 | cap(at(nn_, place), 7) << 8 | fine(mean), sm);
      const int got = value(block_[place], place, 50 + fine(mean), 34 + static_cast<uint32_t>(l) * 8 + cap(static_cast<int>(aq), 14) / 2,
                            512 + fine(p1) * 32 + fine(p2));
      put_value(place, got);
      if (got != 0) {
        --left;
        so_far += static_cast<uint32_t>(std::abs(got));
      }
      previous = got;
    }
    if (left != 0) throw_damaged();
  }

  void dc() {
    kind_ = kDc;
    // Samples without DC, in 16ths of a sample's step.
    int32_t half[8][8];
    for (int v = 0; v < 8; ++v) {
      for (int x = 0; x < 8; ++x) {
        int32_t sum = 512;
        for (int u = 0; u < 8; ++u) sum += kCosine[x][u] * dequantised_[v * 8 + u];
        sum >>= 10;
        half[v][x] = sum > 65535 ? 65535 : sum < -65535 ? -65535 : sum;
      }
    }
    for (int y = 0; y < 8; ++y) {
      for (int x = 0; x < 8; ++x) {
        int32_t sum = 256;
        for (int v = 0; v < 8; ++v) sum += kCosine[y][v] * half[v][x];
        sum >>= 9;
        samples_[y][x] = sum;
      }
    }
    // Each sample at a border tells an offset.
    int32_t found[16], sums[2] = {0, 0};
    int n = 0;
    if (north_->there) {
      for (int x = 0; x < 8; ++x) {
        found[n] = (3 * north_->rows[0][x] - north_->rows[1][x] - 3 * samples_[0][x] + samples_[1][x]) >> 1;
        sums[0] += found[n++];
      }
    }
    if (west_->there) {
      for (int y = 0; y < 8; ++y) {
        found[n] = (3 * west_->columns[0][y] - west_->columns[1][y] - 3 * samples_[y][0] + samples_[y][1]) >> 1;
        sums[1] += found[n++];
      }
    }
    const int unit = 2 * step_[0];
    int32_t mean = 0, spread = 0;
    if (n > 0) {
      std::sort(found, found + n);
      for (int i = n / 4; i < n - n / 4; ++i) mean += found[i];
      mean = mean * 2 / n;
      spread = found[n - 1] - found[0];
    }
    const auto rounded = [&](int32_t v, int scale) {
      const int64_t twice = int64_t{v} * scale * 2;
      return static_cast<int>(twice < 0 ? -((-twice + unit) / (2 * unit)) : (twice + unit) / (2 * unit));
    };
    const int predicted = rounded(mean, 1);
    const int exact = rounded(mean, 4) - 4 * predicted;  // quarters that the rounding left
    const int up = north_->there ? rounded(sums[0] / 8, 4) - 4 * predicted : 0;
    const int left = west_->there ? rounded(sums[1] / 8, 4) - 4 * predicted : 0;
    const uint64_t uncertain = steps(static_cast<uint32_t>(std::min(rounded(spread, 4), 4000)));
    const uint64_t ew = steps(static_cast<uint32_t>(std::abs(west_->error))), en = steps(static_cast<uint32_t>(std::abs(north_->error)));
    const int sw = sign_of(west_->error), sn = sign_of(north_->error), su = sign_of(up), sl = sign_of(left), se = sign_of(exact);
    const uint64_t in = here_->inner, edges = static_cast<uint64_t>(here_->across + here_->down);
    const int rd = beside_ ? errors_before_[errors_.size()] : 0;
    const uint64_t fu = fine(up), fl = fine(left);
    int v = 0;
    const auto add = [&](uint64_t context, int sign = 0) { set(v, context * 32 + static_cast<uint64_t>(v), sign); ++v; };
    add(uncertain);
    add(uncertain << 6 | (in + edges) / 2);
    add(uncertain << 10 | ew << 5 | en);
    add(fu << 6 | uncertain, su);
    add(fl << 6 | uncertain, sl);
    add(fu << 12 | fl << 4 | static_cast<uint64_t>(1 + su * sl), su);
    add(static_cast<uint64_t>(std::abs(exact)) << 8 | uncertain, se);
    add(ew << 8 | uncertain << 1, sw);
    add(en << 8 | uncertain << 1, sn);
    add(ew << 12 | en << 4 | static_cast<uint64_t>(1 + sw * sn), sw);
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(rd)))) << 8 | uncertain, sign_of(rd));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(rd)))) << 8 | fu, sign_of(rd));
    add(in << 6 | edges);
    add(edges << 6 | uncertain);
    add(0, su);
    add(0, sl);
    add((ew + en) << 6 | uncertain);
    add(fine(up - left) << 6 | uncertain, sign_of(up - left));
    add(fine(up + left) << 6 | uncertain, sign_of(up + left));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(n_[0] - predicted)))) << 8 | uncertain, sign_of(n_[0] - predicted));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(w_[0] - predicted)))) << 8 | uncertain, sign_of(w_[0] - predicted));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(w_[0] + n_[0] - nw_[0] - predicted)))) << 8 | uncertain, sign_of(w_[0] + n_[0] - nw_[0] - predicted));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs(w_[0] - nw_[0])))) << 8 | steps(static_cast<uint32_t>(std::abs(n_[0] - nw_[0]))));
    add(static_cast<uint64_t>(steps(static_cast<uint32_t>(std::abs((n_[0] + ne_[0]) / 2 - predicted)))) << 8 | uncertain, sign_of((n_[0] + ne_[0]) / 2 - predicted));
    const int error = value(block_[0] - predicted, 0, 84 + static_cast<uint32_t>(uncertain), 106 + cap(static_cast<int>(fu), 20),
                            2048 + static_cast<uint32_t>(uncertain) * 32 + cap(static_cast<int>(ew + en) / 2, 31));
    here_->error = static_cast<int16_t>(std::min(std::max(error, -32767), 32767));
    errors_.push_back(here_->error);
    const int value = predicted + error;
    if (value > 32767 || value < -32767) throw_damaged();
    put_value(0, value);
  }

  // Leaves what later blocks need.
  void finish() {
    Trace& t = *here_;
    t.there = true;
    const int32_t dc = std::min(std::max(2 * dequantised_[0], -65535), 65535);
    const auto narrow = [](int32_t v) { return static_cast<int16_t>(v > 32767 ? 32767 : v < -32767 ? -32767 : v); };
    for (int i = 0; i < 8; ++i) {
      for (int j = 0; j < 2; ++j) {
        t.columns[j][i] = narrow(samples_[i][7 - j] + dc);
        t.rows[j][i] = narrow(samples_[7 - j][i] + dc);
      }
    }
    for (int i = 0; i < 8; ++i) t.right[i] = t.right_border[i] = t.bottom[i] = t.bottom_border[i] = 0;
    for (int v = 0; v < 8; ++v) {
      for (int u = 0; u < 8; ++u) {
        const int d = dequantised_[v * 8 + u];
        t.right[v] += (u % 2 ? -kEdge[u] : kEdge[u]) * d;
        t.right_border[v] += (u % 2 ? -kBorder[u] : kBorder[u]) * d;
        t.bottom[u] += (v % 2 ? -kEdge[v] : kEdge[v]) * d;
        t.bottom_border[u] += (v % 2 ? -kBorder[v] : kBorder[v]) * d;
      }
    }
  }

  int nz(const int16_t* b) const {
    if (b == kNone) return 0;
    int n = 0;
    for (int place : kInner.place) n += b[place] != 0;
    return n;
  }
  static int edge_nz(const int16_t* b, int stride) {
    int n = 0;
    for (int i = 1; i < 8; ++i) n += b[i * stride] != 0;
    return n;
  }
  int energy_nz(int stride) const {
    if (which_ == 0) return 0;
    int n = 0;
    for (int i = 1; i < 8; ++i) n += energy_[i * stride] != 0;
    return n;
  }
  [[noreturn]] static void throw_damaged() { throw Unknown("coefficients that no image has"); }

  static constexpr int16_t kNone[64] = {};

  const Headers& headers_;
  std::vector<Plane>& planes_;
  const bool decode_;
  Bits& bits_;
  Decisions d_;
  const Component* c_ = nullptr;
  Plane* plane_ = nullptr;
  int which_ = 0;
  int kind_ = 0;
  int select0_ = 0;
  int step_[64] = {};
  std::vector<Trace> above_, now_;
  std::vector<int16_t> errors_, errors_before_;  // of the predicted DCs of this component and of the one before
  bool beside_ = false;                          // the component before has the same blocks
  int16_t* block_ = nullptr;
  const int16_t *w_ = kNone, *n_ = kNone, *nw_ = kNone, *ne_ = kNone, *ww_ = kNone, *nn_ = kNone, *ref_ = kNone, *luma_ = kNone;
  int energy_[64] = {};
  const Trace *west_ = nullptr, *north_ = nullptr;
  Trace* here_ = nullptr;
  int dequantised_[64] = {};
  int32_t samples_[8][8] = {};
  int64_t down_[8] = {}, down_border_[8] = {}, across_[8] = {}, across_border_[8] = {};
};

template <typename Bits>
constexpr int16_t Band<Bits>::kNone[64];

}  // namespace lmc::jpeg
