// What an encoder that looks for the cheapest tokens would write next: Zopfli, 7-Zip, KZIP and the
// like. Given the codes of a block, the cost of every token is known, and so is the cheapest way
// from any place to the block's end.
#pragma once
#include <algorithm>
#include <vector>

#include "deflate_codes.hpp"

namespace lmc::deflate {

class OptimalPredictor {
 public:
  OptimalPredictor(const uint8_t* data, size_t size) : data_(data), size_(static_cast<uint32_t>(size)) {}

  // A block of `count` bytes begins here, with these code lengths.
  void begin(const uint8_t* lengths, uint32_t count) {
    const auto cost = [&](int symbol) { return lengths[symbol] ? int32_t{lengths[symbol]} : kAbsent; };
    for (int s = 0; s < 256; ++s) literal_cost_[s] = cost(s);
    for (uint32_t l = kMinMatch; l <= kMaxMatch; ++l) {
      const int code = length_code(l);
      length_cost_[l] = cost(257 + code) + kLengthExtra[code];
    }
    for (int d = 0; d < 30; ++d) distance_cost_[d] = cost(kLiterals + d) + distance_extra(d);
    begin_ = region_ = at_;
    end_ = at_ + count;
  }

  // The next token; there is one, that is, bytes are left.
  Token predict() {
    if (at_ >= region_) solve();
    return best_[at_ - begin_];
  }
  void take(Token t) { at_ += t.length; }
  void skip(uint32_t n) { at_ += n; }
  bool exhausted() const { return false; }  // its search has bounds enough

 private:
  // Places are chained by their first 3, 4, 6 and 12 bytes: the longer a match must be to be worth
  // anything, the shorter the chain of those that can be one.
  static constexpr uint32_t kChains = 4, kFirst[kChains] = {3, 4, 6, 12}, kLinks = 512;
  static constexpr uint32_t kHashBits = 15, kRegion = 1u << 16, kMatches = 32;
  static constexpr int32_t kAbsent = 20;  // bits of what has no code

  struct Chain {
    std::vector<uint32_t> head = std::vector<uint32_t>(1u << kHashBits, 0);
    std::vector<uint32_t> previous = std::vector<uint32_t>(kMaxDistance, 0);  // 0 is none, else place + 1
  };

  // Solves a region of the block, from here, so that its tables stay small.
  void solve() {
    while (inserted_ < at_) insert(inserted_++);
    begin_ = at_;
    region_ = std::min(end_, at_ + kRegion);
    const uint32_t count = region_ - begin_;
    first_.assign(1, 0);
    matches_.clear();
    for (uint32_t p = begin_; p < region_; ++p) {
      find(p);
      first_.push_back(static_cast<uint32_t>(matches_.size()));
    }
    inserted_ = region_;
    best_.assign(count, {});
    left_.assign(size_t{count} + kMaxMatch, 0);  // bits from a place to the end
    for (uint32_t i = count; i-- > 0;) {
      int32_t least = literal_cost_[data_[begin_ + i]] + left_[i + 1];
      uint32_t shortest = kMinMatch;
      for (uint32_t m = first_[i]; m < first_[i + 1]; ++m) {
        const Token match = matches_[m];
        // Encoders do not cut a match for nothing.
        uint32_t length = match.length;
        int32_t c = length_cost_[length] + left_[i + length], cut = INT32_MAX;
        for (uint32_t l = shortest; l < length; ++l) cut = std::min(cut, length_cost_[l] + left_[i + l]);
        if (cut < c) {
          c = cut;
          for (length = shortest; length_cost_[length] + left_[i + length] != c;) ++length;
        }
        c += distance_cost_[distance_code(match.distance)];
        if (c < least) {
          least = c;
          best_[i] = {static_cast<uint16_t>(length), match.distance};
        }
        shortest = match.length + 1u;
      }
      left_[i] = least;
    }
  }

  void insert(uint32_t p) {
    uint32_t h = 0, n = 0;
    for (uint32_t k = 0; k < kChains; ++k) {
      if (size_ - p < kFirst[k]) return;
      for (; n < kFirst[k]; ++n) h = (h + data_[p + n] + 1) * 0x9E3779B1u;
      uint32_t& head = chains_[k].head[h >> (32 - kHashBits)];
      chains_[k].previous[p % kMaxDistance] = head;
      head = p + 1;
    }
  }

  // The nearest match of every length, as the longest for each distance.
  void find(uint32_t p) {
    insert(p);
    const uint32_t most = std::min(kMaxMatch, end_ - p);
    const size_t full = matches_.size() + kMatches;
    uint32_t best = kMinMatch - 1;
    for (uint32_t k = 0; k < kChains && best < most && size_ - p >= kFirst[k]; ++k) {
      const uint32_t enough = k + 1 < kChains ? std::min(kFirst[k + 1] - 1, most) : most;
      const std::vector<uint32_t>& previous = chains_[k].previous;
      uint32_t links = kLinks;
      for (uint32_t next = previous[p % kMaxDistance];
           next != 0 && best < enough && links-- > 0 && matches_.size() < full;) {
        const uint32_t from = next - 1;
        if (p - from > kMaxDistance) break;
        if (data_[from + best] == data_[p + best] && data_[from] == data_[p]) {
          const uint32_t n = common(data_ + from, data_ + p, most);
          if (n > best) {
            best = n;
            matches_.push_back({static_cast<uint16_t>(n), static_cast<uint16_t>(p - from)});
          }
        }
        next = previous[from % kMaxDistance];
        if (next > from) break;  // overwritten since
      }
    }
  }

  const uint8_t* data_;
  const uint32_t size_;
  uint32_t at_ = 0, inserted_ = 0;
  uint32_t begin_ = 0, region_ = 0, end_ = 0;  // of the region, of it, of the block
  int32_t literal_cost_[256] = {}, length_cost_[kMaxMatch + 1] = {}, distance_cost_[30] = {};
  Chain chains_[kChains];
  std::vector<uint32_t> first_;  // of a place's matches
  std::vector<int32_t> left_;
  std::vector<Token> matches_, best_;  // best_: the first token of the cheapest way from each place
};

}  // namespace lmc::deflate
