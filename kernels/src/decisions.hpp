// What the models of pictures and sounds give their decisions to, and what they reckon with.
//
// Included by each of their variants in a namespace of its own, so that it is compiled for the variant's
// instructions: no #pragma once.

// ln of a positive number in units of 2^-12.
inline int32_t log64(const mixer::Tables& t, uint64_t v) {
  const int shift = 63 - __builtin_clzll(v);
  const uint64_t m = (v << (63 - shift)) & INT64_MAX;
  return t.log_mantissa[m >> 52] + shift * mixer::kLn2;
}

// Coders that a model gives its decisions to, whether it knows their outcome or asks for it.
struct Encoding {
  RangeEncoder& coder;
  static constexpr bool kKnown = true;
  int operator()(int bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
  bool right() const { return true; }
};
struct Decoding {
  RangeDecoder& coder;
  static constexpr bool kKnown = false;
  int operator()(int, uint32_t p) { return coder.decode(p); }
  bool right() const { return !coder.damaged(); }
};

constexpr size_t kTell = 1 << 14;  // samples between two reports of progress
