// The entropy-coded segments of a JPEG file, to coefficients and back.
//
// The way back writes what libjpeg would: the longest runs of ended blocks, and no run of zeros that
// is not needed. Where a file chose otherwise for its runs, their lengths are given (Choices); where
// it did anything else, the file is not rebuilt, and is found so by whoever compresses.
//
// Source: ITU-T T.81 (1992), annexes F and G; the buffering of correction bits is libjpeg's
// (jcphuff.c), because it decides where runs end.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "jpeg_parse.hpp"

namespace lmc::jpeg {

// Quantised coefficients of a component: rows of blocks, that exist from their first use on.
class Plane {
 public:
  void shape(int width, int height) {
    width_ = static_cast<size_t>(width);
    rows_.resize(static_cast<size_t>(height));
  }
  void make_row(int y) {
    auto& row = rows_[static_cast<size_t>(y)];
    if (row.empty()) row.resize(width_ * 64);
  }
  int16_t* block(int x, int y) { return rows_[static_cast<size_t>(y)].data() + static_cast<size_t>(x) * 64; }
  const int16_t* block(int x, int y) const {
    return rows_[static_cast<size_t>(y)].data() + static_cast<size_t>(x) * 64;
  }
  // What 8-bit samples can make: 11 bits for DC, 10 for the others.
  bool in_range() const {
    for (const auto& row : rows_) {
      for (size_t i = 0; i < row.size(); ++i) {
        const int most = i % 64 == 0 ? 2047 : 1023;
        if (row[i] > most || row[i] < -most) return false;
      }
    }
    return true;
  }

 private:
  size_t width_ = 0;
  std::vector<std::vector<int16_t>> rows_;
};

// What a file chose that its coefficients do not say.
struct Choices {
  uint8_t fill = 1;                         // a bit that fills a segment's last byte, where padding has none
  std::vector<uint8_t> padding;             // all such bits in order, as 0/1
  std::vector<std::vector<uint16_t>> runs;  // of each scan: the lengths of its runs of ended blocks
};

// Calls f(slot, component, x, y) for the blocks of a scan in order, and restart() before each MCU
// that a restart marker precedes.
template <typename Block, typename Restart>
void walk(const Headers& headers, const Scan& s, Block&& f, Restart&& restart) {
  uint32_t left = s.restart;
  const auto begin = [&] {
    if (s.restart == 0) return;
    if (left == 0) {
      restart();
      left = s.restart;
    }
    --left;
  };
  if (s.components == 1) {
    const int which = s.component[0];
    const Component& c = headers.components[static_cast<size_t>(which)];
    for (int y = 0; y < c.own_height; ++y) {
      for (int x = 0; x < c.own_width; ++x) {
        begin();
        f(0, which, x, y);
      }
    }
    return;
  }
  for (int my = 0; my < headers.mcu_rows; ++my) {
    for (int mx = 0; mx < headers.mcu_columns; ++mx) {
      begin();
      for (int i = 0; i < s.components; ++i) {
        const int which = s.component[static_cast<size_t>(i)];
        const Component& c = headers.components[static_cast<size_t>(which)];
        for (int y = 0; y < c.v; ++y)
          for (int x = 0; x < c.h; ++x) f(i, which, mx * c.h + x, my * c.v + y);
      }
    }
  }
}

constexpr int kMostRun = 0x7FFF;
constexpr size_t kMostCorrections = 937;  // of a run, before libjpeg ends it

// Reads one scan's segments.
class ScanReader {
 public:
  ScanReader(const Headers& headers, const Scan& s, std::vector<Plane>& planes, Choices& choices)
      : headers_(headers), s_(s), planes_(planes), choices_(choices) {}

  // Reads from data[at] and leaves `at` behind the scan's last byte. Throws Unknown.
  void read(const uint8_t* data, size_t size, size_t& at) {
    data_ = data;
    size_ = size;
    at_ = at;
    choices_.runs.emplace_back();
    open();
    walk(
        headers_, s_,
        [&](int slot, int which, int x, int y) {
          const size_t i = static_cast<size_t>(slot);
          int16_t* block = planes_[static_cast<size_t>(which)].block(x, y);
          if (!headers_.progressive) {
            dc_first(i, block);
            ac_first(i, block, 1, 63, false);
          } else if (s_.first == 0) {
            if (s_.high == 0) dc_first(i, block);
            else if (bits(1)) block[0] = static_cast<int16_t>(block[0] | 1 << s_.low);
          } else if (s_.high == 0) {
            ac_first(i, block, s_.first, s_.last, true);
          } else {
            ac_refine(block);
          }
        },
        [&] {
          close();
          if (at_ + 1 >= size_ || data_[at_] != 0xFF || data_[at_ + 1] != 0xD0 + restarts_ % 8) {
            throw Unknown("a restart marker is missing");
          }
          ++restarts_;
          at_ += 2;
          open();
        });
    close();
    at = at_;
  }

 private:
  // Takes the bytes up to the next marker, without the zeros that were stuffed in.
  void open() {
    segment_.clear();
    for (size_t i = at_; i < size_;) {
      if (data_[i] != 0xFF) {
        segment_.push_back(data_[i++]);
      } else if (i + 1 < size_ && data_[i + 1] == 0) {
        segment_.push_back(0xFF);
        i += 2;
      } else {
        break;
      }
    }
    bit_ = 0;
    end_ = segment_.size() * 8;
    segment_.insert(segment_.end(), 8, 0);
    last_dc_ = {};
    run_ = 0;
  }
  void close() {
    if (run_ != 0) throw Unknown("a run beyond its segment");
    for (; bit_ % 8 != 0; ++bit_) choices_.padding.push_back(static_cast<uint8_t>(segment_[bit_ / 8] >> (7 - bit_ % 8) & 1));
    for (size_t used = 0; used < bit_ / 8; ++used) at_ += segment_[used] == 0xFF ? 2 : 1;
  }

  uint32_t peek16() const {
    const uint8_t* p = segment_.data() + bit_ / 8;
    const uint32_t v = static_cast<uint32_t>(p[0]) << 16 | static_cast<uint32_t>(p[1]) << 8 | p[2];
    return v >> (8 - bit_ % 8) & 0xFFFF;
  }
  void skip(size_t n) {
    bit_ += n;
    if (bit_ > end_) throw Unknown("a scan is cut");
  }
  int bits(int n) {
    const int v = n == 0 ? 0 : static_cast<int>(peek16() >> (16 - n));
    skip(static_cast<size_t>(n));
    return v;
  }
  int symbol(const Huffman& h) {
    const uint32_t next = peek16();
    const uint16_t quick = h.fast[next >> (16 - Huffman::kFast)];
    if (quick != 0) {
      skip(quick >> 8);
      return quick & 255;
    }
    for (size_t n = Huffman::kFast + 1; n <= 16; ++n) {
      const int32_t code = static_cast<int32_t>(next >> (16 - n));
      if (code < h.limit[n]) {
        if (code < h.first[n]) break;
        skip(n);
        return h.symbols[static_cast<size_t>(h.offset[n] + code - h.first[n])];
      }
    }
    throw Unknown("no such code");
  }
  int signed_bits(int n) {
    const int v = bits(n);
    return n > 0 && v < 1 << (n - 1) ? v - (1 << n) + 1 : v;
  }

  void dc_first(size_t slot, int16_t* block) {
    const int n = symbol(*s_.dc[slot]);
    if (n > 12) throw Unknown("a coefficient out of range");
    int& last = last_dc_[slot];
    last += signed_bits(n);
    if (last > 32767 >> s_.low || last < -(32767 >> s_.low)) throw Unknown("a coefficient out of range");
    block[0] = static_cast<int16_t>(last * (1 << s_.low));
  }

  void ac_first(size_t slot, int16_t* block, int k, int last, bool runs) {
    if (run_ > 0) {
      --run_;
      return;
    }
    while (k <= last) {
      const int rs = symbol(*s_.ac[slot]), r = rs >> 4, n = rs & 15;
      if (n == 0) {
        if (r == 15) {
          k += 16;
          continue;
        }
        if (r != 0 && !runs) throw Unknown("no such code");
        end_run(r);
        --run_;
        return;
      }
      k += r;
      if (k > last || n > 10) throw Unknown("a coefficient out of range");
      block[kZigzag[k++]] = static_cast<int16_t>(signed_bits(n) * (1 << s_.low));
    }
    if (k > last + 1) throw Unknown("a run beyond its block");
  }

  void end_run(int r) {
    run_ = (1 << r) + bits(r);
    if (headers_.progressive) choices_.runs.back().push_back(static_cast<uint16_t>(run_));
  }

  void ac_refine(int16_t* block) {
    const int one = 1 << s_.low;
    int k = s_.first;
    const auto refine = [&](int16_t& c) {
      if (bits(1) && (c & one) == 0) c = static_cast<int16_t>(c > 0 ? c + one : c - one);
    };
    if (run_ == 0) {
      while (k <= s_.last) {
        const int rs = symbol(*s_.ac[0]), n = rs & 15;
        int r = rs >> 4, value = 0;
        if (n == 0) {
          if (r != 15) {
            end_run(r);
            break;
          }
        } else {
          if (n != 1) throw Unknown("a coefficient out of range");
          value = bits(1) ? one : -one;
        }
        for (; k <= s_.last; ++k) {
          int16_t& c = block[kZigzag[k]];
          if (c != 0) refine(c);
          else if (r-- == 0) break;
        }
        if (k > s_.last) {
          if (value != 0 || r >= 0) throw Unknown("a run beyond its block");
          break;
        }
        if (value != 0) block[kZigzag[k]] = static_cast<int16_t>(value);
        ++k;
      }
    }
    if (run_ > 0) {
      for (; k <= s_.last; ++k)
        if (block[kZigzag[k]] != 0) refine(block[kZigzag[k]]);
      --run_;
    }
  }

  const Headers& headers_;
  const Scan& s_;
  std::vector<Plane>& planes_;
  Choices& choices_;
  const uint8_t* data_ = nullptr;
  size_t size_ = 0, at_ = 0;
  std::vector<uint8_t> segment_;
  size_t bit_ = 0, end_ = 0;
  std::array<int, 4> last_dc_{};
  int run_ = 0, restarts_ = 0;
};

// Writes one scan's segments behind `out`, which never gets longer than `most` bytes.
class ScanWriter {
 public:
  // padding: the next bit of Choices::padding to use. Bits that are not given are ones.
  ScanWriter(const Headers& headers, size_t scan, const std::vector<Plane>& planes, const Choices& choices,
             size_t& padding, std::vector<uint8_t>& out, size_t most)
      : headers_(headers), s_(headers.scans[scan]), planes_(planes), choices_(choices), padding_(padding), out_(out),
        most_(most) {
    if (scan < choices.runs.size()) runs_ = &choices.runs[scan];
  }

  // Throws Unknown where the file cannot have been made so.
  void write() {
    walk(
        headers_, s_,
        [&](int slot, int which, int x, int y) {
          const size_t i = static_cast<size_t>(slot);
          const int16_t* block = planes_[static_cast<size_t>(which)].block(x, y);
          if (!headers_.progressive) {
            dc_first(i, block);
            ac_first(i, block, 1, 63, false);
          } else if (s_.first == 0) {
            if (s_.high == 0) dc_first(i, block);
            else put(static_cast<uint32_t>(block[0] >> s_.low & 1), 1);
          } else if (s_.high == 0) {
            ac_first(i, block, s_.first, s_.last, true);
          } else {
            ac_refine(block);
          }
        },
        [&] {
          close();
          out_.push_back(0xFF);
          out_.push_back(static_cast<uint8_t>(0xD0 + restarts_++ % 8));
          if (out_.size() > most_) throw Unknown("a scan is too long");
        });
    close();
  }

 private:
  void put(uint32_t value, int n) {
    held_ = held_ << n | (value & ((uint32_t{1} << n) - 1));
    count_ += n;
    while (count_ >= 8) {
      count_ -= 8;
      const uint8_t byte = static_cast<uint8_t>(held_ >> count_);
      out_.push_back(byte);
      if (byte == 0xFF) out_.push_back(0);
      if (out_.size() > most_) throw Unknown("a scan is too long");
    }
  }
  void symbol(const Huffman& h, int s) {
    const size_t at = static_cast<size_t>(s);
    if (h.length[at] == 0) throw Unknown("a symbol without a code");
    put(h.code[at], h.length[at]);
  }
  void close() {
    end_run();
    while (count_ != 0) {
      put(padding_ < choices_.padding.size() ? choices_.padding[padding_] : choices_.fill, 1);
      ++padding_;
    }
    last_dc_ = {};
  }

  static int width(int v) { return v == 0 ? 0 : 32 - __builtin_clz(static_cast<unsigned>(v)); }

  void signed_value(int v, int n) { put(static_cast<uint32_t>(v < 0 ? v - 1 : v), n); }

  void dc_first(size_t slot, const int16_t* block) {
    const int v = block[0] >> s_.low, d = v - last_dc_[slot];
    last_dc_[slot] = v;
    const int n = width(d < 0 ? -d : d);
    symbol(*s_.dc[slot], n);
    signed_value(d, n);
  }

  void ac_first(size_t slot, const int16_t* block, int k, int last, bool runs) {
    const Huffman& h = *s_.ac[slot];
    int zeros = 0;
    for (; k <= last; ++k) {
      const int c = block[kZigzag[k]], v = (c < 0 ? -c : c) >> s_.low;
      if (v == 0) {
        ++zeros;
        continue;
      }
      end_run();
      for (; zeros > 15; zeros -= 16) symbol(h, 0xF0);
      const int n = width(v);
      symbol(h, zeros << 4 | n);
      signed_value(c < 0 ? -v : v, n);
      zeros = 0;
    }
    if (zeros == 0) return;
    if (runs) longer_run(h);
    else symbol(h, 0);
  }

  // One more block has ended.
  void longer_run(const Huffman& h) {
    of_run_ = &h;
    ++run_;
    if (runs_ != nullptr ? next_run_ < runs_->size() && run_ == (*runs_)[next_run_]
                         : corrections_.size() > kMostCorrections) {
      end_run();
    } else if (run_ == kMostRun) {
      end_run();
    }
  }
  void end_run() {
    if (run_ == 0) return;
    const int n = width(run_) - 1;
    symbol(*of_run_, n << 4);
    if (n > 0) put(static_cast<uint32_t>(run_), n);
    for (uint8_t bit : corrections_) put(bit, 1);
    corrections_.clear();
    run_ = 0;
    ++next_run_;
  }

  void ac_refine(const int16_t* block) {
    const Huffman& h = *s_.ac[0];
    int values[64], newest = 0;
    for (int k = s_.first; k <= s_.last; ++k) {
      const int c = block[kZigzag[k]];
      values[k] = (c < 0 ? -c : c) >> s_.low;
      if (values[k] == 1) newest = k;
    }
    int zeros = 0, bits[64], count = 0;
    const auto corrections = [&] {
      for (int i = 0; i < count; ++i) put(static_cast<uint32_t>(bits[i]), 1);
      count = 0;
    };
    for (int k = s_.first; k <= s_.last; ++k) {
      if (values[k] == 0) {
        ++zeros;
        continue;
      }
      for (; zeros > 15 && k <= newest; zeros -= 16) {
        end_run();
        symbol(h, 0xF0);
        corrections();
      }
      if (values[k] > 1) {
        bits[count++] = values[k] & 1;
        continue;
      }
      end_run();
      symbol(h, zeros << 4 | 1);
      put(block[kZigzag[k]] < 0 ? 0 : 1, 1);
      corrections();
      zeros = 0;
    }
    if (zeros == 0 && count == 0) return;
    for (int i = 0; i < count; ++i) corrections_.push_back(static_cast<uint8_t>(bits[i]));
    longer_run(h);
  }

  const Headers& headers_;
  const Scan& s_;
  const std::vector<Plane>& planes_;
  const Choices& choices_;
  const std::vector<uint16_t>* runs_ = nullptr;
  size_t& padding_;
  std::vector<uint8_t>& out_;
  const size_t most_;
  uint64_t held_ = 0;
  int count_ = 0;
  std::array<int, 4> last_dc_{};
  int run_ = 0, restarts_ = 0;
  size_t next_run_ = 0;
  const Huffman* of_run_ = nullptr;
  std::vector<uint8_t> corrections_;
};

}  // namespace lmc::jpeg
