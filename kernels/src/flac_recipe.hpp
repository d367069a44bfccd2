// The recipe of FLAC frames: what they say besides their samples, as decisions about what differs
// from the guess that the samples and the frames before allow (FORMAT.md has the order and the
// contexts). Coder and decoder are one function: `bits(known, p)` takes the bit that is known and
// codes it, or ignores it and says what was coded.
#pragma once
#include <cstdint>
#include <vector>

#include "flac_frame.hpp"
#include "flac_linear.hpp"
#include "flac_rice.hpp"
#include "mixer_counters.hpp"
#include "mixer_tables.hpp"

namespace lmc::flac {

// How the writer worked, as far as one rule holds for the file.
struct Rules {
  RiceRule rice = kLibflac;
  int most_partitions = 0;  // the largest partition order that it tries
  LinearRule linear = kNoLinear;
  int parts = 1;       // of libFLAC's subdivide_tukey, 1 to 6
  int most_order = 0;  // the largest order of linear prediction that it tries
};

template <typename Bits>
class Recipe {
 public:
  // known: frames are given, and described; else they are found.
  Recipe(Bits& bits, bool known, const Rules& rules, int channels, int depth)
      : bits_(bits),
        known_(known),
        rules_(rules),
        channels_(channels),
        depth_(depth),
        linear_(rules.linear, rules.parts, rules.most_order) {
    last_.assignment = channels - 1;
    last_.depth_code = usual_depth_code(depth);
  }

  // One frame, of the samples that follow ([channel][time]; so many are left). Writes the frame to
  // `out`, if there is one, of at most `most` bits a frame.
  void frame(Frame& f, const int32_t* const* samples, uint64_t left, BitWriter* out) {
    header(f.header, left);
    const Header& h = f.header;
    const size_t start = out ? out->size() : 0;
    if (out) write_header(*out, h);
    if (!known_) to_signals(f, samples);
    size_t most = most_bits(h);
    for (int c = 0; c < channels_; ++c) subframe(f, c, out, most);
    if (out) {
      out->align();
      require(8 * (out->size() - start) <= most_bits(h));
      out->write(crc16(out->bytes().data() + start, out->size() - start), 16);
    }
    last_ = h;
  }

  // True if the rules gave the coefficients of nearly all subframes so far.
  bool exact() const { return 8 * inexact_ <= linear_count_; }

 private:
  using Cell = mixer::Adaptive;
  struct Tree {  // symbols of 5 bits at most
    Cell nodes[32];
    Tree() {
      for (Cell& cell : nodes) cell = kHalf;
    }
  };
  struct Number {  // of any size: its length, then its bits, the first two with contexts
    Cell length[40], high[40][4];
    Number() {
      for (Cell& cell : length) cell = kHalf;
      for (auto& cells : high) {
        for (Cell& cell : cells) cell = kHalf;
      }
    }
  };
  struct Flag {
    Cell cell = kHalf;
  };
  static constexpr Cell kHalf{1u << 31};

  bool flag(bool value, Flag& f) { return bit(value, f.cell) != 0; }
  int bit(int value, Cell& cell) {
    const uint32_t p = std::min(std::max(cell.p22() << 2, 16u), (1u << 24) - 16);
    const int coded = bits_(value, p);
    cell.update(t_, coded, 255);
    return coded;
  }
  int tree(int value, int width, Tree& t) {
    int node = 1;
    for (int i = width - 1; i >= 0; --i) node = 2 * node + bit(value >> i & 1, t.nodes[node]);
    return node - (1 << width);
  }
  // value < 2^36.
  uint64_t number(uint64_t value, Number& n) {
    const int known = length_of(value);
    int length = 0;
    while (length < 36 && bit(length < known, n.length[length])) ++length;
    uint64_t out = length > 0;
    for (int i = length - 2, place = 1; i >= 0; --i) {
      const int b = static_cast<int>(value >> i & 1);
      const int coded = place < 4 ? bit(b, n.high[length][place]) : bits_(b, 1u << 23);
      place = 2 * place + coded;
      if (place > 7) place = 7;
      out = out << 1 | static_cast<uint64_t>(coded);
    }
    return out;
  }
  int64_t signed_number(int64_t value, Number& n) {
    const uint64_t folded = static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63);
    const uint64_t coded = number(folded, n);
    return static_cast<int64_t>(coded >> 1) ^ -static_cast<int64_t>(coded & 1);
  }

  void header(Header& h, uint64_t left) {
    const bool alike = h.variable == last_.variable && h.rate_code == last_.rate_code && h.rate == last_.rate &&
                       h.depth_code == last_.depth_code;
    const int assignment = h.assignment;
    const uint64_t number_known = h.number;
    if (flag(alike && h.block == last_.block && h.size_code == last_.size_code, same_)) {
      if (!known_) h = last_;
    } else if (flag(alike && h.block == left && h.size_code == usual_size_code(h.block), rest_)) {
      if (!known_) {
        h = last_;
        h.block = static_cast<uint32_t>(std::min<uint64_t>(left, 65536));
        h.size_code = usual_size_code(h.block);
      }
    } else {
      h.variable = flag(h.variable, variable_);
      h.block = static_cast<uint32_t>(number(h.block - 1, block_) + 1);
      require(h.block > 0 && h.block <= 65536);
      if (flag(h.size_code == usual_size_code(h.block), usual_)) {
        h.size_code = usual_size_code(h.block);
      } else {
        h.size_code = tree(h.size_code, 4, size_code_);
        require(h.size_code == 6 || h.size_code == 7 ? h.size_code == 7 || h.block <= 256
                                                     : h.size_code > 0 && block_of(h.size_code) == h.block);
      }
      h.rate_code = tree(h.rate_code, 4, rate_code_);
      require(h.rate_code != 15);
      h.rate = h.rate_code >= 12 ? static_cast<uint32_t>(number(h.rate, rate_)) : 0;
      require(h.rate < (h.rate_code == 12 ? 256u : 65536u));
      h.depth_code = tree(h.depth_code, 3, depth_code_);
      require(h.depth_code != 3);
    }
    require(h.block <= left);
    h.assignment = channels_ - 1;
    if (channels_ == 2) {
      const int way = assignment < kLeftSide ? 0 : assignment - kLeftSide + 1;
      const int coded = tree(way, 2, assignment_[last_.assignment < kLeftSide ? 0 : last_.assignment - kLeftSide + 1]);
      h.assignment = coded == 0 ? 1 : kLeftSide + coded - 1;
    }
    const uint64_t next = first_ ? 0 : last_.number + (h.variable ? last_.block : 1);
    first_ = false;
    h.number = flag(number_known == next, next_) ? next : number(number_known, number_);
    require(length_of(h.number) <= 36);
  }

  void subframe(Frame& f, int c, BitWriter* out, size_t& most) {
    Subframe& s = f.subframes[c];
    const int assignment = f.header.assignment;
    int bits = signal_bits(depth_, assignment, c);
    const int role = bits > depth_ ? 2 : assignment == kMidSide ? 1 : 0;
    Signal& signal = f.signals[c];
    Slot& slot = slots_[c];

    int64_t all = 0;
    bool constant = true;
    for (const int64_t value : signal) {
      all |= value;
      constant &= value == signal[0];
    }
    const int zeros = all == 0 ? 0 : __builtin_ctzll(static_cast<uint64_t>(all));
    s.kind = tree(s.kind, 2, kind_[constant][role][slot.kind]);
    require(s.kind != kConstant || constant);
    slot.kind = s.kind;
    if (!flag(s.wasted == zeros, wasted_same_)) {
      s.wasted = static_cast<int>(number(static_cast<uint64_t>(s.wasted), wasted_));
    } else {
      s.wasted = zeros;
    }
    require(s.wasted < bits && (all == 0 || s.wasted <= zeros));
    bits -= s.wasted;
    if (s.wasted > 0) {
      for (int64_t& value : signal) value >>= s.wasted;
    }
    if (s.kind == kFixed) {
      s.order = tree(s.order, 3, fixed_order_[role][slot.fixed_order]);
      require(s.order <= 4);
      slot.fixed_order = s.order;
    } else if (s.kind == kLinear) {
      s.order = tree(s.order - 1, 5, order_[role]) + 1;
    } else {
      s.order = 0;
    }
    require(static_cast<size_t>(s.order) <= signal.size());
    if (s.kind == kLinear) coefficients(s, signal, role);
    if (s.kind >= kFixed) {
      find_residual(signal, s, bits, residual_);
      partitions(s, role);
    }
    if (out) write_subframe(*out, bits, s, signal, residual_, most);
  }

  void coefficients(Subframe& s, const Signal& signal, int role) {
    ++linear_count_;
    s.precision = tree(s.precision - 1, 4, precision_[role]) + 1;
    require(s.precision < 16);
    int way = 0;  // 0: not by a window, else its number and one
    Subframe guess;
    guess.order = s.order;
    guess.precision = s.precision;
    if (linear_.windows() > 0) {
      linear_.begin();
      if (known_) way = choose(s, signal);
      way = tree(way, 5, way_[role]);
      require(way <= linear_.windows());
      if (way > 0) ++uses_[way - 1];
    }
    if (way > 0) {
      require(linear_.find(signal, way - 1, guess));
      bool same = known_;
      for (int j = 0; j < s.order; ++j) same &= s.coefficients[j] == guess.coefficients[j];
      s.shift = guess.shift;
      same = flag(same, exact_);
      inexact_ += !same;
      for (int j = 0; j < s.order; ++j) {
        const int64_t change = same ? 0 : signed_number(int64_t{s.coefficients[j]} - guess.coefficients[j], change_[j]);
        s.coefficients[j] = static_cast<int32_t>(guess.coefficients[j] + change);
      }
    } else {
      ++inexact_;
      s.shift = tree(s.shift, 4, shift_[role]);
      for (int j = 0; j < s.order; ++j) {
        s.coefficients[j] = static_cast<int32_t>(signed_number(s.coefficients[j], coefficient_[j]));
      }
    }
    const int32_t low = -(1 << (s.precision - 1)), high = ~low;
    for (int j = 0; j < s.order; ++j) require(s.coefficients[j] >= low && s.coefficients[j] <= high);
  }

  // The window that gives the coefficients, or comes near them: the one most used so far first.
  int choose(const Subframe& s, const Signal& signal) {
    int order[Linear::kMostWindows] = {}, best = 0;
    const int count = linear_.windows();
    for (int i = 0; i < count; ++i) order[i] = i;
    std::stable_sort(order, order + count, [this](int a, int b) { return uses_[a] > uses_[b]; });
    int64_t least = 0;  // about the bits that changes cost
    for (int j = 0; j < s.order; ++j) least += 2 * length_of(size_of(s.coefficients[j])) + 1;
    for (int i = 0; i < count; ++i) {
      Subframe guess;
      guess.order = s.order;
      guess.precision = s.precision;
      if (!linear_.find(signal, order[i], guess) || guess.shift != s.shift) continue;
      int64_t cost = 0;
      for (int j = 0; j < s.order; ++j) cost += 2 * length_of(size_of(s.coefficients[j] - guess.coefficients[j]));
      if (cost < least) {
        least = cost;
        best = order[i] + 1;
      }
      if (cost == 0) break;
    }
    return best;
  }
  static uint64_t size_of(int32_t x) { return static_cast<uint64_t>(x < 0 ? -int64_t{x} : x); }

  void partitions(Subframe& s, int role) {
    const size_t n = residual_.size();
    guess_.find(residual_, s.order, rules_.rice, rules_.most_partitions, depth_ > 16);
    if (flag(s.partition_order == guess_.partition_order(), partition_same_[role])) {
      s.partition_order = guess_.partition_order();
    } else {
      s.partition_order = tree(s.partition_order, 4, partition_order_[role]);
    }
    const size_t part = n >> s.partition_order;
    require(part << s.partition_order == n && part >= static_cast<size_t>(s.order));
    s.parameters.resize(size_t{1} << s.partition_order);
    bool wide = false, wrong = false;
    for (size_t p = 0; p < s.parameters.size(); ++p) {
      const int expected = guess_.parameter(residual_, s.partition_order, static_cast<uint32_t>(p));
      const int known = s.parameters[p];
      const bool same = flag(known == expected, parameter_same_[wrong][s.partition_order == 0]);
      int coded = expected;
      if (!same && flag(known >= kRaw, raw_)) {
        coded = kRaw + tree(known - kRaw, 5, raw_bits_);
      } else if (!same) {
        coded = expected + static_cast<int>(signed_number(known - expected, parameter_));
      }
      require(coded >= 0 && (coded <= 30 || coded >= kRaw));
      s.parameters[p] = static_cast<uint8_t>(coded);
      wide |= coded > 14 && coded < kRaw;
      wrong = !same;
    }
    s.method = flag(s.method != 0, method_[wide]);
    require(s.method == 1 || !wide);
  }

  struct Slot {
    int kind = kLinear, fixed_order = 0;
  };

  Bits& bits_;
  const bool known_;
  const Rules rules_;
  const int channels_, depth_;
  const mixer::Tables& t_ = mixer::tables();
  Linear linear_;
  RiceGuess guess_;
  std::vector<int32_t> residual_;
  Header last_;
  bool first_ = true;
  Slot slots_[kMaxChannels];
  uint64_t uses_[Linear::kMostWindows] = {};
  uint64_t linear_count_ = 0, inexact_ = 0;

  Flag same_, variable_, rest_, usual_, next_, wasted_same_, exact_, raw_;
  Flag partition_same_[3], parameter_same_[2][2], method_[2];
  Tree size_code_, rate_code_, depth_code_, assignment_[4], kind_[2][3][4], fixed_order_[3][5], order_[3];
  Tree precision_[3], way_[3], shift_[3], partition_order_[3], raw_bits_;
  Number block_, rate_, number_, wasted_, change_[kMaxOrder], coefficient_[kMaxOrder], parameter_;
};

}  // namespace lmc::flac
