// Bits of FLAC frames, the highest of a byte first, and their checks (RFC 9639, 9.1.8 and 9.3).
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace lmc::flac {

// The bits are no FLAC frame, or one that is not understood, or no recipe of one.
struct Bad : std::runtime_error {
  Bad() : std::runtime_error("no FLAC frame that can be written again") {}
};

inline void require(bool right) {
  if (!right) throw Bad();
}

// Number of bits that a value has: 0 for 0.
inline int length_of(uint64_t value) { return value == 0 ? 0 : 64 - __builtin_clzll(value); }

class BitReader {
 public:
  BitReader(const uint8_t* data, size_t size) : data_(data), size_(size) {}

  // n <= 33 bits. Raises Bad behind the end.
  uint64_t read(int n) {
    if (n == 0) return 0;
    const uint64_t value = peek() >> (64 - n);
    skip(static_cast<size_t>(n));
    return value;
  }
  int64_t read_signed(int n) {
    if (n == 0) return 0;
    const int64_t value = static_cast<int64_t>(peek()) >> (64 - n);
    skip(static_cast<size_t>(n));
    return value;
  }
  // Zeros before the next one.
  uint64_t unary() {
    uint64_t zeros = 0;
    for (;;) {
      const uint64_t bits = peek() >> 8;  // 56 bits that are there
      if (bits != 0) {
        const int here = __builtin_clzll(bits) - 8;
        skip(static_cast<size_t>(here) + 1);
        return zeros + static_cast<uint64_t>(here);
      }
      skip(56);
      zeros += 56;
    }
  }
  size_t at() const { return at_; }  // in bits

 private:
  void skip(size_t n) {
    at_ += n;
    require(at_ <= 8 * size_);
  }
  // At least 57 bits from here on; zeros behind the end.
  uint64_t peek() const {
    const size_t byte = at_ >> 3;
    uint64_t word = 0;
    if (byte + 8 <= size_) {
      __builtin_memcpy(&word, data_ + byte, 8);
      word = __builtin_bswap64(word);
    } else {
      for (size_t i = 0; i < 8; ++i) word = word << 8 | (byte + i < size_ ? data_[byte + i] : 0);
    }
    return word << (at_ & 7);
  }

  const uint8_t* data_;
  size_t size_, at_ = 0;
};
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words of bits are swapped");

class BitWriter {
 public:
  // n <= 33 bits of value.
  void write(uint64_t value, int n) {
    held_ = held_ << n | (value & ((uint64_t{1} << n) - 1));
    for (count_ += n; count_ >= 8; count_ -= 8) out_.push_back(static_cast<uint8_t>(held_ >> (count_ - 8)));
  }
  void unary(uint64_t zeros) {
    for (; zeros >= 32; zeros -= 32) write(0, 32);
    write(1, static_cast<int>(zeros) + 1);
  }
  void align() {
    if (count_ != 0) write(0, 8 - count_);
  }
  size_t size() const { return out_.size(); }  // whole bytes
  std::vector<uint8_t>& bytes() { return out_; }

 private:
  std::vector<uint8_t> out_;
  uint64_t held_ = 0;
  int count_ = 0;
};

template <typename Word, Word polynomial>
Word crc(const uint8_t* data, size_t size) {
  constexpr int kBits = 8 * sizeof(Word);
  static const std::array<Word, 256> table = [] {
    std::array<Word, 256> t{};
    for (uint32_t i = 0; i < 256; ++i) {
      uint32_t c = i << (kBits - 8);
      for (int k = 0; k < 8; ++k) c = c << 1 ^ (c >> (kBits - 1) & 1 ? polynomial : 0);
      t[i] = static_cast<Word>(c);
    }
    return t;
  }();
  Word c = 0;
  for (size_t i = 0; i < size; ++i) c = static_cast<Word>(c << 8 ^ table[(c >> (kBits - 8) ^ data[i]) & 255]);
  return c;
}
inline uint8_t crc8(const uint8_t* data, size_t size) { return crc<uint8_t, 0x07>(data, size); }
inline uint16_t crc16(const uint8_t* data, size_t size) { return crc<uint16_t, 0x8005>(data, size); }

}  // namespace lmc::flac
