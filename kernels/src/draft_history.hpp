// Guesses from what the text said before.
//
// Method: Y. Fu et al., "Lookahead decoding", 2024; A. Saxena, "Prompt lookup", 2023.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc::draft {

struct Guess {
  uint32_t token;
  float p;
};

// A probability that follows what happens.
class Rate {
 public:
  explicit Rate(float first = 0.2f) : p_(first) {}
  float p() const { return p_; }
  void update(bool hit) {
    if (seen_ < kMemory) ++seen_;
    p_ += ((hit ? 1.0f : 0.0f) - p_) / (static_cast<float>(seen_) + 1.5f);
  }

 private:
  static constexpr int kMemory = 60;
  float p_;
  int seen_ = 0;
};

// What followed the last tokens when they were there before: the newest place for each of several lengths.
class History {
 public:
  explicit History(size_t tokens) {
    while (bits_ < 18 && size_t{1} << bits_ < 2 * tokens) ++bits_;
    for (auto& table : tables_) table.assign(size_t{1} << bits_, 0);
    for (auto& rank : rates_)
      for (size_t i = 0; i < rank.size(); ++i) rank[i] = Rate(0.1f + 0.8f * static_cast<float>(i) / kBuckets);
  }

  // Guesses behind the text and `way`, tokens that may follow it, the surest first; gives their number.
  int guess(const std::vector<uint32_t>& way, Guess* to, uint8_t* buckets = nullptr) const {
    const auto back = [&](size_t i) { return i < way.size() ? way[way.size() - 1 - i] : said_[said_.size() - 1 - (i - way.size())]; };
    const size_t all = said_.size() + way.size();
    int n = 0;
    for (size_t i = 0; i < kOrders && n < kGuesses; ++i) {
      const size_t order = kOrder[i];
      if (all < order) continue;
      const size_t at = tables_[i][hash(order, back)];
      if (at == 0) continue;
      size_t length = 0;
      while (length < kLongest && length < at && length < all && said_[at - 1 - length] == back(length)) ++length;
      if (length < order) continue;
      const uint32_t token = said_[at];
      if (std::any_of(to, to + n, [token](const Guess& g) { return g.token == token; })) continue;
      const size_t bucket = bucket_of(length);
      if (buckets) buckets[n] = static_cast<uint8_t>(bucket);
      to[n] = {token, rates_[static_cast<size_t>(n)][bucket].p()};
      ++n;
    }
    return n;
  }

  // The text goes on with this token.
  void learn(uint32_t token) {
    Guess guesses[kGuesses];
    uint8_t buckets[kGuesses];
    const int n = guess({}, guesses, buckets);
    for (int i = 0; i < n; ++i) rates_[static_cast<size_t>(i)][buckets[i]].update(guesses[i].token == token);
    for (size_t i = 0; i < kOrders; ++i) {
      if (said_.size() < kOrder[i]) continue;
      tables_[i][hash(kOrder[i], [this](size_t back) { return said_[said_.size() - 1 - back]; })] =
          static_cast<uint32_t>(said_.size());
    }
    said_.push_back(token);
  }

  static constexpr int kGuesses = 3;

 private:
  static constexpr size_t kOrders = 5, kLongest = 32, kBuckets = 10;
  static constexpr size_t kOrder[kOrders] = {8, 5, 3, 2, 1};

  static size_t bucket_of(size_t length) {
    return length < 6 ? length - 1 : length < 8 ? 5 : length < 12 ? 6 : length < 20 ? 7 : length < kLongest ? 8 : 9;
  }
  template <class Back>
  size_t hash(size_t order, Back&& back) const {
    uint32_t h = static_cast<uint32_t>(order);
    for (size_t i = 0; i < order; ++i) h = (h + back(i) + 1) * 0x9E3779B1u;
    return h >> (32 - bits_);
  }

  int bits_ = 8;
  std::vector<uint32_t> said_;
  std::array<std::vector<uint32_t>, kOrders> tables_;  // by hash: the place of what followed; 0: none
  std::array<std::array<Rate, kBuckets>, kGuesses> rates_;
};

}  // namespace lmc::draft
