// What zlib's deflate would write next: its search for matches (deflate.c), with all parameters.
//
// The predictor always goes on from the tokens that were really written, so an error costs
// its own correction and no more.
#pragma once
#include <algorithm>
#include <vector>

#include "deflate_codes.hpp"

namespace lmc::deflate {

// zlib's strategies; kFar is kDefault where short matches may be far (zlib as built for pngcrush).
enum Strategy : uint8_t { kDefault = 0, kFiltered = 1, kHuffmanOnly = 2, kRuns = 3, kFar = 4, kOptimal = 5 };

struct Parameters {
  uint8_t strategy = kDefault, level = 6, window_bits = 15, memory = 8;
};

struct Effort {
  uint32_t good, lazy, nice, chain;  // shorten the search; skip it; end it; links followed
};
constexpr Effort kEfforts[10] = {{0, 0, 0, 0},         {4, 4, 8, 4},        {4, 5, 16, 8},     {4, 6, 32, 32},
                                 {4, 4, 16, 16},       {8, 16, 32, 32},     {8, 16, 128, 128}, {8, 32, 128, 256},
                                 {32, 128, 258, 1024}, {32, 258, 258, 4096}};

class ZlibPredictor {
 public:
  ZlibPredictor(const Parameters& p, const uint8_t* data, size_t size)
      : data_(data),
        size_(static_cast<uint32_t>(size)),
        effort_(kEfforts[p.level]),
        strategy_(p.strategy),
        greedy_(p.level < 4),
        too_far_(p.strategy == kFar ? kMaxDistance : 4096),
        window_(1u << p.window_bits),
        reach_(window_ - kMaxMatch - kMinMatch - 1),
        shift_((p.memory + 9u) / 3),
        mask_((1u << (p.memory + 7)) - 1),
        links_left_(kLinksFree + kLinksPerByte * static_cast<int64_t>(size)) {
    if (searches()) {
      head_.assign(size_t{mask_} + 1, 0);
      previous_.assign(window_, 0);
    }
  }

  void begin(const uint8_t*, uint32_t) {}  // zlib does not know a block's codes before its tokens

  // The next token; there is one, that is, bytes are left.
  Token predict() {
    if (strategy_ == kHuffmanOnly) return {};
    if (strategy_ == kRuns) return run();
    if (!known_) here_ = search(at_, kMinMatch - 1);
    known_ = true;
    next_ = {kMinMatch - 1, 0};
    if (here_.length < kMinMatch) return {};
    if (!greedy_) {
      if (here_.length < effort_.lazy) next_ = search(at_ + 1, here_.length);
      if (next_.length > here_.length) return {};
    }
    return {static_cast<uint16_t>(here_.length), static_cast<uint16_t>(here_.distance)};
  }

  // What was really written: follows predict().
  void take(Token t) {
    if (!searches()) {
      at_ += t.length;
      return;
    }
    known_ = false;
    if (t.distance == 0) {
      insert(at_);
      ++at_;
      if (next_.length > here_.length) {  // zlib's lazy search, which goes on from here
        here_ = next_;
        known_ = true;
      }
      return;
    }
    insert(at_);
    at_ += t.length;
    if (!greedy_ || t.length <= effort_.lazy) {
      while (inserted_ < at_) insert(inserted_);
    } else {
      inserted_ = std::max(inserted_, at_);
    }
  }

  // Content can be made on which this search takes hours; images that have one are left alone.
  bool exhausted() const { return links_left_ < 0; }

  // Bytes of a stored block.
  void skip(uint32_t n) {
    at_ += n;
    known_ = false;
    while (searches() && inserted_ < at_) insert(inserted_);
  }

 private:
  static constexpr int64_t kLinksFree = 1 << 30, kLinksPerByte = 1024;

  struct Match {
    uint32_t length, distance;
  };

  // Two bytes, to be compared only.
  static uint16_t pair(const uint8_t* p) {
    uint16_t v;
    std::memcpy(&v, p, 2);
    return v;
  }

  bool searches() const { return strategy_ != kHuffmanOnly && strategy_ != kRuns; }

  Token run() const {
    const uint32_t most = std::min(kMaxMatch, size_ - at_);
    if (at_ == 0 || most < kMinMatch) return {};
    uint32_t n = 0;
    while (n < most && data_[at_ + n] == data_[at_ - 1]) ++n;
    return n < kMinMatch ? Token{} : Token{static_cast<uint16_t>(n), 1};
  }

  void insert(uint32_t p) {
    if (p < inserted_) return;
    inserted_ = p + 1;
    if (size_ - p < kMinMatch) return;
    const uint32_t h = ((data_[p] << shift_ ^ data_[p + 1]) << shift_ ^ data_[p + 2]) & mask_;
    const uint32_t back = p - head_[h];
    previous_[p & (window_ - 1)] = static_cast<uint16_t>(head_[h] != 0 && back <= kMaxDistance ? back : 0);
    head_[h] = p;
  }

  // longest_match: a match longer than `best`, or one of length `best`, which the caller does not want.
  Match search(uint32_t p, uint32_t best) {
    insert(p);
    const uint32_t most = std::min(kMaxMatch, size_ - p);
    if (most < kMinMatch) return {kMinMatch - 1, 0};
    const uint32_t limit = p > reach_ ? p - reach_ : 0;
    uint32_t back = previous_[p & (window_ - 1)], from = p - back;
    if (back == 0 || back > reach_) return {kMinMatch - 1, 0};
    const uint32_t nice = std::min(effort_.nice, size_ - p);
    const uint32_t allowed = best >= effort_.good ? effort_.chain >> 2 : effort_.chain;
    uint32_t links = allowed, distance = 0;
    if (best >= most) return {most, 0};
    const uint8_t* a = data_ + p;
    const uint16_t* previous = previous_.data();
    const uint32_t mask = window_ - 1;
    uint16_t end = pair(a + best - 1);  // what a longer match must have
    const uint16_t start = pair(a);
    for (;;) {
      const uint8_t* b = data_ + from;
      if (pair(b + best - 1) == end && pair(b) == start) {
        const uint32_t n = common(a, b, most);
        if (n > best) {
          best = n;
          distance = p - from;
          if (n >= nice || n == most) break;
          end = pair(a + best - 1);
        }
      }
      back = previous[from & mask];
      from -= back;
      if (back == 0 || from <= limit || --links == 0) break;
    }
    links_left_ -= allowed - links;
    if (!greedy_ && best <= 5 && (strategy_ == kFiltered || (best == 3 && distance > too_far_))) best = kMinMatch - 1;
    return {best, distance};
  }

  const uint8_t* data_;
  const uint32_t size_;
  const Effort effort_;
  const uint8_t strategy_;
  const bool greedy_;
  const uint32_t too_far_;  // for a match of 3 bytes
  const uint32_t window_, reach_, shift_, mask_;
  int64_t links_left_;
  uint32_t at_ = 0, inserted_ = 0;
  bool known_ = false;  // here_ is zlib's search at at_
  Match here_{2, 0}, next_{2, 0};
  std::vector<uint32_t> head_;      // the last place of a hash; 0 is none, as for zlib
  std::vector<uint16_t> previous_;  // how far back the one before is; 0 is none
};

}  // namespace lmc::deflate
