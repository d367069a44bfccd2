// What a lane knows about the bytes before the one to be coded, and the
// contexts that the bit histories are kept under.
#pragma once
#include <cstdint>
#include <vector>

#include "mixer_match.hpp"

namespace lmc::mixer {

constexpr int kMatches = 2;
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

struct Lane {
  uint32_t number = 0;
  uint64_t c8 = 0, c16 = 0;      // the newest 8 bytes (newest lowest), the 8 before
  uint32_t word = 0, word1 = 0, word2 = 0;   // hashes of the current and the two previous words
  uint32_t number_word = 0;      // hash of the current run of letters and digits
  uint32_t line_start = 0, above_start = 0;  // indices of the current and the previous line
  uint32_t classes = 0;          // classes of the newest bytes, 4 bits each
  uint32_t token = 0, token1 = 0, token_bytes = 0;  // previous tokens, hash of this token's bytes
  uint32_t control = 0;          // running share of control bytes, 1024 each
  bool inside = false;
  uint32_t net_loss = 0, mix_loss = 0;  // running losses, nats a byte, units of 2^-12
  StrideFinder strides;
  MatchState match[kMatches];
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
  if (c < 255) return 14;
  return 15;
}

}  // namespace lmc::mixer
