// The match model: follows the most recent place whose last bytes are equal to
// the newest bytes here, and predicts the byte that came next there.
#pragma once
#include <cstdint>
#include <vector>

#include "mixer_counters.hpp"

namespace lmc::mixer {

// Where a lane stands in one match model.
struct MatchState {
  uint32_t at = 0;      // position of the predicted byte, valid if following
  uint32_t length = 0;  // agreeing bytes before it (0 after a miss)
  uint32_t owner = 0;   // the lane whose part of the buffer holds `at`
  uint8_t misses = 0;   // the last 8 predictions, 1 = wrong, newest lowest
  bool following = false;
  int expected = -1;    // the predicted byte, -1 if none
};

// A part [start, end) of the buffer that one lane writes; bytes below `limit` are written.
struct Extent {
  uint32_t start, limit, end;
};

inline uint32_t length_bucket(uint32_t length) {  // 0..31
  if (length < 16) return length;
  const uint32_t log = 31 - static_cast<uint32_t>(__builtin_clz(length));
  const uint32_t bucket = 16 + (log - 4) * 2 + (length >> (log - 1) & 1);
  return bucket < 31 ? bucket : 31;
}

inline int ones(uint8_t v) {
  int n = 0;
  for (; v != 0; v = static_cast<uint8_t>(v & (v - 1))) ++n;
  return n;
}

class MatchModel {
 public:
  static constexpr uint32_t kVerify = 400;  // longest length that is counted backwards
  static constexpr int kRecover = 8;        // misses among 8 after which a match is given up

  MatchModel(int log2_entries, uint32_t min_length)
      : min_length_(min_length), shift_(32 - log2_entries), heads_(size_t{1} << log2_entries) {}

  uint32_t min_length() const { return min_length_; }
  void prefetch(uint32_t hash) const { __builtin_prefetch(&heads_[hash >> shift_]); }

  // After a byte was appended at extents[lane].limit - 1; hash: of the last min_length bytes.
  void advance(MatchState& m, const uint8_t* buffer, const std::vector<Extent>& extents, uint32_t lane,
               uint32_t hash) {
    const Extent& own = extents[lane];
    const uint32_t here = own.limit;
    if (m.following) {
      const bool hit = buffer[m.at] == buffer[here - 1];
      m.misses = static_cast<uint8_t>(m.misses << 1 | !hit);
      m.length = hit ? m.length + 1 : 0;
      if (m.length > 65535) m.length = 65535;
      ++m.at;
      if (m.at == extents[m.owner].end && m.owner + 1 < extents.size()) ++m.owner;
      if (ones(m.misses) >= kRecover) m.following = false;
    }
    if (here - own.start >= min_length_) {
      uint32_t& head = heads_[hash >> shift_];
      if (head != 0 && (!m.following || m.length < min_length_)) {
        const uint32_t owner = find(extents, head - 1);
        const uint32_t limit_a = head - extents[owner].start, limit_b = here - own.start;
        uint32_t length = 0;
        const uint32_t most = limit_a < limit_b ? limit_a : limit_b;
        while (length < most && length < kVerify && buffer[head - 1 - length] == buffer[here - 1 - length]) ++length;
        if (length >= min_length_) {
          m.at = head;
          m.owner = head == extents[owner].end && owner + 1 < extents.size() ? owner + 1 : owner;
          m.length = length;
          m.misses = 0;
          m.following = true;
        }
      }
      head = here;
    }
    m.expected = m.following && m.at < extents[m.owner].limit ? buffer[m.at] : -1;
    if (m.expected < 0) m.following = false;
  }

 private:
  static uint32_t find(const std::vector<Extent>& extents, uint32_t at) {
    uint32_t low = 0, high = static_cast<uint32_t>(extents.size());
    while (high - low > 1) {
      const uint32_t middle = (low + high) / 2;
      if (extents[middle].start <= at) low = middle; else high = middle;
    }
    return low;
  }

  uint32_t min_length_;
  int shift_;
  Buffer<uint32_t> heads_;  // position behind the hashed bytes, 0 = none
};

}  // namespace lmc::mixer
