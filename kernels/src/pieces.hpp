// How tokenizers of bytes cut a text into pieces, within which bytes are merged: GPT-2's regular expression and those of
// its successors, by hand. Every character belongs to one piece.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "unicode.hpp"

namespace lmc {

struct PieceRules {
  // GPT-2:      's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
  // successors: (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,numbers}| ?[^\s\p{L}\p{N}]+[\r\n]*|
  //             \s*[\r\n]+|\s+(?!\S)|\s+
  bool gpt2;
  bool contractions;  // of a successor: whether it has them; GPT-2 always has
  int numbers;        // of a successor; of GPT-2, 1: the text is cut around every one before
};

class Pieces {
 public:
  explicit Pieces(PieceRules rules) : rules_(rules) {}

  // Cuts UTF-8; what is none is like signs. `ends` receives the byte behind each piece.
  void cut(std::string_view text, std::vector<uint32_t>& ends) {
    read(text);
    ends.clear();
    const size_t count = kinds_.size();
    for (size_t at = 0; at < count;) {
      size_t stop = count;
      if (rules_.gpt2 && rules_.numbers == 1) {
        for (stop = at; stop < count && kinds_[stop] != kNumber;) ++stop;
        if (stop == at) stop = at + 1;
      }
      while (at < stop) {
        at = rules_.gpt2 ? gpt2(text, at, stop) : successor(text, at, stop);
        ends.push_back(begins_[at]);
      }
    }
  }

 private:
  enum Kind : uint8_t { kSign, kLetter, kNumber, kSpace, kLine };  // kLine: CR and LF, spaces as well

  static const std::vector<uint8_t>& kinds() {
    static const std::vector<uint8_t> table = [] {
      std::vector<uint8_t> kind(0x110000, kSign);
      for (const auto& [first, last] : kLetters) std::fill(&kind[first], &kind[last] + 1, kLetter);
      for (const auto& [first, last] : kNumbers) std::fill(&kind[first], &kind[last] + 1, kNumber);
      for (const uint32_t code : {0x9, 0xB, 0xC, 0x20, 0x85, 0xA0, 0x1680, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000}) kind[code] = kSpace;
      for (uint32_t code = 0x2000; code <= 0x200A; ++code) kind[code] = kSpace;
      kind['\r'] = kind['\n'] = kLine;
      return kind;
    }();
    return table;
  }

  void read(std::string_view text) {
    const std::vector<uint8_t>& kind = kinds();
    kinds_.clear();
    begins_.clear();
    for (size_t at = 0; at < text.size();) {
      begins_.push_back(static_cast<uint32_t>(at));
      const auto byte = [&](size_t i) { return static_cast<uint32_t>(static_cast<uint8_t>(text[at + i])); };
      const uint32_t first = byte(0);
      const size_t size = first < 0xC0 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
      uint32_t code = size == 1 ? first : first & (0x7Fu >> size);
      bool good = first < 0x80 || size > 1;
      for (size_t i = 1; good && i < size; ++i) {
        good = at + i < text.size() && byte(i) >> 6 == 2;
        if (good) code = code << 6 | (byte(i) & 0x3F);
      }
      good = good && code < kind.size();
      kinds_.push_back(good ? kind[code] : uint8_t{kSign});
      at += good ? size : 1;
    }
    begins_.push_back(static_cast<uint32_t>(text.size()));
  }

  bool space(size_t at) const { return kinds_[at] >= kSpace; }
  // The end of a run of one kind, or of spaces of both.
  size_t run(size_t at, size_t stop, uint8_t kind) const {
    while (at < stop && kinds_[at] == kind) ++at;
    return at;
  }
  size_t spaces(size_t at, size_t stop) const {
    while (at < stop && space(at)) ++at;
    return at;
  }
  // The letters of an English contraction behind an apostrophe, or 0.
  size_t contraction(std::string_view text, size_t at, size_t stop, bool any_case) const {
    if (text[begins_[at]] != '\'') return 0;
    const auto letter = [&](size_t i) {
      if (at + i >= stop) return '\0';
      const std::string_view from = text.substr(begins_[at + i]);
      if (any_case && from.substr(0, 2) == "\xC5\xBF") return 's';  // the long s
      const char c = from[0];
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    };
    const char a = letter(1), b = letter(2);
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 1;
    return (b == 'e' && (a == 'r' || a == 'v')) || (a == 'l' && b == 'l') ? 2 : 0;
  }
  // What both end with: spaces, but for the last one if something follows.
  size_t blank(size_t at, size_t stop) const {
    const size_t end = spaces(at, stop);
    return end < stop && end - at > 1 ? end - 1 : end;
  }
  bool blank_before(std::string_view text, size_t at, size_t stop) const { return text[begins_[at]] == ' ' && at + 1 < stop; }

  size_t gpt2(std::string_view text, size_t at, size_t stop) const {
    if (const size_t letters = contraction(text, at, stop, false)) return at + 1 + letters;
    const size_t from = at + (blank_before(text, at, stop) ? 1 : 0);
    if (!space(from)) return run(from, stop, kinds_[from]);
    return blank(at, stop);
  }

  size_t successor(std::string_view text, size_t at, size_t stop) const {
    if (rules_.contractions) {
      if (const size_t letters = contraction(text, at, stop, true)) return at + 1 + letters;
    }
    const uint8_t kind = kinds_[at];
    if (kind == kLetter) return run(at, stop, kLetter);
    if (kind == kNumber) return std::min(run(at, stop, kNumber), at + static_cast<size_t>(rules_.numbers));
    if (kind != kLine && at + 1 < stop && kinds_[at + 1] == kLetter) return run(at + 1, stop, kLetter);
    const size_t from = at + (blank_before(text, at, stop) ? 1 : 0);
    if (kinds_[from] == kSign) return run(run(from, stop, kSign), stop, kLine);
    const size_t end = spaces(at, stop);
    for (size_t i = end; i > at; --i) {
      if (kinds_[i - 1] == kLine) return i;
    }
    return blank(at, stop);
  }

  const PieceRules rules_;
  std::vector<uint8_t> kinds_;    // of each character
  std::vector<uint32_t> begins_;  // its first byte, and the end
};

}  // namespace lmc
