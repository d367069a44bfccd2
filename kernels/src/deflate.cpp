// Recipes of deflate streams: finding the parameters, describing what they do not say, rebuilding.
#include "deflate.hpp"

#include "deflate_codes.hpp"
#include "deflate_optimal.hpp"
#include "deflate_zlib.hpp"

namespace lmc::deflate {
namespace {

struct Wrong {};  // a damaged recipe

// Streams are not much larger than their bytes, so that a forged recipe cannot ask for more.
constexpr size_t most_size(size_t bytes) { return 2 * bytes + 4096; }

// ---- the recipe as bytes: varints of LEB128 (FORMAT.md, 1.2) ----

class Out {
 public:
  void byte(uint32_t v) { bytes.push_back(static_cast<uint8_t>(v)); }
  void number(uint32_t v) {
    for (; v >= 128; v >>= 7) byte(v | 128);
    byte(v);
  }
  std::vector<uint8_t> bytes;
};

class In {
 public:
  In(const uint8_t* data, size_t size) : at_(data), end_(data + size) {}
  uint32_t byte() {
    if (at_ == end_) throw Wrong{};
    return *at_++;
  }
  uint32_t number() {
    uint64_t v = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const uint32_t b = byte();
      v |= uint64_t{b & 127} << shift;
      if (b < 128) {
        if ((b == 0 && shift > 0) || v >> 32 != 0) throw Wrong{};
        return static_cast<uint32_t>(v);
      }
    }
    throw Wrong{};
  }
  uint32_t up_to(uint32_t most) {
    const uint32_t v = number();
    if (v > most) throw Wrong{};
    return v;
  }
  size_t left() const { return static_cast<size_t>(end_ - at_); }

 private:
  const uint8_t *at_, *end_;
};

// ---- the stream as bits ----

class BitWriter {
 public:
  void put(uint32_t value, int n) {
    held_ |= uint64_t{value} << count_;
    for (count_ += n; count_ >= 8; count_ -= 8, held_ >>= 8) bytes.push_back(static_cast<uint8_t>(held_));
  }
  void align(uint32_t padding) {
    if (count_ > 0) put(padding & ((1u << (8 - count_)) - 1), 8 - count_);
  }
  std::vector<uint8_t> bytes;

 private:
  uint64_t held_ = 0;
  int count_ = 0;
};

void write_header(BitWriter& out, const Header& h) {
  out.put(static_cast<uint32_t>(h.literals - 257), 5);
  out.put(static_cast<uint32_t>(h.distances - 1), 5);
  out.put(static_cast<uint32_t>(h.codes - 4), 4);
  for (int i = 0; i < h.codes; ++i) out.put(h.code_lengths[kCodeOrder[i]], 3);
  uint16_t codes[kLengthCodes];
  assign_codes(h.code_lengths, kLengthCodes, codes);
  for (size_t i = 0; i < h.symbols.size(); ++i) {
    const int s = h.symbols[i];
    out.put(codes[s], h.code_lengths[s]);
    if (s >= 16) out.put(h.symbols[++i], s == 16 ? 2 : s == 17 ? 3 : 7);
  }
}

void write_tokens(BitWriter& out, const uint8_t* lengths, const Token* tokens, size_t n, const uint8_t* literals) {
  uint16_t codes[kLiterals + kDistances];
  assign_codes(lengths, kLiterals, codes);
  assign_codes(lengths + kLiterals, kDistances, codes + kLiterals);
  const auto symbol = [&](int s) {
    if (lengths[s] == 0) throw Wrong{};
    out.put(codes[s], lengths[s]);
  };
  for (size_t i = 0; i < n; ++i) {
    const Token t = tokens[i];
    if (t.distance == 0) {
      symbol(*literals);
    } else {
      const int l = length_code(t.length), d = distance_code(t.distance);
      symbol(257 + l);
      out.put(t.length - kLengthBase[l], kLengthExtra[l]);
      symbol(kLiterals + d);
      out.put(t.distance - kDistanceBase[d], distance_extra(d));
    }
    literals += t.length;
  }
  symbol(kEndOfBlock);
}

// ---- headers that zlib would not have written ----

// Code lengths as differences to `base`, modulo 16; how they are sent only where zlib sends them otherwise.
void describe_header(Out& out, const Header& h, const Header& base) {
  Header zlib = h;
  zlib_symbols(zlib);
  const bool same_symbols = zlib.symbols == h.symbols;
  zlib_code_lengths(zlib);
  Header coded = h;
  zlib_code_lengths(coded);
  const bool same_codes =
      coded.codes == h.codes && std::memcmp(coded.code_lengths, h.code_lengths, sizeof h.code_lengths) == 0;
  out.byte((same_symbols ? 0u : 1u) | (same_codes ? 0u : 2u));
  out.byte(static_cast<uint32_t>(h.literals - 257));
  out.byte(static_cast<uint32_t>(h.distances - 1));
  if (same_symbols) {
    for (int i = 0; i < h.literals; ++i) out.byte((h.lengths[i] - base.lengths[i]) & 15u);
    for (int i = kLiterals; i < kLiterals + h.distances; ++i) out.byte((h.lengths[i] - base.lengths[i]) & 15u);
  } else {
    for (uint8_t s : h.symbols) out.byte(s);
  }
  if (!same_codes) {
    out.byte(static_cast<uint32_t>(h.codes));
    for (int i = 0; i < h.codes; ++i) out.byte(h.code_lengths[kCodeOrder[i]]);
  }
}

Header read_header(In& in, const Header& base) {
  Header h;
  const uint32_t flags = in.up_to(3);
  h.literals = static_cast<int>(in.up_to(29)) + 257;
  h.distances = static_cast<int>(in.up_to(29)) + 1;
  const int n = h.literals + h.distances;
  const auto place = [&](int i) { return i < h.literals ? i : kLiterals + i - h.literals; };
  if ((flags & 1) == 0) {
    for (int i = 0; i < n; ++i) {
      h.lengths[place(i)] = static_cast<uint8_t>((in.up_to(15) + base.lengths[place(i)]) & 15);
    }
    zlib_symbols(h);
  } else {
    for (int i = 0; i < n;) {
      const uint32_t s = in.up_to(18);
      h.symbols.push_back(static_cast<uint8_t>(s));
      int run = 1;
      uint8_t length = static_cast<uint8_t>(s);
      if (s >= 16) {
        const uint32_t extra = in.up_to(s == 16 ? 3 : s == 17 ? 7 : 127);
        h.symbols.push_back(static_cast<uint8_t>(extra));
        run = static_cast<int>(extra) + (s == 18 ? 11 : 3);
        if (run > n - i || (s == 16 && i == 0)) throw Wrong{};
        length = s == 16 ? h.lengths[place(i - 1)] : 0;
      }
      while (run-- > 0) h.lengths[place(i++)] = length;
    }
  }
  if ((flags & 2) == 0) {
    zlib_code_lengths(h);
  } else {
    h.codes = static_cast<int>(in.up_to(kLengthCodes));
    if (h.codes < 4) throw Wrong{};
    for (int i = 0; i < h.codes; ++i) h.code_lengths[kCodeOrder[i]] = static_cast<uint8_t>(in.up_to(7));
  }
  return h;
}

// ---- predictions and corrections ----

struct Correction {
  uint32_t gap;  // tokens since the last one
  Token token;
  uint32_t distance = 0;  // as written: 0 for the one predicted
};

uint32_t bytes_of(const Block& block, const Token* tokens) {
  if (block.kind == kStored) return block.count;
  uint32_t n = 0;
  for (uint32_t i = 0; i < block.count; ++i) n += tokens[i].length;
  return n;
}

// Walks the tokens of a stream; found(predicted, true token) may end it by false. False if that
// takes too long.
template <class Predictor, class Found>
bool compare(Predictor&& predictor, const Stream& s, size_t most, Found&& found) {
  uint8_t fixed[kLiterals + kDistances];
  fixed_lengths(fixed);
  const Token* token = s.tokens.data();
  const Token* last = token + std::min(most, s.tokens.size());
  for (const Block& block : s.blocks) {
    if (block.kind == kStored) {
      predictor.skip(block.count);
      continue;
    }
    predictor.begin(block.kind == kFixed ? fixed : block.header.lengths, bytes_of(block, token));
    for (uint32_t i = 0; i < block.count; ++i, ++token) {
      if (token == last || !found(predictor.predict(), *token)) return true;
      if (predictor.exhausted()) return false;
      predictor.take(*token);
    }
  }
  return true;
}

template <class Found>
bool compare(const Parameters& p, const Stream& s, size_t most, Found&& found) {
  const uint8_t* bytes = s.bytes.data();
  if (p.strategy == kOptimal) return compare(OptimalPredictor(bytes, s.bytes.size()), s, most, found);
  return compare(ZlibPredictor(p, bytes, s.bytes.size()), s, most, found);
}

size_t errors(const Parameters& p, const Stream& s, size_t tokens, size_t most) {
  size_t n = 0;
  const bool done = compare(p, s, tokens, [&](Token a, Token b) {
    n += a != b;
    return n <= most;
  });
  return done ? n : most + 1;
}

struct Candidate {
  Parameters parameters;
  size_t errors;
};

// Candidates are tried on a first part of the stream, the best on more, the best of these on all. The
// number of errors may be that of a part, but it is 0 only where it is that of all.
Candidate best_parameters(const Stream& s, int window_bits) {
  constexpr Parameters kLikely[] = {
      {kFiltered, 9, 0, 0}, {kFiltered, 6, 0, 0}, {kDefault, 9, 0, 0}, {kDefault, 6, 0, 0},    {kFiltered, 7, 0, 0},
      {kFiltered, 8, 0, 0}, {kDefault, 7, 0, 0},  {kDefault, 8, 0, 0}, {kDefault, 1, 0, 0},    {kDefault, 2, 0, 0},
      {kDefault, 3, 0, 0},  {kDefault, 4, 0, 0},  {kDefault, 5, 0, 0}, {kFar, 9, 0, 0},        {kFar, 6, 0, 0},
      {kFiltered, 4, 0, 0}, {kFiltered, 5, 0, 0}, {kRuns, 6, 0, 0},    {kHuffmanOnly, 6, 0, 0}};
  bool literals = true, runs = true;
  uint32_t far = 0;
  for (Token t : s.tokens) {
    literals = literals && t.distance == 0;
    runs = runs && t.distance <= 1;
    far = std::max<uint32_t>(far, t.distance);
  }
  // zlib's blocks end when its buffer of tokens is full, which tells its size.
  std::vector<uint8_t> memories = {8, 9};
  for (uint8_t m = 1; m <= 9; ++m) {
    if (s.blocks.size() > 1 && s.blocks[0].kind != kStored && s.blocks[0].count == (1u << (m + 6)) - 1) memories = {m};
  }
  std::vector<uint8_t> windows = {static_cast<uint8_t>(std::clamp(window_bits, 9, 15))};
  while (windows[0] < 15 && far + 262 > 1u << windows[0]) ++windows[0];
  if (windows[0] < 15 && s.bytes.size() > 1u << windows[0]) windows.push_back(15);

  std::vector<Candidate> all;
  for (const Parameters& likely : kLikely) {
    if ((likely.strategy == kHuffmanOnly && !literals) || (likely.strategy == kRuns && !runs)) continue;
    for (uint8_t memory : memories) {
      for (uint8_t window : windows) {
        all.push_back({{likely.strategy, likely.level, window, memory}, 0});
      }
    }
  }
  const auto best_of = [&](size_t tokens, size_t keep) {
    size_t least = SIZE_MAX - 1;
    for (Candidate& c : all) {
      c.errors = errors(c.parameters, s, tokens, keep > 1 ? least + least / 4 + 8 : least);
      least = std::min(least, c.errors);
      if (keep == 1 && least == 0) break;
    }
    std::stable_sort(all.begin(), all.end(),
                     [](const Candidate& a, const Candidate& b) { return a.errors < b.errors; });
    if (all.size() > keep) all.resize(keep);
  };
  const size_t part = std::min<size_t>(s.tokens.size(), 30000);
  best_of(2500, 8);
  best_of(part, 4);
  // Wrong so often, it was not zlib. (An error and the header of a block cost some bytes.)
  const size_t zlib = all[0].errors;
  if (zlib > part / 64 + 64) {
    const Parameters optimal{kOptimal, 9, 15, 9};
    const size_t headers = 32 * std::min(s.blocks.size(), zlib / 64);
    if (errors(optimal, s, part, zlib) + headers < zlib) all[0].parameters = optimal;
    return all[0];
  }
  best_of(SIZE_MAX, 1);
  return all[0];
}

}  // namespace

std::optional<std::vector<uint8_t>> describe(const Stream& s, int window_bits, size_t most) {
  if (s.size > most_size(s.bytes.size())) return {};
  const Candidate best = best_parameters(s, window_bits);
  const Parameters p = best.parameters;
  std::vector<Correction> corrections;
  uint32_t gap = 0;
  const auto correct = [&](Token predicted, Token token) {
    if (predicted == token) {
      ++gap;
    } else {
      corrections.push_back({gap, token, token.distance == predicted.distance ? 0u : token.distance});
      gap = 0;
    }
    return 2 * corrections.size() <= most;  // each takes 2 bytes or more
  };
  if (best.errors > 0 && !compare(p, s, SIZE_MAX, correct)) return {};
  if (2 * corrections.size() > most) return {};

  Out out;
  out.byte(p.strategy | p.level << 4u);
  out.byte(p.window_bits | p.memory << 4u);

  // Blocks, and the headers that are not zlib's.
  Out runs, headers;
  uint32_t run_count = 0, repeat = 0, previous_kind = 0, previous_count = 0;
  const auto end_run = [&] {
    if (repeat == 0) return;
    ++run_count;
    runs.number(repeat - 1);
    runs.byte(previous_kind);
    runs.number(previous_count);
    repeat = 0;
  };
  const Token* token = s.tokens.data();
  const uint8_t* bytes = s.bytes.data();
  const bool optimal = p.strategy == kOptimal;  // codes come before tokens, and blocks are counted in bytes
  Header last;
  for (const Block& block : s.blocks) {
    Kind kind = block.kind;
    const uint32_t size = bytes_of(block, token), count = optimal ? size : block.count;
    if (kind == kDynamic) {
      if (!optimal) last = zlib_header(token, block.count, bytes);
      if (optimal || !(last == block.header)) {
        kind = kDescribed;
        describe_header(headers, block.header, last);
        last = block.header;
      }
    }
    if (repeat == 0 || kind != previous_kind || count != previous_count || count == 0) end_run();
    ++repeat;
    previous_kind = kind;
    previous_count = count;
    bytes += size;
    if (kind != kStored) token += block.count;
  }
  end_run();
  out.number(run_count);
  out.bytes.insert(out.bytes.end(), runs.bytes.begin(), runs.bytes.end());
  out.byte(s.padding);
  out.number(static_cast<uint32_t>(corrections.size()));
  for (const Correction& c : corrections) out.number(c.gap);
  for (const Correction& c : corrections) out.number(c.token.distance == 0 ? 0 : c.token.length - 2u);
  for (const Correction& c : corrections) {
    if (c.token.distance != 0) out.number(c.distance);
  }
  out.bytes.insert(out.bytes.end(), headers.bytes.begin(), headers.bytes.end());
  if (out.bytes.size() > most) return {};
  return std::move(out.bytes);
}

namespace {

struct Run {
  uint32_t repeat;
  Kind kind;
  uint32_t count;
};

struct Plan {
  std::vector<Run> runs;
  uint32_t padding = 0;
  std::vector<Correction> corrections;
};

Plan read_plan(In& in) {
  Plan plan;
  for (uint32_t n = in.number(); n > 0; --n) {
    Run run{};
    run.repeat = in.number();
    run.kind = static_cast<Kind>(in.up_to(kDescribed));
    run.count = in.number();
    if (run.count == 0 && run.repeat != 0) throw Wrong{};  // so there are no more blocks than bytes
    plan.runs.push_back(run);
  }
  if (plan.runs.empty()) throw Wrong{};
  plan.padding = in.byte();
  for (uint32_t n = in.number(); n > 0; --n) plan.corrections.push_back({in.number(), {}});
  for (Correction& c : plan.corrections) {
    const uint32_t length = in.up_to(kMaxMatch - 2);
    c.token.length = static_cast<uint16_t>(length == 0 ? 1 : length + 2);
  }
  for (Correction& c : plan.corrections) {
    if (c.token.length > 1) c.distance = in.up_to(kMaxDistance);
  }
  return plan;
}

template <class Predictor>
std::vector<uint8_t> rebuild(In& in, const Plan& plan, Predictor&& predictor, bool optimal, const uint8_t* bytes,
                             size_t size) {
  auto correction = plan.corrections.begin();
  uint32_t gap = 0;
  size_t at = 0;
  BitWriter out;
  std::vector<Token> tokens;
  Header header;
  for (const Run& run : plan.runs) {
    for (uint32_t k = 0; k <= run.repeat; ++k) {
      const bool last = &run == &plan.runs.back() && k == run.repeat;
      if (run.count > size - at || out.bytes.size() > most_size(size)) throw Wrong{};
      out.put((last ? 1u : 0u) | (run.kind == kDescribed ? kDynamic : run.kind) << 1u, 3);
      if (run.kind == kStored) {
        if (run.count > 0xFFFF) throw Wrong{};
        out.align(0);
        out.put(run.count, 16);
        out.put(run.count ^ 0xFFFFu, 16);
        out.bytes.insert(out.bytes.end(), bytes + at, bytes + at + run.count);
        predictor.skip(run.count);
        at += run.count;
        continue;
      }
      Header fixed;
      fixed_lengths(fixed.lengths);
      if (optimal) {
        if (run.kind == kDynamic) throw Wrong{};
        if (run.kind == kDescribed) header = read_header(in, header);
        predictor.begin(run.kind == kFixed ? fixed.lengths : header.lengths, run.count);
      }
      const size_t begin = at;
      tokens.clear();
      while (optimal ? at - begin < run.count : tokens.size() < run.count) {
        const size_t left = optimal ? begin + run.count - at : size - at;
        if (left == 0) throw Wrong{};
        Token t = predictor.predict();
        if (predictor.exhausted()) throw Wrong{};
        if (correction != plan.corrections.end() && gap == correction->gap) {
          const uint16_t predicted = t.distance;
          t = correction->token;
          if (t.length > 1) {
            t.distance = correction->distance ? static_cast<uint16_t>(correction->distance) : predicted;
            if (t.length > left || t.distance == 0 || t.distance > at) throw Wrong{};
          }
          ++correction;
          gap = 0;
        } else {
          ++gap;
        }
        predictor.take(t);
        tokens.push_back(t);
        at += t.length;
      }
      if (!optimal && run.kind != kFixed) {
        header = zlib_header(tokens.data(), tokens.size(), bytes + begin);
        if (run.kind == kDescribed) header = read_header(in, header);
      }
      if (run.kind != kFixed) write_header(out, header);
      write_tokens(out, (run.kind == kFixed ? fixed : header).lengths, tokens.data(), tokens.size(), bytes + begin);
    }
  }
  out.align(plan.padding);
  if (at != size || correction != plan.corrections.end() || in.left() != 0) throw Wrong{};
  return std::move(out.bytes);
}

std::vector<uint8_t> rebuild_or_throw(In in, const uint8_t* bytes, size_t size) {
  Parameters p;
  const uint32_t what = in.byte(), memory = in.byte();
  p.strategy = what & 15;
  p.level = static_cast<uint8_t>(what >> 4);
  p.window_bits = memory & 15;
  p.memory = static_cast<uint8_t>(memory >> 4);
  if (p.strategy > kOptimal || p.level < 1 || p.level > 9 || p.window_bits < 9 || p.memory < 1 || p.memory > 9) {
    throw Wrong{};
  }
  const Plan plan = read_plan(in);
  if (p.strategy == kOptimal) return rebuild(in, plan, OptimalPredictor(bytes, size), true, bytes, size);
  return rebuild(in, plan, ZlibPredictor(p, bytes, size), false, bytes, size);
}

}  // namespace

std::optional<std::vector<uint8_t>> rebuild(const uint8_t* recipe, size_t recipe_size, const uint8_t* bytes,
                                            size_t size) {
  try {
    return rebuild_or_throw(In(recipe, recipe_size), bytes, size);
  } catch (const Wrong&) {
    return {};
  }
}

std::vector<uint8_t> compress(const uint8_t* bytes, size_t size) {
  const Parameters p{kFiltered, 6, 15, 8};
  ZlibPredictor predictor(p, bytes, size);
  BitWriter out;
  std::vector<Token> tokens;
  size_t at = 0;
  do {
    const size_t begin = at;
    for (tokens.clear(); at < size && tokens.size() < (1u << (p.memory + 6)) - 1; at += tokens.back().length) {
      tokens.push_back(predictor.predict());
      predictor.take(tokens.back());
    }
    const Header header = zlib_header(tokens.data(), tokens.size(), bytes + begin);
    out.put((at == size ? 1u : 0u) | kDynamic << 1u, 3);
    write_header(out, header);
    write_tokens(out, header.lengths, tokens.data(), tokens.size(), bytes + begin);
  } while (at < size);
  out.align(0);
  return std::move(out.bytes);
}

}  // namespace lmc::deflate
