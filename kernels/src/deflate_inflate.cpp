// Inflate, keeping what a plain inflate throws away: tokens, blocks and their headers.
#include "deflate_codes.hpp"

namespace lmc::deflate {
namespace {

struct Wrong {};

class BitReader {
 public:
  BitReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}
  uint32_t peek(int n) {
    while (held_ < n) {
      // Zeros behind the end; take() finds out if any are used.
      value_ |= uint64_t{at_ < size_ ? data_[at_] : uint8_t{0}} << held_;
      ++at_;
      held_ += 8;
    }
    return static_cast<uint32_t>(value_ & ((uint64_t{1} << n) - 1));
  }
  void drop(int n) {
    value_ >>= n;
    held_ -= n;
    if (at_ - static_cast<size_t>(held_ / 8) > size_) throw Wrong{};
  }
  uint32_t take(int n) {
    if (n == 0) return 0;
    const uint32_t v = peek(n);
    drop(n);
    return v;
  }
  uint32_t align() { return take(held_ % 8); }
  size_t place() const { return at_ - static_cast<size_t>(held_ / 8); }  // the next whole byte
  const uint8_t* bytes(size_t n) {                                       // at a byte boundary
    const size_t from = place();
    if (n > size_ - from) throw Wrong{};
    at_ = from + n;
    value_ = 0;
    held_ = 0;
    return data_ + from;
  }

 private:
  const uint8_t* data_;
  size_t size_, at_ = 0;
  uint64_t value_ = 0;
  int held_ = 0;
};

// Symbols of a canonical code by one look-up of `kBits` bits, and bit by bit where codes are longer.
class Decoder {
 public:
  void assign(const uint8_t* lengths, int n, int bits) {
    bits_ = bits;
    table_.assign(size_t{1} << bits, 0);
    uint16_t codes[kLiterals];
    assign_codes(lengths, n, codes);
    int32_t room = 1 << bits;
    for (int i = 0; i < n; ++i) {
      if (lengths[i] == 0) continue;
      room -= 1 << (bits - lengths[i]);
      if (room < 0) throw Wrong{};  // more codes than there are
      for (size_t c = codes[i]; c < table_.size(); c += size_t{1} << lengths[i]) {
        table_[c] = static_cast<uint16_t>(i << 4 | lengths[i]);
      }
    }
  }
  int read(BitReader& in) const {
    const uint16_t found = table_[in.peek(bits_)];
    if ((found & 15) == 0) throw Wrong{};
    in.drop(found & 15);
    return found >> 4;
  }

 private:
  int bits_ = 0;
  std::vector<uint16_t> table_;
};

Header read_header(BitReader& in) {
  Header h;
  h.literals = static_cast<int>(in.take(5)) + 257;
  h.distances = static_cast<int>(in.take(5)) + 1;
  h.codes = static_cast<int>(in.take(4)) + 4;
  if (h.literals > 286 || h.distances > 30) throw Wrong{};
  for (int i = 0; i < h.codes; ++i) h.code_lengths[kCodeOrder[i]] = static_cast<uint8_t>(in.take(3));
  Decoder decoder;
  decoder.assign(h.code_lengths, kLengthCodes, 7);
  const int n = h.literals + h.distances;
  const auto place = [&](int i) -> uint8_t& { return h.lengths[i < h.literals ? i : kLiterals + i - h.literals]; };
  for (int i = 0; i < n;) {
    const int symbol = decoder.read(in);
    h.symbols.push_back(static_cast<uint8_t>(symbol));
    if (symbol < 16) {
      place(i++) = static_cast<uint8_t>(symbol);
      continue;
    }
    const uint32_t extra = in.take(symbol == 16 ? 2 : symbol == 17 ? 3 : 7);
    h.symbols.push_back(static_cast<uint8_t>(extra));
    const int run = static_cast<int>(extra) + (symbol == 18 ? 11 : 3);
    if (run > n - i || (symbol == 16 && i == 0)) throw Wrong{};
    const uint8_t length = symbol == 16 ? place(i - 1) : 0;
    for (int k = 0; k < run; ++k) place(i++) = length;
  }
  if (h.lengths[kEndOfBlock] == 0) throw Wrong{};
  return h;
}

void read_stored(BitReader& in, Block& block, Stream& out, size_t most) {
  if (in.align() != 0) throw Wrong{};  // stray bits: nobody writes them
  block.count = in.take(16);
  if ((in.take(16) ^ block.count) != 0xFFFF || block.count > most - out.bytes.size()) throw Wrong{};
  const uint8_t* bytes = in.bytes(block.count);
  out.bytes.insert(out.bytes.end(), bytes, bytes + block.count);
}

void read_tokens(BitReader& in, const uint8_t* lengths, Block& block, Stream& out, size_t most) {
  Decoder literals, distances;
  literals.assign(lengths, kLiterals, 15);
  distances.assign(lengths + kLiterals, kDistances, 15);
  for (;; ++block.count) {
    const int symbol = literals.read(in);
    if (symbol == kEndOfBlock) return;
    if (symbol < 256) {
      if (out.bytes.size() == most) throw Wrong{};
      out.bytes.push_back(static_cast<uint8_t>(symbol));
      out.tokens.push_back({});
      continue;
    }
    const int l = symbol - 257;
    if (l > 28) throw Wrong{};
    const uint32_t length = kLengthBase[l] + in.take(kLengthExtra[l]);
    if (length_code(length) != l) throw Wrong{};  // 258 in the long way
    const int d = distances.read(in);
    if (d > 29) throw Wrong{};
    const uint32_t distance = kDistanceBase[d] + in.take(distance_extra(d));
    const size_t at = out.bytes.size();
    if (distance > at || length > most - at) throw Wrong{};
    out.tokens.push_back({static_cast<uint16_t>(length), static_cast<uint16_t>(distance)});
    for (uint32_t i = 0; i < length; ++i) out.bytes.push_back(out.bytes[at + i - distance]);
  }
}

}  // namespace

std::optional<Stream> inflate(const uint8_t* data, size_t size, size_t most, bool exact) {
  Stream out;
  BitReader in(data, size);
  // Every block takes 3 bits at least, and a token 1: both lists are bounded by `size`.
  try {
    for (bool last = false; !last;) {
      last = in.take(1) != 0;
      const uint32_t kind = in.take(2);
      Block block;
      if (kind == 3) return {};
      block.kind = static_cast<Kind>(kind);
      if (kind == kStored) {
        read_stored(in, block, out, most);
      } else if (kind == kFixed) {
        uint8_t lengths[kLiterals + kDistances];
        fixed_lengths(lengths);
        read_tokens(in, lengths, block, out, most);
      } else {
        block.header = read_header(in);
        read_tokens(in, block.header.lengths, block, out, most);
      }
      out.blocks.push_back(std::move(block));
    }
    out.padding = static_cast<uint8_t>(in.align());
  } catch (const Wrong&) {
    return {};
  }
  if (exact && out.bytes.size() != most) return {};
  out.size = in.place();
  return out;
}

}  // namespace lmc::deflate
