// Guesses of what comes next, so that a decoder's network can look at several tokens in one pass.
//
// Whatever is guessed, the decoded bytes are the same (FORMAT.md knows nothing of it): a guess that is wrong
// costs time. So the numbers here may be floats, and depend on clocks.
//
// Method: a tree of tokens that a pass verifies at once (X. Miao et al., "SpecInfer", 2023), its nodes
// those of the greatest probability (Y. Li et al., "EAGLE-2", 2024), as many as they pay for themselves; guesses
// from what the text said before (Y. Fu et al., "Lookahead decoding", 2024; A. Saxena, "Prompt lookup", 2023).
#pragma once
#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace lmc::draft {

constexpr int kRows = 48;   // of one tree at most
constexpr int kDepth = 16;  // tokens ahead at most

inline double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// What a decoding did, summed over frames.
struct Statistics {
  uint64_t tokens = 0, passes = 0, rows = 0;
  std::array<uint64_t, kDepth> offered{}, accepted{};  // by depth: passes that looked so far ahead; and rightly
  double guessing = 0, network = 0, total = 0;         // seconds

  void add(const Statistics& other) {
    tokens += other.tokens;
    passes += other.passes;
    rows += other.rows;
    for (int i = 0; i < kDepth; ++i) {
      offered[i] += other.offered[i];
      accepted[i] += other.accepted[i];
    }
    guessing += other.guessing;
    network += other.network;
    total += other.total;
  }
};

struct Guess {
  uint32_t token;
  float p;
};

// A node of a tree; the first one is the token that is known.
struct Node {
  uint32_t token;
  int parent, depth;
  float p;  // that the text goes this way
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

  void append(uint32_t token) {
    for (size_t i = 0; i < kOrders; ++i) {
      if (said_.size() < kOrder[i]) continue;
      tables_[i][hash(kOrder[i], [this](size_t back) { return said_[said_.size() - 1 - back]; })] =
          static_cast<uint32_t>(said_.size());
    }
    said_.push_back(token);
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

  // The text goes on with this token: teaches the rates, and is appended.
  void learn(uint32_t token) {
    Guess guesses[kGuesses];
    uint8_t buckets[kGuesses];
    const int n = guess({}, guesses, buckets);
    for (int i = 0; i < n; ++i) rates_[static_cast<size_t>(i)][buckets[i]].update(guesses[i].token == token);
    append(token);
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

// How long passes take, and so what a row must promise: time = base + each * rows, a fading regression.
class Pace {
 public:
  void pass(int rows, double seconds, int tokens) {
    if (weight_ > 4 && seconds > 3 * time(rows)) seconds = 3 * time(rows);  // somebody else had the processor
    const double n = rows;
    for (double* sum : {&weight_, &n_, &t_, &nn_, &nt_}) *sum *= kFade;
    weight_ += 1;
    n_ += n;
    t_ += seconds;
    nn_ += n * n;
    nt_ += n * seconds;
    const double spread = nn_ - n_ * n_ / weight_;
    const double mean = t_ / weight_;
    double each = kUsual * mean;
    if (spread > 0.5 * weight_) each = (nt_ - n_ * t_ / weight_) / spread;
    each_ = std::clamp(each, 0.005 * mean, 0.5 * mean);
    base_ = mean - each_ * n_ / weight_;
    spent_ = spent_ * kFade + seconds;
    done_ = done_ * kFade + tokens;
  }
  // The least probability at which a row is worth its time.
  float threshold() const {
    if (done_ <= 0) return 0.2f;
    return static_cast<float>(std::clamp(each_ * done_ / spent_, 0.02, 0.6));
  }
  double time(int rows) const { return base_ + each_ * rows; }

 private:
  static constexpr double kFade = 0.98, kUsual = 0.06;
  double weight_ = 0, n_ = 0, t_ = 0, nn_ = 0, nt_ = 0;
  double base_ = 0, each_ = 0, spent_ = 0, done_ = 0;
};

// The tree of one lane.
class Tree {
 public:
  const std::vector<Node>& nodes() const { return nodes_; }

  // Takes the most probable ways of at least `threshold`, at most `rows` nodes, in the order of depth first.
  void grow(const History& history, uint32_t input, int rows, float threshold) {
    nodes_.assign(1, {input, -1, 0, 1.0f});
    std::vector<Node> heap;  // nodes that might be taken
    const auto less = [](const Node& a, const Node& b) { return a.p < b.p; };
    std::vector<uint32_t> way;
    const auto expand = [&](int at) {
      if (nodes_[static_cast<size_t>(at)].depth == kDepth) return;
      way.clear();
      for (int i = at; i > 0; i = nodes_[static_cast<size_t>(i)].parent) way.push_back(nodes_[static_cast<size_t>(i)].token);
      std::reverse(way.begin(), way.end());
      Guess guesses[History::kGuesses];
      const int n = history.guess(way, guesses);
      float left = 1;
      for (int i = 0; i < n; ++i) {
        const Node& node = nodes_[static_cast<size_t>(at)];
        const float p = std::min(guesses[i].p, left);
        left -= p;
        if (node.p * p < threshold) continue;
        heap.push_back({guesses[i].token, at, node.depth + 1, node.p * p});
        std::push_heap(heap.begin(), heap.end(), less);
      }
    };
    expand(0);
    while (!heap.empty() && static_cast<int>(nodes_.size()) < rows) {
      std::pop_heap(heap.begin(), heap.end(), less);
      nodes_.push_back(heap.back());
      heap.pop_back();
      expand(static_cast<int>(nodes_.size()) - 1);
    }
    depth_first();
  }

  // The child of a node with this token; -1: none.
  int child(int node, uint32_t token) const {
    for (int i = node + 1; i < static_cast<int>(nodes_.size()); ++i)
      if (nodes_[static_cast<size_t>(i)].parent == node && nodes_[static_cast<size_t>(i)].token == token) return i;
    return -1;
  }

 private:
  // A chain's rows lie one behind another: the network looks at several at a time.
  void depth_first() {
    std::vector<Node> sorted;
    std::vector<std::pair<int, int>> stack{{0, -1}};  // node, its parent's new place
    while (!stack.empty()) {
      const auto [at, parent] = stack.back();
      stack.pop_back();
      sorted.push_back(nodes_[static_cast<size_t>(at)]);
      sorted.back().parent = parent;
      const int place = static_cast<int>(sorted.size()) - 1;
      for (int i = static_cast<int>(nodes_.size()) - 1; i > at; --i)  // the likeliest, taken first, comes first
        if (nodes_[static_cast<size_t>(i)].parent == at) stack.push_back({i, place});
    }
    nodes_ = std::move(sorted);
  }

  std::vector<Node> nodes_;
};

// What a decoder asks: a tree for each pass, and where the text goes in it.
class Drafter {
 public:
  // A frame of so many bytes.
  Drafter(size_t size, Statistics& statistics) : history_(size), statistics_(statistics), began_(now()) {}
  ~Drafter() { statistics_.total += now() - began_; }
  Drafter(const Drafter&) = delete;
  Drafter& operator=(const Drafter&) = delete;

  // The nodes of a pass: the token that is known, and with `guess` what may follow it.
  const std::vector<Node>& grow(uint32_t input, bool guess) {
    if (rows_ > 0) pace_.pass(rows_, spent_, tokens_);
    const double began = now();
    tree_.grow(history_, input, guess ? kRows : 1, pace_.threshold());
    rows_ = static_cast<int>(tree_.nodes().size());
    tokens_ = 0;
    looked_ = now();
    statistics_.guessing += looked_ - began;
    spent_ = looked_ - began;
    return tree_.nodes();
  }
  // The pass is over.
  void looked() {
    const double took = now() - looked_;
    spent_ += took;
    statistics_.network += took;
    ++statistics_.passes;
    statistics_.rows += static_cast<uint64_t>(rows_);
    std::array<bool, kDepth> there{};
    for (const Node& node : tree_.nodes())
      if (node.depth > 0) there[static_cast<size_t>(node.depth - 1)] = true;
    for (int i = 0; i < kDepth; ++i) statistics_.offered[static_cast<size_t>(i)] += there[static_cast<size_t>(i)];
  }
  // Behind a node the text goes on with this token: the node that says so, or -1.
  int follow(int node, uint32_t token) {
    history_.learn(token);
    ++tokens_;
    ++statistics_.tokens;
    const int next = tree_.child(node, token);
    if (next >= 0) ++statistics_.accepted[static_cast<size_t>(tree_.nodes()[static_cast<size_t>(next)].depth - 1)];
    return next;
  }

 private:
  History history_;
  Tree tree_;
  Pace pace_;
  Statistics& statistics_;
  double began_, looked_ = 0, spent_ = 0;
  int rows_ = 0, tokens_ = 0;
};

}  // namespace lmc::draft
