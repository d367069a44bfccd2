// One token as a walk down the byte trie of the vocabulary.
//
// Each step is a binary decision: a bit of the next byte, or "the token ends
// here". The network's probability of a decision is a ratio of two masses of
// contiguous token ranges. A decision with one possible outcome is not coded.
#pragma once
#include <cstdint>

#include "distribution.hpp"
#include "vocabulary.hpp"

namespace lmc {

// The network's probabilities of a 1, its own and with the online bias, in units of 2^-24, never 0 or 1.
struct NetworkBit {
  uint32_t plain, biased;
};

// part / whole in units of 2^-24, kept off 0 and 1; one half when nothing is known.
inline uint32_t ratio(uint64_t part, uint64_t whole) {
  constexpr uint32_t kWhole = 1u << 24;
  if (whole == 0) return kWhole / 2;
  const int bits = 64 - __builtin_clzll(whole);
  const int drop = bits > 40 ? bits - 40 : 0;  // so that part << 24 fits
  const uint64_t p = ((part >> drop) << 24) / (whole >> drop);
  return p == 0 ? 1 : p >= kWhole ? kWhole - 1 : static_cast<uint32_t>(p);
}

// Walks from the root to a token and returns it. `Decide` codes the decisions:
//   full()                      no byte may follow: the token must end here
//   begin_byte(inside)          before the decisions of each byte
//   end(NetworkBit, known)      does the token end here? returns the outcome
//   bit(NetworkBit, known)      the next bit of the byte, highest first
//   skip(bit)                   a bit that only one token range allows
// With `known` = true (encoding) `token` is the outcome to code; when decoding
// the hint is ignored by Decide. Decide::begin_byte throws
// where no byte may follow.
// The views are Distributions, or what stands for them.
template <class View, class Decide>
uint32_t walk(const Vocabulary& vocabulary, const View& plain_view, const View& biased_view, Decide& decide, uint32_t token) {
  uint32_t low = 0, high = vocabulary.size();
  // Masses of [low, high), kept up to date by subtraction.
  uint64_t plain = plain_view.total(), biased = biased_view.total();
  for (uint32_t depth = 0;; ++depth) {
    if (depth > 0 && vocabulary.length(low) == depth) {
      if (high - low == 1 || decide.full()) return low;
      const uint64_t end_plain = plain_view.mass(low, low + 1);
      const uint64_t end_biased = biased_view.mass(low, low + 1);
      decide.begin_byte(true);
      if (decide.end({ratio(end_plain, plain), ratio(end_biased, biased)}, token == low)) {
        return low;
      }
      plain -= end_plain;
      biased -= end_biased;
      ++low;
    } else {
      decide.begin_byte(depth > 0);
    }
    unsigned value = 0;
    for (int shift = 7; shift >= 0; --shift) {
      const unsigned upper = value | (1u << shift);
      const uint32_t middle = vocabulary.split(low, high, depth, upper);
      if (middle == low) {
        decide.skip(1);
        value = upper;
      } else if (middle == high) {
        decide.skip(0);
      } else {
        const uint64_t one_plain = plain_view.mass(middle, high);
        const uint64_t one_biased = biased_view.mass(middle, high);
        if (decide.bit({ratio(one_plain, plain), ratio(one_biased, biased)}, token >= middle)) {
          low = middle;
          value = upper;
          plain = one_plain;
          biased = one_biased;
        } else {
          high = middle;
          plain -= one_plain;
          biased -= one_biased;
        }
      }
    }
  }
}

}  // namespace lmc
