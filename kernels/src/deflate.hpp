// Deflate streams (RFC 1951) taken apart into the bytes that they hold and a recipe, and written
// again from the two, bit for bit. FORMAT.md, section 5.7, has the recipe's layout.
//
// The idea is that of preflate (Steinhardt): most streams were written by zlib, whose choices
// follow from the bytes and a few parameters. So the recipe has the parameters, and what a
// predictor that knows them gets wrong.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace lmc::deflate {

constexpr uint32_t kMinMatch = 3, kMaxMatch = 258, kMaxDistance = 32768;

// A literal (distance 0, length 1) or a copy of `length` bytes from `distance` back.
struct Token {
  uint16_t length = 1;
  uint16_t distance = 0;
  bool operator==(const Token& o) const { return length == o.length && distance == o.distance; }
  bool operator!=(const Token& o) const { return !(*this == o); }
};

enum Kind : uint8_t { kStored = 0, kFixed = 1, kDynamic = 2, kDescribed = 3 };

constexpr int kLiterals = 288, kDistances = 32, kLengthCodes = 19;

// What a block of dynamic codes says before its tokens.
struct Header {
  int literals = 0, distances = 0;               // code lengths sent: 257 to 286, 1 to 30
  uint8_t lengths[kLiterals + kDistances] = {};  // first those of literals, then of distances
  std::vector<uint8_t> symbols;                  // how they were sent: symbol, then its extra bits (16 to 18)
  int codes = 0;                                 // code length codes sent, 4 to 19
  uint8_t code_lengths[kLengthCodes] = {};       // by symbol, not in the order sent
  bool operator==(const Header& o) const;
};

struct Block {
  Kind kind = kStored;  // never kDescribed here
  uint32_t count = 0;   // tokens, or bytes if stored
  Header header;        // of kDynamic
};

struct Stream {
  std::vector<uint8_t> bytes;
  std::vector<Token> tokens;
  std::vector<Block> blocks;  // only the last is final
  uint8_t padding = 0;        // bits of the last byte behind the stream's end
  size_t size = 0;            // bytes of the stream itself
};

// Inflates a stream of `most` bytes (or of fewer, if not `exact`); none if it is damaged, holds more,
// or is written in a way that no recipe can say. Takes no more memory than data and `most` justify.
std::optional<Stream> inflate(const uint8_t* data, size_t size, size_t most, bool exact = true);

// The recipe of a stream; none if it would be longer than `most` bytes.
std::optional<std::vector<uint8_t>> describe(const Stream& stream, int window_bits, size_t most);

// The stream that has these bytes and this recipe; none if the recipe is damaged.
std::optional<std::vector<uint8_t>> rebuild(const uint8_t* recipe, size_t recipe_size, const uint8_t* bytes,
                                            size_t size);

// A stream of these bytes as zlib's level 6 for filtered content chooses it: its recipe is short.
std::vector<uint8_t> compress(const uint8_t* bytes, size_t size);

}  // namespace lmc::deflate
