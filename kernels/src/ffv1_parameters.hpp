// What an FFV1 stream says of itself (RFC 9043, 4.2 and 4.3): in the configuration record of version
// 3, or in each key frame of versions 0 and 1.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "ffv1_range.hpp"

namespace lmc::ffv1 {

// Fields of a packet, as they come: what it says beside samples. A reader notes each one, a writer
// is told it.
class Fields {
 public:
  Fields() = default;
  explicit Fields(std::vector<int32_t> known) : values_(std::move(known)) {}

  template <typename Coder>
  int32_t number(Coder& coder, States& states, bool has_sign = false) {
    return noted<Coder>([&](int32_t known) { return symbol(coder, known, states, has_sign); });
  }
  template <typename Coder>
  bool flag(Coder& coder, uint8_t& state) {
    return noted<Coder>([&](int32_t known) { return coder.bit(known != 0, state); }) != 0;
  }
  // A field that is not coded here.
  template <typename Coder>
  int32_t other(int32_t found) {
    return noted<Coder>([&](int32_t known) { return Coder::kWrites ? known : found; });
  }
  const std::vector<int32_t>& values() const { return values_; }
  bool all_used() const { return at_ == values_.size(); }

 private:
  template <typename Coder, typename Code>
  int32_t noted(const Code& code) {
    if (!Coder::kWrites) {
      values_.push_back(code(0));
      return values_.back();
    }
    require(at_ < values_.size());
    return code(values_[at_++]);
  }

  std::vector<int32_t> values_;
  size_t at_ = 0;
};

struct QuantTable {  // of differences of neighbours
  int16_t of[5][256];
  int contexts;
  bool wide;  // of five differences, not three
};

struct Parameters {
  static constexpr int kMostTables = 8, kMostSlices = 1024;

  int version = 0, micro = 0;
  int coder = 0;  // 0: Golomb-Rice codes; 1, 2: the range coder, with a table of the stream's own
  Transitions moves;
  bool rgb = false, chroma = false, alpha = false;
  int bits = 8, right = 0, down = 0;  // how coarse chroma is, as log2
  int columns = 1, rows = 1;          // of the grid of slices
  std::vector<QuantTable> tables;
  std::vector<std::vector<States>> starts;  // of each table's contexts, if the stream has its own
  int checks = 0;                           // 1: each slice has one

  // Sets of contexts: for luma, chroma and alpha.
  int sets() const { return 2 + alpha; }
  int planes() const { return 1 + 2 * chroma + alpha; }
};

template <typename Coder>
QuantTable quant_table(Coder& coder, Fields& fields) {
  QuantTable table;
  int64_t scale = 1;
  for (auto& of : table.of) {
    States states = fresh_states();
    int value = 0;
    for (int i = 0; i < 128; ++value) {
      const int32_t run = fields.number(coder, states);
      require(run >= 0 && run < 128 - i);
      for (int end = i + run + 1; i < end; ++i) of[i] = static_cast<int16_t>(scale * value);
    }
    for (int i = 1; i < 128; ++i) of[256 - i] = static_cast<int16_t>(-of[i]);
    of[128] = static_cast<int16_t>(-of[127]);
    scale *= 2 * value - 1;
    require(scale <= 32768);
  }
  table.contexts = static_cast<int>((scale + 1) / 2);
  table.wide = table.of[3][127] != 0 || table.of[4][127] != 0;
  return table;
}

// Parameters from the coder table to whether there is alpha: alike in all versions.
template <typename Coder>
void shared_parameters(Parameters& p, Coder& coder, Fields& fields, States& states) {
  p.coder = fields.number(coder, states);
  require(p.coder >= 0 && p.coder <= 2);
  p.moves = Transitions::usual();
  if (p.coder == 2) {
    const Transitions usual = p.moves;
    for (int i = 1; i < 256; ++i) {
      p.moves.set(i, static_cast<uint8_t>(usual.after_1[i] + fields.number(coder, states, true)));
    }
  }
  const int32_t space = fields.number(coder, states);
  p.bits = p.version > 0 ? fields.number(coder, states) : 8;
  if (p.bits == 0) p.bits = 8;
  p.chroma = fields.flag(coder, states[0]);
  p.right = fields.number(coder, states);
  p.down = fields.number(coder, states);
  p.alpha = fields.flag(coder, states[0]);
  require(space >= 0 && space <= 1 && p.bits >= 8 && p.bits <= 16);
  require(p.right >= 0 && p.right <= 2 && p.down >= 0 && p.down <= 2);
  p.rgb = space == 1;
  require(!p.rgb || (p.chroma && p.right == 0 && p.down == 0));
}

// The configuration record of version 3. Its check is left to the file that has it.
inline Parameters configuration(std::string_view record) {
  const Transitions usual = Transitions::usual();
  require(record.size() > 4);
  RangeReader coder(record.substr(0, record.size() - 4), usual);
  Fields fields;
  States states = fresh_states();
  Parameters p;
  p.version = fields.number(coder, states);
  require(p.version == 3);
  p.micro = fields.number(coder, states);
  shared_parameters(p, coder, fields, states);
  p.columns = fields.number(coder, states) + 1;
  p.rows = fields.number(coder, states) + 1;
  require(p.columns >= 1 && p.columns <= Parameters::kMostSlices);
  require(p.rows >= 1 && p.rows <= Parameters::kMostSlices);
  const int32_t count = fields.number(coder, states);
  require(count >= 1 && count <= Parameters::kMostTables);
  for (int i = 0; i < count; ++i) p.tables.push_back(quant_table(coder, fields));
  for (int i = 0; i < count; ++i) {
    p.starts.emplace_back();
    if (!fields.flag(coder, states[0])) continue;
    std::array<States, 32> each;
    each.fill(fresh_states());
    States last = fresh_states();
    for (int c = 0; c < p.tables[i].contexts; ++c) {
      for (int k = 0; k < 32; ++k) last[k] = static_cast<uint8_t>(last[k] + symbol(coder, 0, each[k], true));
      p.starts[i].push_back(last);
    }
  }
  p.checks = fields.number(coder, states);
  require(p.checks >= 0 && p.checks <= 1);
  return p;
}

// The parameters in a key frame of version 0 or 1.
template <typename Coder>
Parameters old_parameters(Coder& coder, Fields& fields) {
  States states = fresh_states();
  Parameters p;
  p.version = fields.number(coder, states);
  require(p.version >= 0 && p.version <= 1);
  shared_parameters(p, coder, fields, states);
  p.tables.push_back(quant_table(coder, fields));
  p.starts.emplace_back();
  return p;
}

}  // namespace lmc::ffv1
