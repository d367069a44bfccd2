// The constant tables of the byte models: logistic functions, learning rates
// and the bit-history automaton, all made by integer code from their formulas,
// so that they are equal on every machine.
#pragma once
#include <array>
#include <cstdint>
#include <cstdlib>
#include <vector>

namespace lmc::mixer {

// Logits ("stretch" domain) are nats. Inputs of the mixer are int16 in units
// of 2^-8; outputs of the mixer are int32 in units of 2^-12, within +-12 nats.
constexpr int kInputLimit = 2047;
constexpr int kNetworkLimit = 3071;      // of the network's inputs
constexpr int kLogitLimit = 12 * 4096 - 1;
constexpr int kLn2 = 2839;               // 4096 ln 2 = 2839.13

struct Tables {
  std::array<uint32_t, 386> squash;        // 2^24 / (1 + exp(-x)) at x = i/16 - 12
  std::array<int16_t, 4098> stretch;       // round to zero of 256 ln(p / (1-p)) at p = (i + 1/2) / 4096
  std::array<int32_t, 2049> log_mantissa;  // 4096 ln(1 + i/2048)
  std::array<uint32_t, 1024> reciprocal;   // 2^16 / (n + 1.5)
  std::array<uint16_t, 1024> rate;         // 131 + 2500 / sqrt(1 + n/40), units of 2^-16
  std::array<std::array<uint8_t, 256>, 2> next;  // bit-history automaton: next[bit][state]
  std::array<uint32_t, 256> prior;               // its first probabilities, 22 bits
  std::array<uint8_t, 256> seen;                 // min(15, bits a history stands for)
  Tables();
};

inline const Tables& tables() {
  static const Tables instance;
  return instance;
}

// The automaton's states are the histories themselves while they are at most
// kExact bits long, later the counts of zeros and ones and the last bit. A bit
// that contradicts a long run shortens it (the past counts less and less).
struct History {
  int zeros, ones, last;  // last: newest bit; for exact histories all bits, newest lowest
  bool exact;
  bool operator==(const History& o) const {
    return zeros == o.zeros && ones == o.ones && last == o.last && exact == o.exact;
  }
};
constexpr int kExact = 4;

inline History history_after(History h, int bit) {
  int& same = bit ? h.ones : h.zeros;
  int& other = bit ? h.zeros : h.ones;
  ++same;
  if (h.exact && h.zeros + h.ones <= kExact) {
    h.last = h.last * 2 + bit;
    return h;
  }
  h.exact = false;
  h.last = bit;
  if (other > 2) other = other > 24 ? 6 : other > 12 ? 5 : other > 6 ? 4 : other > 4 ? 3 : other > 3 ? 3 : 2;
  static constexpr int kBound[] = {48, 30, 12, 7, 5, 5, 5};
  const int bound = kBound[other < 6 ? other : 6];
  if (same > bound) same = bound;
  return h;
}

inline Tables::Tables() {
  using u128 = unsigned __int128;
  constexpr uint64_t kOne = uint64_t{1} << 60;
  // exp(-1/256) by its series in units of 2^-60, then powers.
  uint64_t step = 0, term = kOne;
  for (int k = 1; term != 0; ++k) {
    if (k & 1) step += term; else step -= term;
    term = term / 256 / static_cast<uint64_t>(k);
  }
  uint64_t e = kOne;
  std::array<uint32_t, 6145> fine;  // squash at x = i/256 - 12
  for (size_t i = 0; i <= 3072; ++i) {  // e = exp(-i/256)
    const uint64_t low = static_cast<uint64_t>((static_cast<u128>(e) << 24) / (kOne + e));
    fine[3072 - i] = static_cast<uint32_t>(low);
    fine[3072 + i] = static_cast<uint32_t>((uint64_t{1} << 24) - low);
    e = static_cast<uint64_t>((static_cast<u128>(e) * step) >> 60);
  }
  for (size_t i = 0; i <= 384; ++i) squash[i] = fine[16 * i];
  squash[385] = squash[384];
  // stretch is squash's inverse: the greatest x with squash(x) <= p, by a sweep.
  for (int i = 0, x = 0; i < 4096; ++i) {
    const uint32_t p = static_cast<uint32_t>(i) * 4096 + 2048;
    while (x < 6144 && fine[static_cast<size_t>(x + 1)] <= p) ++x;
    int v = x - 3072;
    if (v > kInputLimit) v = kInputLimit;
    if (v < -kInputLimit) v = -kInputLimit;
    stretch[static_cast<size_t>(i)] = static_cast<int16_t>(v);
  }
  stretch[4096] = stretch[4097] = 0;  // what a wide load of the last entry touches
  // ln(1 + i/2048) = 2 atanh(z), z = i / (4096 + i), in units of 2^-48.
  for (int i = 0; i <= 2048; ++i) {
    const int64_t z = (int64_t{i} << 48) / (4096 + i);
    int64_t power = z, sum = 0;
    for (int k = 1; power != 0; k += 2) {
      sum += power / k;
      power = static_cast<int64_t>((static_cast<__int128>(power) * z >> 48) * z >> 48);
    }
    log_mantissa[static_cast<size_t>(i)] = static_cast<int32_t>(sum >> 35);
  }
  for (int n = 0; n < 1024; ++n) {
    // A count of 1023 marks a probability that never changes.
    reciprocal[static_cast<size_t>(n)] = n == 1023 ? 0 : static_cast<uint32_t>(131072 / (2 * n + 3));
    const uint64_t square = uint64_t{2500} * 2500 * 40 / static_cast<uint64_t>(40 + n);
    uint64_t root = 0;
    while ((root + 1) * (root + 1) <= square) ++root;
    rate[static_cast<size_t>(n)] = static_cast<uint16_t>(131 + root);
  }
  std::vector<History> states{{0, 0, 0, true}};
  for (size_t i = 0; i < states.size(); ++i) {
    const History h = states[i];
    for (int bit = 0; bit < 2; ++bit) {
      const History after = history_after(h, bit);
      size_t at = 0;
      while (at < states.size() && !(states[at] == after)) ++at;
      if (at == states.size()) states.push_back(after);
      if (at > 255) std::abort();
      next[static_cast<size_t>(bit)][i] = static_cast<uint8_t>(at);
    }
    const int total = h.zeros + h.ones;
    prior[i] = static_cast<uint32_t>((int64_t{1} << 22) * (10 * h.ones + 4) / (10 * total + 8));
    seen[i] = static_cast<uint8_t>(total < 15 ? total : 15);
  }
  for (size_t i = states.size(); i < 256; ++i) {
    next[0][i] = next[1][i] = 0;
    prior[i] = 1 << 21;
    seen[i] = 0;
  }
}

inline int32_t clamp_logit(int32_t v) { return v > kLogitLimit ? kLogitLimit : v < -kLogitLimit ? -kLogitLimit : v; }

// Probability of a one, in units of 2^-24, of a logit in units of 2^-12 within the limit.
inline uint32_t squash24(const Tables& t, int32_t logit) {
  const uint32_t at = static_cast<uint32_t>(logit + 49152);
  const uint32_t a = t.squash[at >> 8], b = t.squash[(at >> 8) + 1];
  return a + ((b - a) * (at & 255) >> 8);
}

// ln of a positive 24-bit number in units of 2^-12.
inline int32_t log24(const Tables& t, uint32_t v) {
  const int shift = 31 - __builtin_clz(v);
  const uint32_t m = (v << (31 - shift)) & 0x7fffffff;  // mantissa behind the leading one, 31 bits
  return t.log_mantissa[m >> 20] + shift * kLn2;
}

// Logit, in units of 2^-12, of a probability in [1, 2^24 - 1] (units of 2^-24).
inline int32_t stretch24(const Tables& t, uint32_t p) {
  return log24(t, p) - log24(t, (uint32_t{1} << 24) - p);
}

}  // namespace lmc::mixer
