// A packet of Ut Video is, for each plane, the lengths of 256 codes, where its slices end, and their codes; and behind
// the planes four bytes that say how samples are predicted (libavcodec/utvideodec.c, utvideoenc.c).
#include "utvideo.hpp"

#include <algorithm>

#include "huffman.hpp"

namespace lmc::utvideo {
namespace {

using huffman::Bad;
using huffman::Code;
using huffman::kNone;
using huffman::median;
using huffman::Order;
using huffman::require;
using huffman::Rule;

constexpr size_t kSymbols = 256, kInfo = 4;
constexpr uint8_t kGiven = huffman::kRules;  // lengths that no rule gives: their differences to those of kUsed follow
constexpr uint8_t kFirst = 128;              // predicts the first sample of a slice
enum Prediction { kNoPrediction, kLeft, kGradient, kMedian };

using Lengths = std::vector<uint8_t>;
using Counts = std::vector<uint64_t>;

uint32_t load(const uint8_t* from) {
  return from[0] | from[1] << 8 | from[2] << 16 | static_cast<uint32_t>(from[3]) << 24;
}

void store(std::vector<uint8_t>& out, uint32_t value) {
  for (int i = 0; i < 4; ++i) out.push_back(static_cast<uint8_t>(value >> 8 * i));
}

Prediction prediction(uint32_t info) { return static_cast<Prediction>(info >> 8 & 3); }

// The row behind slice i.
size_t end_of(const Plane& plane, uint32_t slices, uint32_t i) {
  const size_t end = static_cast<size_t>(plane.height) * (i + 1) / slices;
  return plane.even ? end & ~size_t{1} : end;
}

// What predicts the sample x, y of a slice, from its samples before. wide: samples of a row. last: the sample coded
// before, and corner: the one above that. Rows go on where the one before ended, but for the gradient.
uint8_t predict(Prediction how, const uint8_t* at, size_t x, size_t y, size_t wide) {
  const bool begin = x == 0 && y == 0;
  if (how == kNoPrediction) return 0;
  if (how == kLeft || y == 0) return begin ? kFirst : at[-1];
  const uint8_t above = *(at - wide);
  if (how == kGradient) return x == 0 ? above : static_cast<uint8_t>(above - *(at - wide - 1) + at[-1]);
  if (x == 0 && y == 1) return above;
  return median(at[-1], above, *(at - wide - 1));
}

// Samples of a slice into errors.
void differ(Prediction how, const uint8_t* from, size_t wide, size_t rows, uint8_t* to) {
  for (size_t y = 0; y < rows; ++y)
    for (size_t x = 0; x < wide; ++x, ++from) *to++ = static_cast<uint8_t>(*from - predict(how, from, x, y, wide));
}

// And back, in place.
void restore(Prediction how, uint8_t* at, size_t wide, size_t rows) {
  if (how == kNoPrediction) return;
  for (size_t y = 0; y < rows; ++y)
    for (size_t x = 0; x < wide; ++x, ++at) *at = static_cast<uint8_t>(*at + predict(how, at, x, y, wide));
}

// The only symbol that occurs, or kSymbols.
size_t only(const Counts& counts) {
  const auto used = [](uint64_t count) { return count != 0; };
  if (std::count_if(counts.begin(), counts.end(), used) != 1) return kSymbols;
  return static_cast<size_t>(std::find_if(counts.begin(), counts.end(), used) - counts.begin());
}

// A plane of one symbol has no codes: its length is 0.
Lengths plane_lengths(const Counts& counts, Rule rule) {
  const size_t symbol = only(counts);
  if (symbol == kSymbols) return huffman::lengths_of(counts, rule);
  Lengths lengths(kSymbols, kNone);
  lengths[symbol] = 0;
  return lengths;
}

// Appends what says these lengths.
void describe(const Lengths& lengths, const Counts& counts, std::vector<uint8_t>& side) {
  const Lengths usual = plane_lengths(counts, huffman::kUsed);
  for (const Rule rule : {huffman::kUsed, huffman::kAll, huffman::kOld}) {
    if (lengths == (rule == huffman::kUsed ? usual : plane_lengths(counts, rule))) return side.push_back(rule);
  }
  side.push_back(kGiven);
  for (size_t i = 0; i < kSymbols; ++i) side.push_back(static_cast<uint8_t>(lengths[i] - usual[i]));
}

Lengths described(const Counts& counts, const uint8_t* side, size_t size, size_t& at) {
  require(at < size && side[at] <= kGiven);
  const uint8_t rule = side[at++];
  if (rule != kGiven) return plane_lengths(counts, static_cast<Rule>(rule));
  require(size - at >= kSymbols);
  Lengths lengths = plane_lengths(counts, huffman::kUsed);
  for (uint8_t& length : lengths) length = static_cast<uint8_t>(length + side[at++]);
  return lengths;
}

bool has_zero(const Lengths& lengths) { return std::find(lengths.begin(), lengths.end(), 0) != lengths.end(); }

// Reads a plane's errors into `to`, and its lengths.
const uint8_t* read_plane(const uint8_t* at, const uint8_t* end, const Plane& plane, uint32_t slices, uint8_t* to,
                          Lengths& lengths) {
  require(static_cast<size_t>(end - at) >= kSymbols + 4 * static_cast<size_t>(slices));
  lengths.assign(at, at + kSymbols);
  const uint8_t *ends = at + kSymbols, *codes = ends + 4 * static_cast<size_t>(slices);
  if (has_zero(lengths)) {
    const size_t symbol = static_cast<size_t>(std::find(lengths.begin(), lengths.end(), 0) - lengths.begin());
    std::fill_n(to, static_cast<size_t>(plane.width) * plane.height, static_cast<uint8_t>(symbol));
    return codes;
  }
  const Code code(lengths, Order::kFalling);
  size_t from = 0, row = 0;
  for (uint32_t i = 0; i < slices; ++i) {
    const size_t until = load(ends + 4 * static_cast<size_t>(i));
    require(until >= from && until <= static_cast<size_t>(end - codes));
    huffman::WordReader bits(codes + from, until - from);
    for (; row < end_of(plane, slices, i); ++row) {
      for (uint32_t x = 0; x < plane.width; ++x) *to++ = static_cast<uint8_t>(bits.symbol(code));
      require(!bits.beyond());
    }
    from = until;
  }
  return codes + from;
}

void write_plane(const uint8_t* errors, const Plane& plane, uint32_t slices, const Lengths& lengths,
                 const Counts& counts, std::vector<uint8_t>& out) {
  out.insert(out.end(), lengths.begin(), lengths.end());
  size_t ends = out.size();
  out.resize(ends + 4 * static_cast<size_t>(slices));
  if (has_zero(lengths)) {
    const size_t symbol = only(counts);
    require(symbol < kSymbols && lengths[symbol] == 0);
    return;
  }
  const Code code(lengths, Order::kFalling);
  const size_t begin = out.size();
  size_t row = 0;
  for (uint32_t i = 0; i < slices; ++i) {
    huffman::WordWriter bits(out);
    for (; row < end_of(plane, slices, i); ++row)
      for (uint32_t x = 0; x < plane.width; ++x) bits.symbol(code, *errors++);
    bits.align();
    const size_t until = out.size() - begin;
    require(until <= UINT32_MAX);
    for (int k = 0; k < 4; ++k) out[ends++] = static_cast<uint8_t>(until >> 8 * k);
  }
}

}  // namespace

std::optional<Picture> read(const uint8_t* packet, size_t size, const Shape& shape) {
  Picture out;
  try {
    require(size >= kInfo);
    const uint32_t info = load(packet + size - kInfo);
    const uint8_t *at = packet, *end = packet + size - kInfo;
    out.samples.resize(shape.samples());
    store(out.side, info);
    uint8_t* to = out.samples.data();
    for (const Plane& plane : shape.planes) {
      const size_t count = static_cast<size_t>(plane.width) * plane.height;
      Lengths lengths;
      at = read_plane(at, end, plane, shape.slices, to, lengths);
      Counts counts(kSymbols);
      for (size_t i = 0; i < count; ++i) ++counts[to[i]];
      describe(lengths, counts, out.side);
      size_t row = 0;
      for (uint32_t i = 0; i < shape.slices; ++i) {
        const size_t rows = end_of(plane, shape.slices, i) - row;
        restore(prediction(info), to + row * plane.width, plane.width, rows);
        row += rows;
      }
      to += count;
    }
    require(at == end);
  } catch (const Bad&) {
    return std::nullopt;
  }
  size_t used = 0;
  const auto again = write(out.samples.data(), shape, out.side.data(), out.side.size(), used);
  if (!again || again->size() != size || !std::equal(again->begin(), again->end(), packet)) return std::nullopt;
  return out;
}

std::optional<std::vector<uint8_t>> write(const uint8_t* samples, const Shape& shape, const uint8_t* side, size_t size,
                                          size_t& at) {
  std::vector<uint8_t> out;
  try {
    require(at <= size && size - at >= kInfo);
    const uint32_t info = load(side + at);
    at += kInfo;
    std::vector<uint8_t> errors;
    for (const Plane& plane : shape.planes) {
      errors.resize(static_cast<size_t>(plane.width) * plane.height);
      size_t row = 0;
      for (uint32_t i = 0; i < shape.slices; ++i) {
        const size_t rows = end_of(plane, shape.slices, i) - row, from = row * plane.width;
        differ(prediction(info), samples + from, plane.width, rows, errors.data() + from);
        row += rows;
      }
      Counts counts(kSymbols);
      for (const uint8_t error : errors) ++counts[error];
      write_plane(errors.data(), plane, shape.slices, described(counts, side, size, at), counts, out);
      samples += errors.size();
    }
    store(out, info);
  } catch (const Bad&) {
    return std::nullopt;
  }
  return out;
}

}  // namespace lmc::utvideo
