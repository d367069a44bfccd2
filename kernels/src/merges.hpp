// Byte pair encoding (Sennrich et al. 2016): within each piece of a text, the pair of neighbours that comes first in a list
// of merges becomes one token, again and again.
#pragma once
#include <algorithm>
#include <array>
#include <cstdint>
#include <queue>
#include <stdexcept>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "pieces.hpp"
#include "vocabulary.hpp"

namespace lmc {

class Merges {
 public:
  // merges: lines "left right", first come, first served, in GPT-2's alphabet of 256 characters. Those of tokens that the
  // vocabulary does not have are left out. whole: a piece that is a token becomes that one, whatever the merges say.
  // Throws std::invalid_argument where a line is none.
  Merges(const Vocabulary& vocabulary, std::string_view merges, PieceRules rules, bool whole)
      : vocabulary_(vocabulary), rules_(rules), whole_(whole) {
    tokens_.assign(table_size(vocabulary.size()), kNone);
    for (uint32_t id = 0; id < vocabulary.size(); ++id) {
      uint32_t at = slot(spelling(id), tokens_.size());
      while (tokens_[at] != kNone) at = next(at, tokens_.size());
      tokens_[at] = id;
      if (vocabulary.length(id) == 1) of_byte_[vocabulary.bytes(id)[0]] = id;
    }
    pairs_.assign(table_size(static_cast<size_t>(std::count(merges.begin(), merges.end(), '\n')) + 1), Pair{});
    const Alphabet alphabet;
    uint32_t rank = 0;
    for (size_t at = 0; at < merges.size(); ++rank) {
      const size_t end = std::min(merges.find('\n', at), merges.size());
      add(alphabet, merges.substr(at, end - at), rank);
      at = end + 1;
    }
  }

  // Tokens of texts, of each one after those of the one before; `counts` of them.
  void encode(const std::vector<std::string_view>& texts, std::vector<int32_t>& ids, std::vector<uint32_t>& counts) const {
    Pieces pieces(rules_);
    std::vector<uint32_t> ends;
    // Words come again and again: of each slot the last one is known.
    struct Known {
      std::string_view word;
      size_t first = 0, count = 0;  // of `ids`
    };
    size_t bytes = 0;
    for (const std::string_view text : texts) bytes += text.size();
    std::vector<Known> words(std::min(kWords, table_size(bytes / 16)));
    for (const std::string_view text : texts) {
      const size_t before = ids.size();
      pieces.cut(text, ends);
      uint32_t begin = 0;
      for (const uint32_t end : ends) {
        const std::string_view word = text.substr(begin, end - begin);
        begin = end;
        Known& known = words[slot(word, words.size())];
        const size_t first = ids.size();
        if (known.word == word) {
          for (size_t i = 0; i < known.count; ++i) ids.push_back(ids[known.first + i]);
          continue;
        }
        merge(word, ids);
        known = {word, first, ids.size() - first};
      }
      counts.push_back(static_cast<uint32_t>(ids.size() - before));
    }
  }

 private:
  static constexpr uint32_t kNone = UINT32_MAX;
  static constexpr size_t kWords = 1 << 15;
  static constexpr size_t kFew = 32;  // bytes of a piece whose pairs are looked through one by one

  struct Pair {
    uint32_t left = kNone, right = kNone, rank = 0, merged = 0;
  };

  // GPT-2's characters for bytes: the printable ones stand for themselves, the others follow from 256 on.
  struct Alphabet {
    std::array<int, 0x180> byte;
    Alphabet() {
      byte.fill(-1);
      size_t beyond = 256;
      for (int b = 0; b < 256; ++b) {
        const bool plain = (b > 0x20 && b < 0x7F) || (b > 0xA0 && b != 0xAD);
        byte[plain ? static_cast<size_t>(b) : beyond++] = b;
      }
    }
    // The bytes that characters stand for, of one or two bytes each; empty if there are others.
    std::string operator()(std::string_view name) const {
      std::string out;
      for (size_t at = 0; at < name.size(); ++at) {
        auto code = static_cast<size_t>(static_cast<uint8_t>(name[at]));
        if (code >= 0x80) {
          if (code >> 5 != 6 || ++at >= name.size()) return {};
          code = (code & 0x1F) << 6 | (static_cast<uint8_t>(name[at]) & 0x3F);
        }
        if (code >= byte.size() || byte[code] < 0) return {};
        out.push_back(static_cast<char>(byte[code]));
      }
      return out;
    }
  };

  static size_t table_size(size_t entries) {
    size_t size = 64;
    while (size < 2 * entries) size *= 2;
    return size;
  }
  static uint32_t scatter(uint64_t key, size_t size) { return static_cast<uint32_t>((key * 0x9E3779B97F4A7C15u) >> 32) & static_cast<uint32_t>(size - 1); }
  static uint32_t slot(std::string_view word, size_t size) {
    uint64_t h = word.size();
    for (const char c : word) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001B3u;
    return scatter(h, size);
  }
  static uint32_t next(uint32_t at, size_t size) { return (at + 1) & static_cast<uint32_t>(size - 1); }
  static uint32_t slot(uint32_t left, uint32_t right, size_t size) { return scatter(uint64_t{left} << 32 | right, size); }

  std::string_view spelling(uint32_t id) const { return {reinterpret_cast<const char*>(vocabulary_.bytes(id)), vocabulary_.length(id)}; }
  uint32_t token(std::string_view bytes) const {
    uint32_t at = slot(bytes, tokens_.size());
    while (tokens_[at] != kNone && spelling(tokens_[at]) != bytes) at = next(at, tokens_.size());
    return tokens_[at];
  }

  void add(const Alphabet& alphabet, std::string_view line, uint32_t rank) {
    const size_t middle = line.find(' ');
    if (middle == std::string_view::npos) throw std::invalid_argument("a merge has no two sides");
    const std::string left = alphabet(line.substr(0, middle)), right = alphabet(line.substr(middle + 1));
    const Pair pair{token(left), token(right), rank, token(left + right)};
    if (pair.left == kNone || pair.right == kNone || pair.merged == kNone) return;
    uint32_t at = slot(pair.left, pair.right, pairs_.size());
    const auto other = [&](const Pair& p) { return p.left != pair.left || p.right != pair.right; };
    while (pairs_[at].left != kNone && other(pairs_[at])) at = next(at, pairs_.size());
    pairs_[at] = pair;  // of two that are the same the library has the last, too
  }
  const Pair* find(uint32_t left, uint32_t right) const {
    for (uint32_t at = slot(left, right, pairs_.size()); pairs_[at].left != kNone; at = next(at, pairs_.size())) {
      if (pairs_[at].left == left && pairs_[at].right == right) return &pairs_[at];
    }
    return nullptr;
  }

  void merge(std::string_view word, std::vector<int32_t>& out) const {
    if (whole_) {
      if (const uint32_t id = token(word); id != kNone) return out.push_back(static_cast<int32_t>(id));
    }
    word.size() <= kFew ? merge_few(word, out) : merge_many(word, out);
  }

  void merge_few(std::string_view word, std::vector<int32_t>& out) const {
    uint32_t ids[kFew];
    const Pair* pairs[kFew];  // of each with the next
    size_t n = word.size();
    for (size_t i = 0; i < n; ++i) ids[i] = of_byte_[static_cast<uint8_t>(word[i])];
    for (size_t i = 0; i + 1 < n; ++i) pairs[i] = find(ids[i], ids[i + 1]);
    for (;;) {
      size_t best = n;
      for (size_t i = 0; i + 1 < n; ++i) {
        if (pairs[i] && (best == n || pairs[i]->rank < pairs[best]->rank)) best = i;
      }
      if (best == n) break;
      ids[best] = pairs[best]->merged;
      --n;
      for (size_t i = best + 1; i < n; ++i) ids[i] = ids[i + 1];
      for (size_t i = best + 1; i + 1 < n; ++i) pairs[i] = pairs[i + 1];
      if (best > 0) pairs[best - 1] = find(ids[best - 1], ids[best]);
      if (best + 1 < n) pairs[best] = find(ids[best], ids[best + 1]);
    }
    out.insert(out.end(), ids, ids + n);
  }

  // The same by a queue of pairs, in which merged ones stay until they are met.
  void merge_many(std::string_view word, std::vector<int32_t>& out) const {
    struct Symbol {
      uint32_t id, before, behind;
    };
    using Entry = std::tuple<uint32_t, uint32_t, const Pair*>;  // rank, place of the left one
    std::vector<Symbol> symbols(word.size());
    std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue;
    const auto offer = [&](uint32_t left) {
      if (left == kNone || symbols[left].behind == kNone) return;
      if (const Pair* pair = find(symbols[left].id, symbols[symbols[left].behind].id)) queue.emplace(pair->rank, left, pair);
    };
    const auto count = static_cast<uint32_t>(word.size());
    for (uint32_t i = 0; i < count; ++i) symbols[i] = {of_byte_[static_cast<uint8_t>(word[i])], i - 1, i + 1 < count ? i + 1 : kNone};
    for (uint32_t i = 0; i < count; ++i) offer(i);
    while (!queue.empty()) {
      const auto [rank, at, pair] = queue.top();
      queue.pop();
      Symbol& left = symbols[at];
      if (left.id != pair->left || left.behind == kNone || symbols[left.behind].id != pair->right) continue;
      Symbol& right = symbols[left.behind];
      left.id = pair->merged;
      left.behind = right.behind;
      right.id = kNone;
      if (left.behind != kNone) symbols[left.behind].before = at;
      offer(left.before);
      offer(at);
    }
    for (uint32_t i = 0; i != kNone; i = symbols[i].behind) out.push_back(static_cast<int32_t>(symbols[i].id));
  }

  const Vocabulary& vocabulary_;
  const PieceRules rules_;
  const bool whole_;
  std::vector<uint32_t> tokens_;  // by their bytes
  std::vector<Pair> pairs_;
  std::array<uint32_t, 256> of_byte_{};
};

}  // namespace lmc
