// Frames of FLAC (RFC 9639): what a frame says besides its samples, and how both become bits.
//
// Samples of a frame are *signals*: a row for each subframe, after the stereo decision and with the
// wasted bits. Frames that no careful writer makes are refused: reserved codes, numbers that are
// coded longer than needed, padding that is not zero, samples or residuals out of range.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "flac_bits.hpp"

namespace lmc::flac {

constexpr int kMaxOrder = 32, kMaxChannels = 8;
constexpr int kLeftSide = 8, kRightSide = 9, kMidSide = 10;  // assignments of channels; below: channels - 1
constexpr uint8_t kRaw = 32;                                 // of a partition: kRaw + bits of each residual
using Signal = std::vector<int64_t>;

struct Header {
  int variable = 0;    // 1: the number counts samples, else frames
  int size_code = 12;  // of the block
  uint32_t block = 4096;
  int rate_code = 9;
  uint32_t rate = 0;  // for the codes 12 to 14
  int assignment = 0;
  int depth_code = 4;
  uint64_t number = 0;

  int channels() const { return assignment < kLeftSide ? assignment + 1 : 2; }
};

enum Kind { kConstant, kVerbatim, kFixed, kLinear };

struct Subframe {
  int kind = kConstant;
  int order = 0;
  int wasted = 0;
  int precision = 0, shift = 0;  // of linear prediction
  int32_t coefficients[kMaxOrder] = {};
  int method = 0;                   // 0: parameters of 4 bits, 1: of 5
  int partition_order = 0;          // 2^so many partitions
  std::vector<uint8_t> parameters;  // of each: Rice's (0 to 30), or kRaw + bits
};

struct Frame {
  Header header;
  Subframe subframes[kMaxChannels];
  Signal signals[kMaxChannels];
};

// Bits of the samples of a subframe.
inline int signal_bits(int bits, int assignment, int channel) {
  const bool side = (assignment == kRightSide && channel == 0) ||
                    ((assignment == kLeftSide || assignment == kMidSide) && channel == 1);
  return bits + side;
}

// Bits that a frame may take: no writer comes near it.
inline size_t most_bits(const Header& h) { return static_cast<size_t>(h.channels()) * (size_t{64} * h.block + 1024); }

// ---- prediction ----------------------------------------------------------------------------------

constexpr int kFixedCoefficients[5][4] = {{}, {1}, {2, -1}, {3, -3, 1}, {4, -6, 4, -1}};

template <typename T>
T predicted(const T* at, const int32_t* c, int order, int shift) {
  T sum = 0;
  for (int j = 0; j < order; ++j) sum += static_cast<T>(c[j]) * at[-1 - j];
  return sum >> shift;
}

// True if no sum of a prediction leaves 32 bits. bits: of the samples.
inline bool is_narrow(const int32_t* c, int order, int bits) {
  int64_t sum = 0;
  for (int j = 0; j < order; ++j) sum += c[j] < 0 ? -int64_t{c[j]} : c[j];
  return bits <= 32 && length_of(static_cast<uint64_t>(sum)) + bits - 1 <= 31;
}

template <typename T>
void restore_as(Signal& signal, const std::vector<int32_t>& residual, const int32_t* c, int order, int shift,
                int bits) {
  const size_t n = signal.size();
  std::vector<T> x(signal.begin(), signal.end());
  const int64_t low = -(int64_t{1} << (bits - 1)), high = ~low;
  for (size_t i = static_cast<size_t>(order); i < n; ++i) {
    const int64_t value = int64_t{residual[i]} + predicted<T>(&x[i], c, order, shift);
    require(value >= low && value <= high);
    x[i] = static_cast<T>(value);
  }
  std::copy(x.begin(), x.end(), signal.begin());
}

// The samples behind the first `order` ones from their residuals (as many as samples).
inline void restore(Signal& signal, const std::vector<int32_t>& residual, const int32_t* c, int order, int shift,
                    int bits) {
  if (is_narrow(c, order, bits)) return restore_as<int32_t>(signal, residual, c, order, shift, bits);
  restore_as<int64_t>(signal, residual, c, order, shift, bits);
}

template <typename T>
void residual_as(const Signal& signal, std::vector<int32_t>& residual, const int32_t* c, int order, int shift) {
  const std::vector<T> x(signal.begin(), signal.end());
  bool right = true;
  for (size_t i = static_cast<size_t>(order); i < x.size(); ++i) {
    const int64_t value = int64_t{x[i]} - predicted<T>(&x[i], c, order, shift);
    right &= value > INT32_MIN && value <= INT32_MAX;
    residual[i] = static_cast<int32_t>(value);
  }
  require(right);
}

// The inverse; signal: of `bits` bits, without the wasted ones. Raises Bad where one takes more than 32 bits.
inline void find_residual(const Signal& signal, const Subframe& s, int bits, std::vector<int32_t>& residual) {
  residual.assign(signal.size(), 0);
  const int32_t* c = s.kind == kFixed ? kFixedCoefficients[s.order] : s.coefficients;
  const int shift = s.kind == kFixed ? 0 : s.shift;
  if (is_narrow(c, s.order, bits)) return residual_as<int32_t>(signal, residual, c, s.order, shift);
  residual_as<int64_t>(signal, residual, c, s.order, shift);
}

// ---- reading -------------------------------------------------------------------------------------

inline uint32_t block_of(int code) {
  return code == 1 ? 192 : code <= 5 ? 576u << (code - 2) : 256u << (code - 8);
}

// The code that writers take for a block.
inline int usual_size_code(uint32_t block) {
  for (int code = 1; code < 16; ++code) {
    if (code != 6 && code != 7 && block_of(code) == block) return code;
  }
  return block <= 256 ? 6 : 7;
}

inline int usual_depth_code(int bits) {
  return bits == 8 ? 1 : bits == 12 ? 2 : bits == 32 ? 7 : bits >= 16 && bits <= 24 && bits % 4 == 0 ? bits / 4 : 0;
}

// Numbers as in UTF-8, up to 36 bits: bytes that they take.
inline int number_bytes(uint64_t n) { return n < 128 ? 1 : n < 2048 ? 2 : (length_of(n) + 3) / 5; }

inline Header read_header(BitReader& in) {
  Header h;
  require(in.read(15) == 0x7FFC);
  h.variable = static_cast<int>(in.read(1));
  h.size_code = static_cast<int>(in.read(4));
  h.rate_code = static_cast<int>(in.read(4));
  h.assignment = static_cast<int>(in.read(4));
  h.depth_code = static_cast<int>(in.read(3));
  require(in.read(1) == 0 && h.size_code != 0 && h.rate_code != 15 && h.assignment <= kMidSide && h.depth_code != 3);
  const uint64_t first = in.read(8);
  const int ones = first == 0xFF ? 8 : __builtin_clz(~static_cast<uint32_t>(first << 24));
  require(ones != 1 && ones < 8);
  h.number = ones == 0 ? first : first & (0x7Fu >> ones);
  for (int i = 1; i < ones; ++i) {
    const uint64_t byte = in.read(8);
    require(byte >> 6 == 2);
    h.number = h.number << 6 | (byte & 63);
  }
  require(number_bytes(h.number) == std::max(1, ones));
  h.block = h.size_code == 6 || h.size_code == 7 ? static_cast<uint32_t>(in.read(h.size_code == 6 ? 8 : 16)) + 1
                                                 : block_of(h.size_code);
  if (h.rate_code >= 12) h.rate = static_cast<uint32_t>(in.read(h.rate_code == 12 ? 8 : 16));
  return h;
}

inline void read_residual(BitReader& in, Subframe& s, std::vector<int32_t>& residual) {
  const size_t n = residual.size(), order = static_cast<size_t>(s.order);
  s.method = static_cast<int>(in.read(2));
  s.partition_order = static_cast<int>(in.read(4));
  require(s.method <= 1);
  const int width = 4 + s.method;
  const uint64_t escape = (uint64_t{1} << width) - 1;
  const size_t partitions = size_t{1} << s.partition_order, part = n >> s.partition_order;
  require(part << s.partition_order == n && part >= order);
  s.parameters.resize(partitions);
  size_t at = order;
  for (size_t p = 0; p < partitions; ++p) {
    const size_t end = (p + 1) * part;
    const uint64_t k = in.read(width);
    if (k == escape) {
      const int raw = static_cast<int>(in.read(5));
      s.parameters[p] = static_cast<uint8_t>(kRaw + raw);
      for (; at < end; ++at) residual[at] = static_cast<int32_t>(in.read_signed(raw));
    } else {
      s.parameters[p] = static_cast<uint8_t>(k);
      for (; at < end; ++at) {
        const uint64_t high = in.unary();
        const uint64_t folded = high << k | in.read(static_cast<int>(k));
        require(high < uint64_t{1} << 32 && folded < UINT32_MAX);
        residual[at] = static_cast<int32_t>(folded >> 1) ^ -static_cast<int32_t>(folded & 1);
      }
    }
  }
}

// bits: of the signal. scratch: for residuals.
inline void read_subframe(BitReader& in, int bits, Subframe& s, Signal& signal, std::vector<int32_t>& scratch) {
  require(in.read(1) == 0);
  const int type = static_cast<int>(in.read(6));
  s.wasted = in.read(1) ? static_cast<int>(std::min<uint64_t>(in.unary(), 64)) + 1 : 0;
  require(s.wasted < bits);
  const int own = bits - s.wasted;
  const size_t n = signal.size();
  s.kind = type == 0 ? kConstant : type == 1 ? kVerbatim : type >= 32 ? kLinear : kFixed;
  s.order = s.kind == kLinear ? type - 31 : s.kind == kFixed ? type - 8 : 0;
  require(s.order >= 0 && (s.kind != kFixed || s.order <= 4) && static_cast<size_t>(s.order) <= n);
  if (s.kind == kConstant) {
    std::fill(signal.begin(), signal.end(), in.read_signed(own));
  } else {
    const size_t plain = s.kind == kVerbatim ? n : static_cast<size_t>(s.order);
    for (size_t i = 0; i < plain; ++i) signal[i] = in.read_signed(own);
  }
  if (s.kind == kLinear) {
    s.precision = static_cast<int>(in.read(4)) + 1;
    s.shift = static_cast<int>(in.read_signed(5));
    require(s.precision < 16 && s.shift >= 0);
    for (int j = 0; j < s.order; ++j) s.coefficients[j] = static_cast<int32_t>(in.read_signed(s.precision));
  }
  if (s.kind >= kFixed) {
    scratch.assign(n, 0);
    read_residual(in, s, scratch);
    const int32_t* c = s.kind == kFixed ? kFixedCoefficients[s.order] : s.coefficients;
    restore(signal, scratch, c, s.order, s.kind == kFixed ? 0 : s.shift, own);
  }
  if (s.wasted > 0) {
    for (int64_t& value : signal) value *= int64_t{1} << s.wasted;
  }
}

// The frame at the start of data; returns its bytes. Raises Bad.
inline size_t read_frame(const uint8_t* data, size_t size, int bits, Frame& frame) {
  BitReader in(data, size);
  frame.header = read_header(in);
  const Header& h = frame.header;
  const size_t head = in.at() / 8;
  require(in.read(8) == crc8(data, head));
  std::vector<int32_t> scratch;
  for (int c = 0; c < h.channels(); ++c) {
    frame.signals[c].resize(h.block);
    read_subframe(in, signal_bits(bits, h.assignment, c), frame.subframes[c], frame.signals[c], scratch);
  }
  require(in.read(static_cast<int>(-in.at() & 7)) == 0 && in.at() <= most_bits(h));
  const size_t body = in.at() / 8;
  require(in.read(16) == crc16(data, body));
  return body + 2;
}

// ---- writing -------------------------------------------------------------------------------------

inline void write_header(BitWriter& out, const Header& h) {
  const size_t start = out.size();
  out.write(0x7FFC, 15);
  out.write(static_cast<uint64_t>(h.variable), 1);
  out.write(static_cast<uint64_t>(h.size_code), 4);
  out.write(static_cast<uint64_t>(h.rate_code), 4);
  out.write(static_cast<uint64_t>(h.assignment), 4);
  out.write(static_cast<uint64_t>(h.depth_code), 3);
  out.write(0, 1);
  const int bytes = number_bytes(h.number);
  if (bytes == 1) {
    out.write(h.number, 8);
  } else {
    out.write((0xFF00u >> bytes & 0xFF) | h.number >> (6 * (bytes - 1)), 8);
    for (int i = bytes - 2; i >= 0; --i) out.write(0x80 | (h.number >> (6 * i) & 63), 8);
  }
  if (h.size_code == 6 || h.size_code == 7) out.write(h.block - 1, h.size_code == 6 ? 8 : 16);
  if (h.rate_code >= 12) out.write(h.rate, h.rate_code == 12 ? 8 : 16);
  out.write(crc8(out.bytes().data() + start, out.size() - start), 8);
}

// most: bits that the residuals may take; what they took is subtracted.
inline void write_residual(BitWriter& out, const Subframe& s, const std::vector<int32_t>& residual, size_t& most) {
  out.write(static_cast<uint64_t>(s.method), 2);
  out.write(static_cast<uint64_t>(s.partition_order), 4);
  const int width = 4 + s.method;
  const size_t part = residual.size() >> s.partition_order;
  size_t at = static_cast<size_t>(s.order);
  for (size_t p = 0; p < s.parameters.size(); ++p) {
    const size_t end = (p + 1) * part;
    const int k = s.parameters[p];
    if (k >= kRaw) {
      const int raw = k - kRaw;
      out.write((uint64_t{1} << width) - 1, width);
      out.write(static_cast<uint64_t>(raw), 5);
      const int64_t low = raw == 0 ? 0 : -(int64_t{1} << (raw - 1)), high = raw == 0 ? 0 : ~low;
      for (; at < end; ++at) {
        require(residual[at] >= low && residual[at] <= high);
        out.write(static_cast<uint64_t>(int64_t{residual[at]}), raw);
      }
    } else {
      out.write(static_cast<uint64_t>(k), width);
      for (; at < end; ++at) {
        const uint32_t folded = static_cast<uint32_t>(residual[at]) << 1 ^ static_cast<uint32_t>(residual[at] >> 31);
        const uint64_t high = folded >> k;
        require(high < most);
        most -= high;
        if (high + static_cast<uint64_t>(k) < 32) {
          out.write(uint64_t{1} << k | (folded & ((uint64_t{1} << k) - 1)), static_cast<int>(high) + 1 + k);
        } else {
          out.unary(high);
          out.write(folded, k);
        }
      }
    }
  }
}

// signal: with `bits` bits, without the wasted ones. residual: for kFixed and kLinear.
inline void write_subframe(BitWriter& out, int bits, const Subframe& s, const Signal& signal,
                           const std::vector<int32_t>& residual, size_t& most) {
  const int type = s.kind == kConstant ? 0 : s.kind == kVerbatim ? 1 : s.kind == kFixed ? 8 + s.order : 31 + s.order;
  out.write(static_cast<uint64_t>(type), 7);
  out.write(s.wasted > 0, 1);
  if (s.wasted > 0) out.unary(static_cast<uint64_t>(s.wasted) - 1);
  const size_t plain =
      s.kind == kConstant ? 1 : s.kind == kVerbatim ? signal.size() : static_cast<size_t>(s.order);
  for (size_t i = 0; i < plain; ++i) out.write(static_cast<uint64_t>(signal[i]), bits);
  if (s.kind == kLinear) {
    out.write(static_cast<uint64_t>(s.precision) - 1, 4);
    out.write(static_cast<uint64_t>(s.shift), 5);
    for (int j = 0; j < s.order; ++j) out.write(static_cast<uint64_t>(int64_t{s.coefficients[j]}), s.precision);
  }
  if (s.kind >= kFixed) write_residual(out, s, residual, most);
}

// ---- stereo --------------------------------------------------------------------------------------

// Signals to samples of `bits` bits; [channel][time].
inline void to_samples(const Frame& frame, int bits, std::vector<int32_t>* samples) {
  const Header& h = frame.header;
  const int64_t low = -(int64_t{1} << (bits - 1)), high = ~low;
  bool right = true;
  for (int c = 0; c < h.channels(); ++c) {
    for (size_t i = 0; i < h.block; ++i) {
      int64_t value = frame.signals[c][i];
      if (h.assignment >= kLeftSide) {
        const int64_t a = frame.signals[0][i], b = frame.signals[1][i];
        if (h.assignment == kLeftSide && c == 1) value = a - b;
        if (h.assignment == kRightSide && c == 0) value = a + b;
        if (h.assignment == kMidSide) value = ((2 * a + (b & 1)) + (c == 0 ? b : -b)) >> 1;
      }
      right &= value >= low && value <= high;
      samples[c].push_back(static_cast<int32_t>(value));
    }
  }
  require(right);
}

// The inverse, from samples [channel][time].
inline void to_signals(Frame& frame, const int32_t* const* samples) {
  const Header& h = frame.header;
  for (int c = 0; c < h.channels(); ++c) frame.signals[c].assign(samples[c], samples[c] + h.block);
  if (h.assignment < kLeftSide) return;
  for (size_t i = 0; i < h.block; ++i) {
    int64_t &a = frame.signals[0][i], &b = frame.signals[1][i];
    const int64_t left = a, right = b;
    if (h.assignment == kRightSide) {
      a = left - right;
    } else {
      b = left - right;
    }
    if (h.assignment == kMidSide) a = (left + right) >> 1;
  }
}

}  // namespace lmc::flac
