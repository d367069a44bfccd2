// A JPEG file as what a frame keeps of it: the bytes outside its coded segments, the choices of its
// encoder, and its coefficients.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "jpeg_parse.hpp"
#include "jpeg_scan.hpp"

namespace lmc::jpeg {

// No file has more blocks than this beside one for each of its bytes; so a header's word costs little.
constexpr uint64_t kFreeBlocks = 1 << 20;

struct File {
  Headers headers;
  std::vector<Plane> planes;
  std::vector<uint8_t> outside;  // the bytes outside the coded segments
  Choices choices;

  // Gives the planes their shape. size: of the file. Throws Unknown.
  void shape(size_t size) {
    uint64_t blocks = 0;
    for (const Component& c : headers.components) blocks += padded(c);
    if (blocks > kFreeBlocks + size) throw Unknown("more blocks than bytes");
    planes.resize(headers.components.size());
    for (size_t i = 0; i < planes.size(); ++i) {
      const Component& c = headers.components[i];
      planes[i].shape(headers.mcu_columns * c.h, headers.mcu_rows * c.v);
    }
  }
  uint64_t blocks() const {
    uint64_t sum = 0;
    for (const Component& c : headers.components) sum += padded(c);
    return sum;
  }

 private:
  uint64_t padded(const Component& c) const {
    return static_cast<uint64_t>(headers.mcu_columns * c.h) * static_cast<uint64_t>(headers.mcu_rows * c.v);
  }
};

// Takes a file apart. Throws Unknown.
inline File take_apart(const uint8_t* data, size_t size) {
  File f;
  size_t at = 0, from = 0;
  while (f.headers.next_scan(data, size, at)) {
    if (f.planes.empty()) {
      f.shape(size);
      for (size_t i = 0; i < f.planes.size(); ++i)
        for (int y = 0; y < f.headers.mcu_rows * f.headers.components[i].v; ++y) f.planes[i].make_row(y);
    }
    f.outside.insert(f.outside.end(), data + from, data + at);
    Scan& scan = f.headers.scans.back();
    scan.headers_end = f.outside.size();
    ScanReader(f.headers, scan, f.planes, f.choices).read(data, size, at);
    from = at;
  }
  f.outside.insert(f.outside.end(), data + from, data + size);
  f.headers.finish();
  for (const Plane& plane : f.planes)
    if (!plane.in_range()) throw Unknown("a coefficient out of range");
  return f;
}

// The file again, of `size` bytes. Throws Unknown.
inline std::vector<uint8_t> put_together(const File& f, size_t size) {
  std::vector<uint8_t> out;
  size_t from = 0, padding = 0;
  const auto copy = [&](size_t to) {
    if (to - from > size - out.size()) throw Unknown("the file is too long");
    out.insert(out.end(), f.outside.data() + from, f.outside.data() + to);
    from = to;
  };
  for (size_t s = 0; s < f.headers.scans.size(); ++s) {
    copy(f.headers.scans[s].headers_end);
    ScanWriter(f.headers, s, f.planes, f.choices, padding, out, size).write();
  }
  copy(f.outside.size());
  if (out.size() != size) throw Unknown("the file is too short");
  return out;
}

// ---- choices and headers as bytes (FORMAT.md, 5.5) --------------------------------------------------

inline void put_number(std::vector<uint8_t>& out, uint64_t v) {
  for (; v >= 128; v >>= 7) out.push_back(static_cast<uint8_t>(v | 128));
  out.push_back(static_cast<uint8_t>(v));
}

constexpr int kOnes = 0, kZeros = 1, kGiven = 2, kRuns = 4;  // the first byte

inline std::vector<uint8_t> to_bytes(const File& f) {
  std::vector<uint8_t> out;
  const Choices& c = f.choices;
  size_t ones = 0;
  for (uint8_t bit : c.padding) ones += bit;
  const int fill = ones == c.padding.size() ? kOnes : ones == 0 ? kZeros : kGiven;
  out.push_back(static_cast<uint8_t>(fill | (c.runs.empty() ? 0 : kRuns)));
  if (fill == kGiven) {
    put_number(out, c.padding.size());
    for (size_t i = 0; i < c.padding.size(); i += 8) {
      int byte = 0;
      for (size_t j = i; j < i + 8; ++j) byte = byte * 2 + (j < c.padding.size() && c.padding[j] != 0);
      out.push_back(static_cast<uint8_t>(byte));
    }
  }
  if (!c.runs.empty()) {
    put_number(out, c.runs.size());
    for (const auto& runs : c.runs) {
      put_number(out, runs.size());
      for (uint16_t run : runs) put_number(out, run);
    }
  }
  out.insert(out.end(), f.outside.begin(), f.outside.end());
  return out;
}

// A file without its coefficients. size: of the file. Throws Unknown.
inline File from_bytes(const uint8_t* data, size_t n, size_t size) {
  File f;
  size_t at = 0;
  const auto byte = [&] {
    if (at >= n) throw Unknown("what is outside the scans is cut");
    return data[at++];
  };
  const auto number = [&] {
    uint64_t v = 0;
    for (int shift = 0; shift < 35; shift += 7) {
      const uint8_t b = byte();
      v |= static_cast<uint64_t>(b & 127) << shift;
      if (b < 128) return v;
    }
    throw Unknown("a number is too long");
  };
  const int flags = byte(), fill = flags & 3;
  if (flags > (kGiven | kRuns) || fill > kGiven) throw Unknown("no such choices");
  f.choices.fill = fill == kZeros ? 0 : 1;
  if (fill == kGiven) {
    const uint64_t bits = number();
    if (bits > (n - at) * 8) throw Unknown("what is outside the scans is cut");
    for (uint64_t i = 0, held = 0; i < bits; ++i) {
      if (i % 8 == 0) held = byte();
      f.choices.padding.push_back(static_cast<uint8_t>(held >> (7 - i % 8) & 1));
    }
  }
  if (flags & kRuns) {
    const uint64_t scans = number();
    if (scans > kMaxScans) throw Unknown("too many scans");
    for (uint64_t s = 0; s < scans; ++s) {
      f.choices.runs.emplace_back();
      for (uint64_t left = number(); left > 0; --left) f.choices.runs.back().push_back(static_cast<uint16_t>(number()));
    }
  }
  f.outside.assign(data + at, data + n);
  at = 0;
  while (f.headers.next_scan(f.outside.data(), f.outside.size(), at)) f.headers.scans.back().headers_end = at;
  f.headers.finish();
  f.shape(size);
  return f;
}

}  // namespace lmc::jpeg
