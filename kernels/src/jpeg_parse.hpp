// What the headers of a JPEG file say: components, tables and scans.
//
// One parser serves both directions. It walks the bytes of a file that lie outside the entropy-coded
// segments: compressing, it stops at each scan until the scan's end is known; restoring, the bytes
// have no such segments between them, and it walks through.
//
// Source: ITU-T T.81 (1992), annex B.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

namespace lmc::jpeg {

// Something that this codec does not know: no JPEG for it, or, where a payload said it, damage.
struct Unknown : std::runtime_error {
  using std::runtime_error::runtime_error;
};

constexpr int kMaxComponents = 4, kMaxScans = 100;

// Places of the coefficients in the order of the scans; a place is 8 * vertical + horizontal frequency.
constexpr uint8_t kZigzag[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
                                 41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
                                 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

// A Huffman code in both directions.
struct Huffman {
  static constexpr int kFast = 9;  // bits that one look resolves
  std::array<uint16_t, 256> code{};
  std::array<uint8_t, 256> length{};                  // of a symbol's code, 0: it has none
  std::array<uint16_t, 1 << kFast> fast{};            // length << 8 | symbol, 0: longer
  std::array<int32_t, 17> first{}, limit{}, offset{};  // of the codes of each length
  std::array<uint8_t, 256> symbols{};

  // counts: number of codes of 1 to 16 bits; values: their symbols in order. Throws Unknown.
  Huffman(const uint8_t* counts, const uint8_t* values) {
    int32_t next = 0;
    int at = 0;
    for (int bits = 1; bits <= 16; ++bits) {
      first[static_cast<size_t>(bits)] = next;
      offset[static_cast<size_t>(bits)] = at;
      for (int i = 0; i < counts[bits - 1]; ++i, ++at, ++next) {
        const uint8_t symbol = values[at];
        if (next >= 1 << bits) throw Unknown("a Huffman table with too many codes");
        symbols[static_cast<size_t>(at)] = symbol;
        code[symbol] = static_cast<uint16_t>(next);
        length[symbol] = static_cast<uint8_t>(bits);
        if (bits > kFast) continue;
        const int spare = kFast - bits;
        for (int j = 0; j < 1 << spare; ++j)
          fast[static_cast<size_t>((next << spare) + j)] = static_cast<uint16_t>(bits << 8 | symbol);
      }
      limit[static_cast<size_t>(bits)] = next;
      next <<= 1;
    }
  }
};

struct Component {
  int id = 0, h = 1, v = 1, table = 0;
  bool scanned = false;         // a scan has had it, and so quant is known
  bool interleaved = false;     // some scan has it among others, and so codes whole MCUs
  int own_width = 0, own_height = 0;  // blocks that its samples need
  int width = 0, height = 0;    // blocks that are coded
  std::array<uint16_t, 64> quant{};  // steps by place
};

struct Scan {
  size_t headers_end = 0;       // bytes of the headers up to its coded segments
  int components = 0;
  std::array<int, 4> component{};
  std::array<std::shared_ptr<const Huffman>, 4> dc, ac;
  int first = 0, last = 63, high = 0, low = 0;  // spectral selection, successive approximation
  uint32_t restart = 0;         // MCUs between restart markers, 0: none
};

class Headers {
 public:
  std::vector<Component> components;
  std::vector<Scan> scans;
  bool progressive = false;
  int mcu_columns = 0, mcu_rows = 0, h = 1, v = 1;  // MCUs, and the largest sampling factors

  // Reads on from data[at] to behind the next start of a scan: its index in `scans` is the last one.
  // False at the end of the image or of the data. Throws Unknown.
  bool next_scan(const uint8_t* data, size_t size, size_t& at) {
    if (!begun_) {
      if (size < 4 || data[0] != 0xFF || data[1] != 0xD8) throw Unknown("no start of an image");
      at = 2;
      begun_ = true;
    }
    for (;;) {
      // Whatever lies between a scan and the next marker belongs to the headers.
      while (at + 1 < size && (data[at] != 0xFF || data[at + 1] == 0 || data[at + 1] == 0xFF)) ++at;
      if (at + 1 >= size) return false;
      const int marker = data[at + 1];
      at += 2;
      if (marker == 0xD9) return false;
      if (marker == 0x01 || (marker >= 0xD0 && marker <= 0xD8)) throw Unknown("a marker out of place");
      if (at + 2 > size) throw Unknown("a segment is cut");
      const size_t length = static_cast<size_t>(data[at]) << 8 | data[at + 1];
      if (length < 2 || length > size - at) throw Unknown("a segment is cut");
      const uint8_t* body = data + at + 2;
      const size_t n = length - 2;
      at += length;
      if (marker == 0xDB) quantisation(body, n);
      else if (marker == 0xC4) huffman(body, n);
      else if (marker == 0xDD) restart(body, n);
      else if (marker == 0xC0 || marker == 0xC1 || marker == 0xC2) frame(body, n, marker == 0xC2);
      else if (marker >= 0xC3 && marker <= 0xCF && marker != 0xC8) throw Unknown("a process of JPEG that is rare");
      else if (marker == 0xDC || marker == 0xDE || marker == 0xDF) throw Unknown("a segment that is rare");
      else if (marker == 0xDA) {
        scan(body, n, at);
        return true;
      }
    }
  }

  // Blocks of all components; to be called when all scans are known.
  uint64_t finish() {
    if (scans.empty()) throw Unknown("no scan");
    uint64_t blocks = 0;
    for (Component& c : components) {
      if (!c.scanned) throw Unknown("a component without a scan");
      c.width = c.interleaved ? mcu_columns * c.h : c.own_width;
      c.height = c.interleaved ? mcu_rows * c.v : c.own_height;
      blocks += static_cast<uint64_t>(c.width) * static_cast<uint64_t>(c.height);
    }
    return blocks;
  }

 private:
  void quantisation(const uint8_t* p, size_t n) {
    while (n > 0) {
      const int wide = *p >> 4, id = *p & 15;
      const size_t bytes = wide ? 128 : 64;
      if (wide > 1 || id > 3 || n < 1 + bytes) throw Unknown("a quantisation table");
      ++p;
      for (size_t i = 0; i < 64; ++i, p += wide ? 2 : 1) {
        const int step = wide ? p[0] << 8 | p[1] : p[0];
        if (step == 0) throw Unknown("a quantisation table");
        quant_[id][kZigzag[i]] = static_cast<uint16_t>(step);
      }
      has_quant_[id] = true;
      n -= 1 + bytes;
    }
  }

  void huffman(const uint8_t* p, size_t n) {
    while (n > 0) {
      const int kind = *p >> 4, id = *p & 15;
      if (n < 17 || kind > 1 || id > 3) throw Unknown("a Huffman table");
      size_t symbols = 0;
      for (int i = 1; i <= 16; ++i) symbols += p[i];
      if (symbols > 256 || n < 17 + symbols) throw Unknown("a Huffman table");
      huffman_[kind][id] = std::make_shared<const Huffman>(p + 1, p + 17);
      p += 17 + symbols;
      n -= 17 + symbols;
    }
  }

  void restart(const uint8_t* p, size_t n) {
    if (n != 2) throw Unknown("a restart interval");
    restart_ = static_cast<uint32_t>(p[0] << 8 | p[1]);
  }

  void frame(const uint8_t* p, size_t n, bool is_progressive) {
    if (!components.empty() || n < 6 || p[0] != 8) throw Unknown("a frame header");
    const int height = p[1] << 8 | p[2], width = p[3] << 8 | p[4], number = p[5];
    if (height == 0 || width == 0 || number < 1 || number > kMaxComponents ||
        n != 6 + 3 * static_cast<size_t>(number)) {
      throw Unknown("a frame header");
    }
    progressive = is_progressive;
    for (int i = 0; i < number; ++i) {
      Component c;
      c.id = p[6 + 3 * i];
      c.h = p[7 + 3 * i] >> 4;
      c.v = p[7 + 3 * i] & 15;
      c.table = p[8 + 3 * i];
      if (c.h < 1 || c.h > 4 || c.v < 1 || c.v > 4 || c.table > 3) throw Unknown("a frame header");
      for (const Component& other : components)
        if (other.id == c.id) throw Unknown("two components of one name");
      if (c.h > h) h = c.h;
      if (c.v > v) v = c.v;
      components.push_back(c);
    }
    const auto parts = [](int size, int of) { return (size + of - 1) / of; };
    mcu_columns = parts(width, 8 * h);
    mcu_rows = parts(height, 8 * v);
    for (Component& c : components) {
      c.own_width = parts(parts(width * c.h, h), 8);
      c.own_height = parts(parts(height * c.v, v), 8);
    }
  }

  void scan(const uint8_t* p, size_t n, size_t end) {
    Scan s;
    if (components.empty() || n < 1 || scans.size() >= kMaxScans) throw Unknown("a scan header");
    s.components = p[0];
    if (s.components < 1 || s.components > 4 || n != 4 + 2 * static_cast<size_t>(s.components)) {
      throw Unknown("a scan header");
    }
    const uint8_t* tail = p + 1 + 2 * s.components;
    s.first = tail[0];
    s.last = tail[1];
    s.high = tail[2] >> 4;
    s.low = tail[2] & 15;
    if (progressive) {
      const bool dc = s.first == 0;
      if (s.first > s.last || s.last > 63 || (dc && s.last != 0) || (!dc && s.components != 1) || s.low > 13 ||
          (s.high != 0 && s.high != s.low + 1)) {
        throw Unknown("a scan header");
      }
    } else if (s.first != 0 || s.last != 63 || s.high != 0 || s.low != 0) {
      throw Unknown("a scan header");
    }
    int blocks = 0;
    for (int i = 0; i < s.components; ++i) {
      const size_t slot = static_cast<size_t>(i);
      size_t which = 0;
      while (which < components.size() && components[which].id != p[1 + 2 * i]) ++which;
      if (which == components.size()) throw Unknown("a scan of no component");
      for (size_t j = 0; j < slot; ++j)
        if (s.component[j] == static_cast<int>(which)) throw Unknown("a component twice in a scan");
      const int tables = p[2 + 2 * i];
      if ((tables >> 4) > 3 || (tables & 15) > 3) throw Unknown("a scan header");
      s.component[slot] = static_cast<int>(which);
      s.dc[slot] = huffman_[0][tables >> 4];
      s.ac[slot] = huffman_[1][tables & 15];
      const bool needs_dc = s.first == 0 && s.high == 0, needs_ac = s.last > 0;
      if ((needs_dc && !s.dc[slot]) || (needs_ac && !s.ac[slot])) throw Unknown("a scan without its tables");
      Component& c = components[which];
      if (!c.scanned) {
        if (!has_quant_[c.table]) throw Unknown("a component without its table");
        c.quant = quant_[c.table];
        c.scanned = true;
      }
      if (s.components > 1) c.interleaved = true;
      blocks += c.h * c.v;
    }
    if (s.components > 1 && blocks > 10) throw Unknown("a scan header");
    s.restart = restart_;
    s.headers_end = end;
    scans.push_back(std::move(s));
  }

  bool begun_ = false;
  uint32_t restart_ = 0;
  std::array<std::array<uint16_t, 64>, 4> quant_{};
  std::array<bool, 4> has_quant_{};
  std::shared_ptr<const Huffman> huffman_[2][4];
};

}  // namespace lmc::jpeg
