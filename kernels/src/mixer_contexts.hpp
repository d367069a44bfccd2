// What a lane knows about the bytes before the one to be coded, and the
// contexts that the bit histories are kept under.
#pragma once
#include <cstdint>
#include <vector>

#include "mixer_match.hpp"
#include "mixer_plans.hpp"

namespace lmc::mixer {

constexpr int kMaxStride = 2048;

inline uint32_t hash64(uint64_t v) {
  v *= 0x9E3779B97F4A7C15u;
  v ^= v >> 29;
  v *= 0xBF58476D1CE4E5B9u;
  return static_cast<uint32_t>(v >> 32);
}

// Finds the record length: the distance between equal bytes that repeats.
struct StrideFinder {
  uint32_t last[256] = {};      // 1 + index of the newest occurrence of a byte
  uint32_t gap[256] = {};       // distance between its two newest occurrences
  std::vector<uint16_t> votes = std::vector<uint16_t>(kMaxStride);
  uint32_t stride = 0;          // 0: none found

  void append(uint32_t index, uint8_t c) {
    if (last[c] != 0) {
      const uint32_t distance = index + 1 - last[c];
      if (distance == gap[c] && distance > 1 && distance < kMaxStride) {
        votes[distance] = static_cast<uint16_t>(votes[distance] + 1);
        if (votes[distance] > 3 && (stride == 0 || votes[distance] > votes[stride])) stride = distance;
        if (votes[distance] >= 2000)
          for (auto& v : votes) v = static_cast<uint16_t>(v / 2);
      }
      gap[c] = distance;
    }
    last[c] = index + 1;
  }
};

inline uint32_t byte_class(uint8_t c) {  // 0..15
  if (c >= 'a' && c <= 'z') return 1;
  if (c >= 'A' && c <= 'Z') return 2;
  if (c >= '0' && c <= '9') return 3;
  if (c == ' ') return 4;
  if (c == '\n' || c == '\r') return 5;
  if (c == 0) return 6;
  if (c < 32) return 7;
  if (c == '.' || c == ',' || c == ';' || c == ':' || c == '!' || c == '?') return 8;
  if (c == '"' || c == '\'' || c == '`') return 9;
  if (c == '(' || c == '[' || c == '{' || c == '<') return 10;
  if (c == ')' || c == ']' || c == '}' || c == '>') return 11;
  if (c < 128) return 12;
  if (c < 192) return 13;
  return c < 255 ? 14 : 15;
}

// The cost of a bit in nats, units of 2^-12; p: probability of a one.
inline uint32_t cost(const Tables& t, uint32_t p, int bit) {
  return static_cast<uint32_t>(24 * kLn2 - log24(t, bit ? p : (1u << 24) - p));
}

// How well the network and the mixture did on the newest bytes.
struct Losses {
  uint32_t network_now = 0, mixture_now = 0;  // of the byte being coded, units of 2^-12 nat
  int32_t network = 0, mixture = 0;           // running means, units of 2^-16 nat a byte

  void add(uint32_t network_cost, uint32_t mixture_cost) {
    network_now += network_cost;
    mixture_now += mixture_cost;
  }
  void end_byte() {
    network += (static_cast<int32_t>(network_now < 65535 ? network_now : 65535) * 16 - network) >> 4;
    mixture += (static_cast<int32_t>(mixture_now < 65535 ? mixture_now : 65535) * 16 - mixture) >> 4;
    network_now = mixture_now = 0;
  }
  // 0..255: the magnitude of the network's loss, and the mixture's in 12ths of it.
  int select() const {
    const uint32_t n = static_cast<uint32_t>(network) + 64, m = static_cast<uint32_t>(mixture) + 64;
    const int magnitude = 25 - __builtin_clz(n);
    const uint32_t ratio = m * 12 / n;
    return (magnitude < 13 ? magnitude : 13) * 16 + static_cast<int>(ratio < 15 ? ratio : 15);
  }
};

constexpr uint32_t kBinary = 2048;  // Lane::control above this: binary data

struct Lane {
  uint64_t c8 = 0, c16 = 0;  // the newest 8 bytes (newest lowest), the 8 before
  uint32_t word = 0, word1 = 0, word2 = 0;   // hashes of the current and the two previous words
  uint32_t line_start = 0, above_start = 0;  // indices of the current and the previous line
  uint32_t classes = 0;                      // classes of the newest 8 bytes, newest lowest
  uint32_t control = 0;                      // decaying count of control bytes, 1024 each
  uint32_t token = 0, token1 = 0;            // 1 + the previous tokens' ids, 0: none
  uint32_t token_bytes = 0;                  // hash of this token's bytes so far
  bool inside = false;                       // not at a token's first byte
  Losses losses;
  StrideFinder strides;
  MatchState match[kMaxMatches];

  // index: of c in the lane.
  void append(uint32_t index, uint8_t c) {
    c16 = c16 << 8 | c8 >> 56;
    c8 = c8 << 8 | c;
    losses.end_byte();
    token_bytes = (token_bytes + c + 1) * 0x2C1B3C6Du;
    strides.append(index, c);
    const uint32_t lower = c >= 'A' && c <= 'Z' ? c + 32u : c;
    if ((lower >= 'a' && lower <= 'z') || c >= 128) {
      word = (word + lower + 1) * 0x2C1B3C6Du;
    } else if (word != 0) {
      word2 = word1;
      word1 = word;
      word = 0;
    }
    if (c == '\n') {
      above_start = line_start;
      line_start = index + 1;
    }
    const bool is_control = (c < 32 && c != '\n' && c != '\r' && c != '\t') || c == 127 || c == 255;
    control = control - (control >> 6) + (is_control ? 1024 : 0);
    classes = classes << 4 | byte_class(c);
  }

  // Hash of the newest `length` bytes, 1 <= length <= 16.
  uint32_t newest(uint32_t length) const {
    const uint64_t low = length >= 8 ? c8 : c8 & ((uint64_t{1} << 8 * length) - 1);
    const uint64_t high = length >= 16 ? c16 : length > 8 ? c16 & ((uint64_t{1} << 8 * (length - 8)) - 1) : 0;
    return hash64(low + hash64(high + 1));
  }
};

}  // namespace lmc::mixer
