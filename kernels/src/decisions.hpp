// What the models of pictures and sounds give their decisions to, and what they reckon with.
//
// Included by each of their variants in a namespace of its own, so that it is compiled for the variant's
// instructions: no #pragma once.

inline int64_t clamp64(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }
inline int32_t clamp32(int64_t v, int32_t low, int32_t high) { return static_cast<int32_t>(clamp64(v, low, high)); }

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

// A value as a walk down a tree of intervals [low, high) within [least, past).
struct Question {
  int64_t at;  // is the value at least this?
  int node;
};

// The next question: at first a quantile of a distribution of this centre and scale (1/64), later the middle, and at
// the open ends doubling steps of at most `longest`.
inline Question question(int depth, int path, int64_t low, int64_t high, int64_t least, int64_t past, int64_t centre, int64_t scale,
                         int64_t longest) {
  Question q;
  if (depth < 5) {
    q = {(centre + ((scale * quantile(depth, path)) >> 12) + 64) >> 6, (1 << depth) - 1 + path};
  } else {
    const int64_t step = clamp64((scale << (depth - 5)) >> 6, 1, longest);
    const int deep = depth < 10 ? depth - 5 : 5;
    if (low == least) {
      q = {high - step, 31 + 2 * deep};
    } else if (high == past) {
      q = {low + step, 32 + 2 * deep};
    } else {
      const int span = 63 - __builtin_clzll(static_cast<uint64_t>(high - low));
      q = {(low + high + 1) >> 1, 42 + (span < 5 ? span : 5)};
    }
  }
  q.at = q.at <= low ? low + 1 : q.at >= high ? high - 1 : q.at;
  return q;
}

// What a distribution says to a question, as an input of the mixer: masses of 24 bits below the interval's ends and
// what is asked about.
inline int16_t opinion(const mixer::Tables& t, uint32_t low, uint32_t at, uint32_t high) {
  const uint32_t up = (high > at ? high - at : 0) + 1, down = (at > low ? at - low : 0) + 1;
  return static_cast<int16_t>(clamp32((mixer::log24(t, up) - mixer::log24(t, down)) >> 4, -mixer::kInputLimit, mixer::kInputLimit));
}

// The same of a mixture, whose masses have `least` for 2^-24, as a logit.
inline int32_t joint_opinion(const mixer::Tables& t, uint64_t low, uint64_t at, uint64_t high, uint64_t least) {
  const uint64_t up = (high > at ? high - at : 0) + least, down = (at > low ? at - low : 0) + least;
  return mixer::clamp_logit(log64(t, up) - log64(t, down));
}
inline int16_t as_input(int32_t logit) { return static_cast<int16_t>(clamp32(logit >> 4, -mixer::kNetworkLimit, mixer::kNetworkLimit)); }

// The mixer's probability and the last maps' opinions of it, joined, and kept off 0 and 1.
inline uint32_t settled(uint32_t mixed, uint32_t first, uint32_t second) {
  return static_cast<uint32_t>(clamp32((2 * mixed + first + second) >> 2, 16, (1 << 24) - 16));
}

constexpr size_t kTell = 1 << 14;  // samples between two reports of progress
