// The alphabets of deflate (RFC 1951, 3.2.5), canonical codes, and the trees that zlib builds.
#pragma once
#include <algorithm>
#include <array>
#include <cstring>

#include "deflate.hpp"

namespace lmc::deflate {

constexpr uint16_t kLengthBase[29] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23, 27,
                                      31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258};
constexpr uint8_t kLengthExtra[29] = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2,
                                      2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0};
constexpr uint16_t kDistanceBase[30] = {1,    2,    3,    4,    5,    7,    9,    13,    17,    25,
                                        33,   49,   65,   97,   129,  193,  257,  385,   513,   769,
                                        1025, 1537, 2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577};
constexpr uint8_t kCodeOrder[kLengthCodes] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
constexpr int kEndOfBlock = 256;

inline int distance_extra(int code) { return code < 2 ? 0 : code / 2 - 1; }

inline int length_code(uint32_t length) {
  static const std::array<uint8_t, kMaxMatch + 1> table = [] {
    std::array<uint8_t, kMaxMatch + 1> t{};
    for (int c = 0; c < 29; ++c) {
      for (uint32_t l = kLengthBase[c]; l <= kMaxMatch && (c == 28 || l < kLengthBase[c + 1]); ++l)
        t[l] = static_cast<uint8_t>(c);
    }
    return t;
  }();
  return table[length];
}

inline int distance_code(uint32_t distance) {
  static const std::array<uint8_t, 512> table = [] {
    std::array<uint8_t, 512> t{};  // distances up to 256, then in steps of 128
    for (int c = 0; c < 30; ++c) {
      const uint32_t end = c == 29 ? kMaxDistance + 1 : kDistanceBase[c + 1];
      for (uint32_t d = kDistanceBase[c]; d < end; ++d) {
        if (d <= 256)
          t[d - 1] = static_cast<uint8_t>(c);
        else
          t[256 + ((d - 1) >> 7)] = static_cast<uint8_t>(c);
      }
    }
    return t;
  }();
  return distance <= 256 ? table[distance - 1] : table[256 + ((distance - 1) >> 7)];
}

// How many of the first `most` bytes are the same.
inline uint32_t common(const uint8_t* a, const uint8_t* b, uint32_t most) {
  uint32_t n = 0;
  for (; n + 8 <= most && std::memcmp(a + n, b + n, 8) == 0; n += 8) {
  }
  while (n < most && a[n] == b[n]) ++n;
  return n;
}

// Canonical codes, their bits reversed as deflate writes them.
inline void assign_codes(const uint8_t* lengths, int n, uint16_t* codes) {
  uint32_t count[16] = {}, next[16] = {};
  for (int i = 0; i < n; ++i) ++count[lengths[i]];
  count[0] = 0;
  for (int b = 1; b < 16; ++b) next[b] = (next[b - 1] + count[b - 1]) << 1;
  for (int i = 0; i < n; ++i) {
    uint32_t code = next[lengths[i]]++, reversed = 0;
    for (int b = 0; b < lengths[i]; ++b, code >>= 1) reversed = reversed << 1 | (code & 1);
    codes[i] = static_cast<uint16_t>(reversed);
  }
}

inline void fixed_lengths(uint8_t* lengths) {
  for (int i = 0; i < kLiterals; ++i) lengths[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
  std::memset(lengths + kLiterals, 5, kDistances);
}

// Code lengths as zlib chooses them (trees.c, build_tree): a heap ordered by frequency, then by
// depth, and codes beyond the limit pushed back. Returns the largest symbol that has a code.
inline int zlib_lengths(const uint32_t* frequency, int n, int limit, uint8_t* lengths) {
  constexpr int kMost = 2 * kLiterals + 1;
  uint32_t weight[kMost] = {};
  int parent[kMost] = {}, heap[kMost] = {}, depth[kMost] = {}, bits[kMost] = {};
  std::memset(lengths, 0, static_cast<size_t>(n));
  int size = 0, top = -1, finished = kMost;
  for (int i = 0; i < n; ++i) {
    weight[i] = frequency[i];
    if (frequency[i] == 0) continue;
    heap[++size] = top = i;
  }
  while (size < 2) {  // a decoder wants two codes
    const int node = top < 2 ? ++top : 0;
    weight[node] = 1;
    heap[++size] = node;
  }
  const int leaves = n;
  const auto smaller = [&](int a, int b) {
    return weight[a] < weight[b] || (weight[a] == weight[b] && depth[a] <= depth[b]);
  };
  const auto sift = [&](int k) {
    const int v = heap[k];
    for (int j = 2 * k; j <= size; j *= 2) {
      if (j < size && smaller(heap[j + 1], heap[j])) ++j;
      if (smaller(v, heap[j])) break;
      heap[k] = heap[j];
      k = j;
    }
    heap[k] = v;
  };
  for (int k = size / 2; k >= 1; --k) sift(k);
  int node = leaves;
  do {
    const int a = heap[1];
    heap[1] = heap[size--];
    sift(1);
    const int b = heap[1];
    heap[--finished] = a;
    heap[--finished] = b;
    weight[node] = weight[a] + weight[b];
    depth[node] = std::max(depth[a], depth[b]) + 1;
    parent[a] = parent[b] = node;
    heap[1] = node++;
    sift(1);
  } while (size >= 2);
  heap[--finished] = heap[1];

  int count[16] = {}, overflow = 0, h = finished + 1;
  bits[heap[finished]] = 0;
  for (; h < kMost; ++h) {
    const int i = heap[h];
    int b = bits[parent[i]] + 1;
    if (b > limit) {
      b = limit;
      ++overflow;
    }
    bits[i] = b;
    if (i < leaves) ++count[b];
  }
  if (overflow > 0) {
    do {
      int b = limit - 1;
      while (count[b] == 0) --b;
      --count[b];
      count[b + 1] += 2;
      --count[limit];
      overflow -= 2;
    } while (overflow > 0);
    h = kMost;
    for (int b = limit; b != 0; --b) {
      for (int left = count[b]; left != 0;) {
        const int i = heap[--h];
        if (i >= leaves) continue;
        bits[i] = b;
        --left;
      }
    }
  }
  for (int k = finished; k < kMost; ++k) {
    if (heap[k] < leaves) lengths[heap[k]] = static_cast<uint8_t>(bits[heap[k]]);
  }
  return top;
}

// The run lengths of code lengths as zlib sends them (trees.c, scan_tree), appended to `symbols`.
inline void zlib_runs(const uint8_t* lengths, int n, std::vector<uint8_t>& symbols) {
  int previous = -1, count = 0;
  int most = lengths[0] == 0 ? 138 : 7, least = lengths[0] == 0 ? 3 : 4;
  for (int i = 0; i < n; ++i) {
    const int length = lengths[i], next = i + 1 < n ? lengths[i + 1] : -1;
    if (++count < most && length == next) continue;
    if (count < least) {
      symbols.insert(symbols.end(), static_cast<size_t>(count), static_cast<uint8_t>(length));
    } else if (length != 0) {
      if (length != previous) {
        symbols.push_back(static_cast<uint8_t>(length));
        --count;
      }
      symbols.push_back(16);
      symbols.push_back(static_cast<uint8_t>(count - 3));
    } else if (count <= 10) {
      symbols.push_back(17);
      symbols.push_back(static_cast<uint8_t>(count - 3));
    } else {
      symbols.push_back(18);
      symbols.push_back(static_cast<uint8_t>(count - 11));
    }
    count = 0;
    previous = length;
    most = next == 0 ? 138 : length == next ? 6 : 7;
    least = next == 0 || length == next ? 3 : 4;
  }
}

// How zlib codes the symbols of a header.
inline void zlib_code_lengths(Header& header) {
  uint32_t frequency[kLengthCodes] = {};
  for (size_t i = 0; i < header.symbols.size(); ++i) {
    ++frequency[header.symbols[i]];
    if (header.symbols[i] >= 16) ++i;
  }
  zlib_lengths(frequency, kLengthCodes, 7, header.code_lengths);
  header.codes = kLengthCodes;
  while (header.codes > 4 && header.code_lengths[kCodeOrder[header.codes - 1]] == 0) --header.codes;
}

inline void zlib_symbols(Header& header) {
  header.symbols.clear();
  zlib_runs(header.lengths, header.literals, header.symbols);
  zlib_runs(header.lengths + kLiterals, header.distances, header.symbols);
}

// The header that zlib writes before these tokens.
inline Header zlib_header(const Token* tokens, size_t n, const uint8_t* literals) {
  uint32_t frequency[kLiterals + kDistances] = {};
  frequency[kEndOfBlock] = 1;
  for (size_t i = 0; i < n; ++i) {
    if (tokens[i].distance == 0) {
      ++frequency[*literals];
    } else {
      ++frequency[257 + length_code(tokens[i].length)];
      ++frequency[kLiterals + distance_code(tokens[i].distance)];
    }
    literals += tokens[i].length;
  }
  Header header;
  header.literals = zlib_lengths(frequency, 286, 15, header.lengths) + 1;
  header.distances = zlib_lengths(frequency + kLiterals, 30, 15, header.lengths + kLiterals) + 1;
  zlib_symbols(header);
  zlib_code_lengths(header);
  return header;
}

inline bool Header::operator==(const Header& o) const {
  return literals == o.literals && distances == o.distances && codes == o.codes && symbols == o.symbols &&
         std::memcmp(lengths, o.lengths, sizeof lengths) == 0 &&
         std::memcmp(code_lengths, o.code_lengths, sizeof code_lengths) == 0;
}

}  // namespace lmc::deflate
