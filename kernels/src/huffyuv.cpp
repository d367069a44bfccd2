// A packet of HuffYUV is the codes of all errors (libavcodec/huffyuvenc.c, huffyuvdec.c). Version 2 begins with four
// samples as they are, and has the planes' rows among each other; version 3 has one plane after the other.
#include "huffyuv.hpp"

#include <algorithm>

namespace lmc::huffyuv {
namespace {

using huffman::Bad;
using huffman::Code;
using huffman::kNone;
using huffman::Order;
using huffman::require;
using huffman::Rule;

constexpr uint8_t kGiven = 2;  // lengths that no rule gives: their differences to the first rule's follow
constexpr Rule kRules[] = {huffman::kAll, huffman::kOld};

// Both directions of a code of errors; `counts` learns them.
struct Encode {
  huffman::WordWriter& to;
  const std::vector<Code>& codes;
  std::vector<std::vector<uint64_t>>& counts;
  int bits;

  void raw(uint16_t& sample) { to.bits(sample, 8); }
  void operator()(size_t table, uint16_t& sample, uint32_t prediction) {
    const uint32_t error = (sample - prediction) & ((1u << bits) - 1);
    const uint32_t symbol = bits > 14 ? error >> 2 : error;
    ++counts[table][symbol];
    to.symbol(codes[table], symbol);
    if (bits > 14) to.bits(error & 3, 2);
  }
  void check() {}
};

struct Decode {
  huffman::WordReader& from;
  const std::vector<Code>& codes;
  int bits;

  void raw(uint16_t& sample) { sample = static_cast<uint16_t>(from.bits(8)); }
  void operator()(size_t table, uint16_t& sample, uint32_t prediction) {
    uint32_t error = from.symbol(codes[table]);
    if (bits > 14) error = error << 2 | from.bits(2);
    sample = static_cast<uint16_t>((prediction + error) & ((1u << bits) - 1));
  }
  void check() { require(!from.beyond()); }
};

// The order of samples, and what predicts each.
template <typename Coder>
class Walk {
 public:
  Walk(const Shape& shape, uint16_t* samples, Coder& coder)
      : shape_(shape), mask_((1u << shape.bits) - 1), step_(shape.interlaced ? 2 : 1), coder_(coder) {
    for (const Shape::Plane& plane : shape.planes) {
      planes_.push_back({samples, plane.width, plane.height});
      samples += static_cast<size_t>(plane.width) * plane.height;
    }
  }

  void go() {
    if (shape_.mixed) {
      mixed();
    } else {
      for (size_t i = 0; i < planes_.size(); ++i) plane(i);
    }
  }

 private:
  struct Plane {
    uint16_t* samples;
    size_t width, height;
    uint32_t left = 0, corner = 0;
    uint16_t* at(size_t x, size_t y) const { return samples + y * width + x; }
  };

  void sample(size_t index, size_t x, size_t y, Prediction how) {
    Plane& p = planes_[index];
    uint16_t& s = *p.at(x, y);
    if (how == kLeft) {
      coder_(index, s, p.left);
      p.left = s;
      return;
    }
    const uint32_t above = *p.at(x, y - step_);
    if (how == kPlane) {  // what is predicted from the left is the difference to the one above
      coder_(index, s, p.left + above);
      p.left = (s - above) & mask_;
    } else {
      const uint32_t plane = (p.left + above - p.corner) & mask_;
      coder_(index, s, std::max(std::min(p.left, above), std::min(std::max(p.left, above), plane)));
      p.left = s;
      p.corner = above;
    }
  }

  void row(size_t index, size_t y, Prediction how) {
    for (size_t x = 0; x < planes_[index].width; ++x) sample(index, x, y, how);
    coder_.check();
  }

  void plane(size_t index) {
    const Plane& p = planes_[index];
    for (size_t y = 0; y < p.height; ++y) {
      // Only the low byte, by an old mistake of FFmpeg's that became the format.
      if (y == step_) planes_[index].corner = *p.at(0, 0) & 255;
      row(index, y, y < step_ ? kLeft : shape_.how);
    }
  }

  // A row of the first plane and one of the others, from a column of the latter on.
  void rows(size_t y, size_t other, Prediction how, size_t from, size_t until) {
    for (size_t x = from; x < until; ++x) {
      sample(0, 2 * x, y, how);
      sample(1, x, other, how);
      sample(0, 2 * x + 1, y, how);
      sample(2, x, other, how);
    }
    coder_.check();
  }

  void mixed() {
    const size_t height = planes_[0].height, wide = planes_[1].width;
    const bool coarse = planes_[1].height != height;
    coder_.raw(*planes_[2].at(0, 0));
    coder_.raw(*planes_[0].at(1, 0));
    coder_.raw(*planes_[1].at(0, 0));
    coder_.raw(*planes_[0].at(0, 0));
    planes_[0].left = *planes_[0].at(1, 0);
    for (size_t i : {1, 2}) planes_[i].left = *planes_[i].at(0, 0);
    rows(0, 0, kLeft, 1, wide);
    size_t y = 1, other = 1;
    if (shape_.how == kMedian) {
      if (shape_.interlaced) rows(y++, other++, kLeft, 0, wide);
      rows(y, other, kLeft, 0, 2);
      planes_[0].corner = *planes_[0].at(3, 0);
      for (size_t i : {1, 2}) planes_[i].corner = *planes_[i].at(1, 0);
      rows(y++, other++, kMedian, 2, wide);
    }
    for (; y < height; ++y, ++other) {
      // Rows of the first plane alone.
      for (; coarse && y < height && y < 2 * other; ++y) row(0, y, kind(y));
      if (y < height) rows(y, other, kind(other), 0, wide);
    }
  }
  Prediction kind(size_t y) const { return shape_.how == kPlane && y < step_ ? kLeft : shape_.how; }

  const Shape& shape_;
  const uint32_t mask_;
  const size_t step_;
  Coder& coder_;
  std::vector<Plane> planes_;
};

// Lengths as runs: five bits of length and three of count; a count of 0: it is in the next byte.
template <typename Next>
std::vector<uint8_t> read_runs(size_t symbols, Next next) {
  std::vector<uint8_t> lengths;
  while (lengths.size() < symbols) {
    const uint32_t head = next();
    const uint8_t length = head & 31;
    const size_t run = head >> 5 != 0 ? head >> 5 : next();
    require(run > 0 && run <= symbols - lengths.size());
    lengths.insert(lengths.end(), run, length == 0 ? kNone : length);
  }
  return lengths;
}

void write_runs(const std::vector<uint8_t>& lengths, huffman::WordWriter& to) {
  for (size_t i = 0; i < lengths.size();) {
    const uint8_t length = lengths[i];
    uint32_t run = 0;
    for (; i < lengths.size() && lengths[i] == length && run < 255; ++i) ++run;
    require(length >= 1 && length < 32);
    to.bits(run > 7 ? length : run << 5 | length, 8);
    if (run > 7) to.bits(run, 8);
  }
}

void check(const Shape& shape) {
  require(!shape.planes.empty() && shape.bits >= 8 && shape.bits <= 16);
  const size_t fields = shape.interlaced ? 2 : 1;
  for (const Shape::Plane& p : shape.planes) require(p.width >= 1 && p.height >= 1);
  if (shape.mixed) {
    const auto& p = shape.planes;
    require(p.size() == 3 && shape.bits == 8 && p[1].width == p[2].width && p[1].height == p[2].height);
    require(p[0].width == 2 * p[1].width && (p[0].height == p[1].height || p[0].height == 2 * p[1].height));
    // Its first rows are always there.
    if (shape.how == kMedian) require(p[1].width >= 2 && p[1].height > fields);
  }
}

}  // namespace

Stream::Stream(const Shape& shape, const uint8_t* tables, size_t size) : shape_(shape) {
  check(shape);
  const size_t symbols = shape.symbols(), area = static_cast<size_t>(shape.planes[0].width) * shape.planes[0].height;
  size_t at = 0;
  const auto next = [&] {
    require(at < size);
    return tables[at++];
  };
  Lengths lengths;
  for (size_t i = 0; i < shape.planes.size(); ++i) {
    lengths.push_back(read_runs(symbols, next));
    // What a writer of own tables expects of the first packet.
    std::vector<uint64_t> counts(symbols);
    for (size_t s = 0; s < symbols; ++s) {
      const size_t d = std::min(s, symbols - s);
      counts[s] = area / (i == 0 ? 10 : 40) / (d * d + 1);
    }
    counts_.push_back(std::move(counts));
  }
  use(lengths);
}

Stream::Lengths Stream::lengths_of(Rule rule) const {
  Lengths lengths;
  for (const auto& counts : counts_) lengths.push_back(huffman::lengths_of(counts, rule));
  return lengths;
}

void Stream::use(const Lengths& lengths) {
  codes_.clear();
  for (const auto& of_table : lengths) codes_.emplace_back(of_table, Order::kRising);
}

// What was counted before counts half.
void Stream::age() {
  for (auto& counts : counts_)
    for (uint64_t& count : counts) count /= 2;
}

std::vector<uint8_t> Stream::describe(const Lengths& lengths) const {
  const Lengths usual = lengths_of(kRules[0]);
  if (lengths == usual) return {0};
  if (lengths == lengths_of(kRules[1])) return {1};
  std::vector<uint8_t> side{kGiven};
  for (size_t t = 0; t < lengths.size(); ++t)
    for (size_t i = 0; i < lengths[t].size(); ++i) side.push_back(static_cast<uint8_t>(lengths[t][i] - usual[t][i]));
  return side;
}

Stream::Lengths Stream::described(bool usual, const uint8_t* side, size_t size, size_t& at) const {
  if (usual) return lengths_of(kRules[0]);
  require(at < size && side[at] <= kGiven);
  const uint8_t rule = side[at++];
  if (rule != kGiven) return lengths_of(kRules[rule]);
  require(size - at >= shape_.planes.size() * shape_.symbols());
  Lengths lengths = lengths_of(kRules[0]);
  for (auto& of_table : lengths)
    for (uint8_t& length : of_table) length = static_cast<uint8_t>(length + side[at++]);
  return lengths;
}

std::vector<uint8_t> Stream::packet(const uint16_t* samples, const Lengths& lengths) {
  std::vector<uint8_t> out;
  huffman::WordWriter bits(out);
  if (shape_.own_tables) {
    use(lengths);
    for (const auto& of_table : lengths) write_runs(of_table, bits);
    age();
  }
  Encode coder{bits, codes_, counts_, shape_.bits};
  // It only reads them.
  Walk<Encode>(shape_, const_cast<uint16_t*>(samples), coder).go();
  bits.align();
  return out;
}

std::optional<Picture> Stream::read(const uint8_t* packet, size_t size) {
  Picture out;
  try {
    huffman::WordReader bits(packet, size);
    require(shape_.samples() <= 8 * size);  // each has at least a bit
    Lengths lengths;
    if (shape_.own_tables) {
      const auto next = [&] {
        const uint32_t byte = bits.bits(8);
        require(!bits.beyond());
        return byte;
      };
      for (size_t i = 0; i < shape_.planes.size(); ++i) lengths.push_back(read_runs(shape_.symbols(), next));
      use(lengths);
      out.side = describe(lengths);
    }
    out.samples.resize(shape_.samples());
    Decode coder{bits, codes_, shape_.bits};
    Walk<Decode>(shape_, out.samples.data(), coder).go();
    const std::vector<uint8_t> again = this->packet(out.samples.data(), lengths);
    require(again.size() == size && std::equal(again.begin(), again.end(), packet));
  } catch (const Bad&) {
    return std::nullopt;
  }
  return out;
}

std::optional<std::vector<uint8_t>> Stream::write(const uint16_t* samples, bool usual, const uint8_t* side,
                                                  size_t size, size_t& at) {
  try {
    return packet(samples, shape_.own_tables ? described(usual, side, size, at) : Lengths());
  } catch (const Bad&) {
    return std::nullopt;
  }
}

}  // namespace lmc::huffyuv
