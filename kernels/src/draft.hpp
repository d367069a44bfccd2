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
#include <memory>
#include <utility>
#include <vector>

#include "draft_network.hpp"
#include "transformer.hpp"

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
  float p;           // that the text goes this way
  float drafted = 0; // by the draft network: that it follows its parent
  bool both = false; // history says so, too
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
  // A pass of the network; `all`: with the guesses before it; tokens: that it gave.
  void pass(int rows, double seconds, double all, int tokens) {
    if (weight_ > 4 && seconds > 3 * time(rows)) {  // somebody else had the processor
      all -= seconds - 3 * time(rows);
      seconds = 3 * time(rows);
    }
    const double n = rows;
    for (double* sum : {&weight_, &n_, &t_, &nn_, &nt_, &spent_, &done_}) *sum *= kFade;
    weight_ += 1;
    n_ += n;
    t_ += seconds;
    nn_ += n * n;
    nt_ += n * seconds;
    spent_ += all;
    done_ += tokens;
    const double spread = nn_ - n_ * n_ / weight_;
    const double mean = t_ / weight_;
    double each = kUsual * mean;
    if (spread > 0.5 * weight_) each = (nt_ - n_ * t_ / weight_) / spread;
    each_ = std::clamp(each, 0.005 * mean, 0.5 * mean);
    base_ = mean - each_ * n_ / weight_;
  }
  // The least probability at which a row is worth its time.
  float threshold() const {
    if (done_ <= 0) return 0.2f;
    return static_cast<float>(std::clamp(each_ / token(), 0.02, 0.6));
  }
  double token() const { return done_ > 0 ? spent_ / done_ : 0; }  // seconds of one
  double time(int rows) const { return base_ + each_ * rows; }

 private:
  static constexpr double kFade = 0.98, kUsual = 0.06;
  double weight_ = 0, n_ = 0, t_ = 0, nn_ = 0, nt_ = 0;
  double base_ = 0, each_ = 0, spent_ = 0, done_ = 0;
};

// The draft network beside a text: when it is asked, and how far it is believed.
class Drafts {
 public:
  static constexpr int kGuesses = 8;  // of one node
  static constexpr int kNodes = 8;    // that are asked about at a time

  Drafts(const Weights& weights, Pool& pool) : w_(weights), state_(weights, pool) {
    taps_.layers = weights.layers;
    worth_.fill(Rate(0.5f));
  }

  Taps& taps() { return taps_; }
  // A known token, and the row of the pass that was asked for it.
  void say(uint32_t token, int row) {
    const size_t width = taps_.layers.size() * static_cast<size_t>(w_.shape.dim);
    said_.push_back(static_cast<int32_t>(token));
    streams_.insert(streams_.end(), taps_.streams.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(row) * width),
                    taps_.streams.begin() + static_cast<ptrdiff_t>((static_cast<size_t>(row) + 1) * width));
    if (said_.size() > kLeft) {  // nobody has asked for long: the text may begin anew here
      said_.erase(said_.begin(), said_.end() - 64);
      streams_.erase(streams_.begin(), streams_.end() - static_cast<ptrdiff_t>(64 * width));
      state_.forget();
    }
  }
  // Whether an answer for nodes of this depth and probability in all saves more time than it takes. Now and
  // then it is asked anyway.
  bool pays(int depth, float p, double token) {
    if (depth == 0) ++turn_;
    const size_t at = place(depth);
    return asked_[at] < kTrials || turn_ % 64 == 0 || p * worth_[at].p() * token > kMargin * seconds_[at];
  }
  // What follows the known text: states and probabilities, of one row.
  void begin() {
    const double began = now();
    const bool usual = said_.size() <= 4;  // not what it takes to catch up
    if (!said_.empty()) {
      state_.extend(said_, streams_);
      said_.clear();
      streams_.clear();
    }
    states_.assign(state_.last(), state_.last() + w_.shape.dim);
    state_.probabilities(states_.data(), 1, p_);
    if (usual) took(0, now() - began);
  }
  // The same behind guesses; see State::step.
  void step(int depth, const std::vector<int32_t>& tokens, const std::vector<std::vector<int>>& ways,
            const std::vector<float>& parents) {
    const double began = now();
    state_.step(depth, tokens, ways, parents, states_);
    state_.probabilities(states_.data(), static_cast<int>(tokens.size()), p_);
    took(depth, now() - began);
  }
  const float* states(int row) const { return states_.data() + static_cast<size_t>(row) * static_cast<size_t>(w_.shape.dim); }
  int dim() const { return w_.shape.dim; }
  // The likeliest tokens of a row, of at least `least`; gives their number.
  int best(int row, int depth, float least, Guess* to) const {
    const size_t count = w_.vocabulary.size();
    const float* const p = p_.data() + static_cast<size_t>(row) * count;
    const float trust = trust_[place(depth)];
    int n = 0;
    for (size_t v = 0; v < count; ++v) {
      if (p[v] * trust < least || (n == kGuesses && p[v] * trust <= to[n - 1].p)) continue;
      int at = n < kGuesses ? n++ : n - 1;
      for (; at > 0 && to[at - 1].p < p[v] * trust; --at) to[at] = to[at - 1];
      to[at] = {static_cast<uint32_t>(w_.vocabulary[v]), p[v] * trust};
    }
    return n;
  }
  // At a node on the text's way that was asked about: the probability of the guesses that were
  // tried, whether one was right, and whether that was news.
  void learn(int depth, float offered, bool right, bool news) {
    const size_t at = place(depth);
    worth_[at].update(news);
    sums_[at] = {0.98f * sums_[at].first + offered / trust_[at], 0.98f * sums_[at].second + (right ? 1.0f : 0.0f)};
    trust_[at] = std::clamp((sums_[at].second + 3) / (sums_[at].first + 3), 0.2f, 1.3f);
  }

 private:
  static constexpr size_t kPlaces = 6, kLeft = 512;
  static constexpr int kTrials = 12;
  static constexpr double kMargin = 1.2;  // a row more costs time, too
  static size_t place(int depth) { return std::min<size_t>(static_cast<size_t>(depth), kPlaces - 1); }
  void took(int depth, double seconds) {
    const size_t at = place(depth);
    ++asked_[at];
    if (asked_[at] > 1) seconds = std::min(seconds, 2 * seconds_[at]);  // the first time is slow, and others interrupt
    seconds_[at] += (seconds - seconds_[at]) / std::min(asked_[at], 10);
  }

  const Weights& w_;
  State state_;
  Taps taps_;
  std::vector<int32_t> said_;   // since the last answer
  std::vector<float> streams_;  // of the rows that were asked for them
  std::vector<float> states_, p_;
  uint32_t turn_ = 0;
  std::array<int, kPlaces> asked_{};
  std::array<double, kPlaces> seconds_{};
  std::array<Rate, kPlaces> worth_;  // how often a node's guesses hold the right one, and history's do not
  std::array<std::pair<float, float>, kPlaces> sums_{};
  std::array<float, kPlaces> trust_{1, 1, 1, 1, 1, 1};
};

// The tree of a pass.
class Tree {
 public:
  const std::vector<Node>& nodes() const { return nodes_; }

  // The most probable ways of at least `threshold`, at most `rows` nodes, depth first. `drafts` may be null;
  // `token`: the seconds that one more token saves.
  void grow(const History& history, Drafts* drafts, uint32_t input, int rows, float threshold, double token) {
    nodes_.assign(1, {input, -1, 0, 1.0f});
    if (rows > 1) {
      ask(history, drafts, threshold, token);
      choose(rows);
    }
    asked_.resize(nodes_.size());
  }

  // The child of a node with this token; -1: none.
  int child(int node, uint32_t token) const {
    for (int i = node + 1; i < static_cast<int>(nodes_.size()); ++i)
      if (at(i).parent == node && at(i).token == token) return i;
    return -1;
  }
  // Whether the draft network was asked about a node, and the probability of its guesses that are tried.
  bool asked(int node) const { return asked_[static_cast<size_t>(node)] != 0; }
  float offered(int node) const {
    float sum = 0;
    for (const Node& n : nodes_)
      if (n.parent == node) sum += n.drafted;
    return sum;
  }

 private:
  static constexpr float kSure = 0.9f;  // history that needs no second opinion
  static constexpr size_t kMost = 400;  // nodes that are thought of

  const Node& at(int i) const { return nodes_[static_cast<size_t>(i)]; }

  std::vector<uint32_t> way_to(int node) const {
    std::vector<uint32_t> way;
    for (int i = node; i > 0; i = at(i).parent) way.push_back(at(i).token);
    std::reverse(way.begin(), way.end());
    return way;
  }

  // Level by level, all nodes that may be worth their time.
  void ask(const History& history, Drafts* drafts, float threshold, double token) {
    asked_.assign(1, 0);
    std::vector<int> level{0};
    std::vector<int> number{-1};                  // of each node among the draft network's guesses
    std::vector<std::vector<float>> states(1);    // of each node that it was asked about
    std::vector<std::vector<int>> ancestry(1);    // numbers on the way to each node, itself last
    int numbers = 0;
    for (int depth = 0; depth < kDepth && !level.empty() && nodes_.size() < kMost; ++depth) {
      struct Known {
        Guess guesses[History::kGuesses];
        int n;
      };
      std::vector<Known> known(level.size());
      std::vector<int> row(level.size(), -1);
      std::vector<int32_t> tokens;
      std::vector<std::vector<int>> ways;
      std::vector<float> parents;
      float p = 0;
      std::vector<size_t> order;
      for (size_t i = 0; i < level.size(); ++i) {
        known[i].n = history.guess(way_to(level[i]), known[i].guesses);
        const Node& node = at(level[i]);
        const bool sure = known[i].n > 0 && known[i].guesses[0].p > kSure;
        if (drafts && !sure && (depth == 0 || !states[static_cast<size_t>(node.parent)].empty())) order.push_back(i);
      }
      std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return at(level[a]).p > at(level[b]).p; });
      if (order.size() > Drafts::kNodes) order.resize(Drafts::kNodes);
      for (const size_t i : order) p += at(level[i]).p;
      if (!order.empty() && drafts->pays(depth, p, token)) {
        if (depth == 0) {
          drafts->begin();
          row[0] = 0;
        } else {
          for (const size_t i : order) {
            const int node = level[i], parent = at(node).parent;
            const std::vector<float>& from = states[static_cast<size_t>(parent)];
            row[i] = static_cast<int>(tokens.size());
            tokens.push_back(static_cast<int32_t>(at(node).token));
            parents.insert(parents.end(), from.begin(), from.end());
            ways.push_back(ancestry[static_cast<size_t>(parent)]);
            ancestry[static_cast<size_t>(node)] = ways.back();
            ancestry[static_cast<size_t>(node)].push_back(numbers++);
          }
          drafts->step(depth, tokens, ways, parents);
        }
      }
      std::vector<int> next;
      for (size_t i = 0; i < level.size(); ++i) {
        const int parent = level[i];
        const float all = at(parent).p;
        std::vector<Node> children;
        float left = 1;
        for (int g = 0; g < known[i].n; ++g) {
          const float share = std::min(known[i].guesses[g].p, left);
          left -= share;
          children.push_back({known[i].guesses[g].token, parent, depth + 1, share});
        }
        if (row[i] >= 0) {
          asked_[static_cast<size_t>(parent)] = 1;
          states[static_cast<size_t>(parent)].assign(drafts->states(row[i]), drafts->states(row[i]) + drafts->dim());
          // Where the network is asked, history counts as far as it is surer than usual.
          for (Node& child : children) child.p *= kBesides;
          left = 1 - kBesides * (1 - left);
          Guess guesses[Drafts::kGuesses];
          const int n = drafts->best(row[i], depth, threshold / std::max(all, 1e-6f) * 0.5f, guesses);
          for (int g = 0; g < n; ++g) {
            const auto same = std::find_if(children.begin(), children.end(), [&](const Node& c) { return c.token == guesses[g].token; });
            if (same != children.end()) {
              same->p += left * guesses[g].p;
              same->drafted = guesses[g].p;
              same->both = true;
            } else {
              children.push_back({guesses[g].token, parent, depth + 1, left * guesses[g].p, guesses[g].p});
            }
          }
        }
        for (Node& child : children) {
          child.p *= all;
          if (child.p < threshold) continue;
          next.push_back(static_cast<int>(nodes_.size()));
          nodes_.push_back(child);
          asked_.push_back(0);
          states.emplace_back();
          ancestry.emplace_back();
        }
      }
      level = std::move(next);
    }
  }

  // Keeps the most probable nodes; a chain's rows lie one behind another, as the network looks at several at a time.
  void choose(int rows) {
    std::vector<int> order(nodes_.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int>(i);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return at(a).p > at(b).p; });
    std::vector<char> kept(nodes_.size(), 0);
    int left = rows;
    for (const int i : order) {
      if (left == 0) break;
      if (i > 0 && !kept[static_cast<size_t>(at(i).parent)]) continue;
      kept[static_cast<size_t>(i)] = 1;
      --left;
    }
    std::vector<Node> sorted;
    std::vector<char> asked;
    std::vector<std::pair<int, int>> stack{{0, -1}};  // node, its parent's new place
    while (!stack.empty()) {
      const auto [node, parent] = stack.back();
      stack.pop_back();
      const int place = static_cast<int>(sorted.size());
      sorted.push_back(at(node));
      sorted.back().parent = parent;
      asked.push_back(asked_[static_cast<size_t>(node)]);
      std::vector<std::pair<int, int>> children;
      for (int i = node + 1; i < static_cast<int>(nodes_.size()); ++i)
        if (kept[static_cast<size_t>(i)] && at(i).parent == node) children.push_back({i, place});
      std::sort(children.begin(), children.end(), [&](const auto& a, const auto& b) { return at(a.first).p < at(b.first).p; });
      stack.insert(stack.end(), children.begin(), children.end());
    }
    nodes_ = std::move(sorted);
    asked_ = std::move(asked);
  }

  static constexpr float kBesides = 0.6f;

  std::vector<Node> nodes_;
  std::vector<char> asked_;
};

// What a decoder asks: a tree for each pass, and where the text goes in it.
class Drafter {
 public:
  // A frame of so many bytes; `network` may be null.
  Drafter(size_t size, const Weights* network, Pool& pool, Statistics& statistics)
      : history_(size), statistics_(statistics), began_(now()) {
    if (network) drafts_ = std::make_unique<Drafts>(*network, pool);
  }
  ~Drafter() { statistics_.total += now() - began_; }
  Drafter(const Drafter&) = delete;
  Drafter& operator=(const Drafter&) = delete;

  // The nodes of a pass: the token that is known, and with `guess` what may follow it.
  const std::vector<Node>& grow(uint32_t input, bool guess) {
    if (rows_ > 0) pace_.pass(rows_, passed_, guessed_ + passed_, tokens_);
    const double began = now();
    tree_.grow(history_, drafts_.get(), input, guess ? kRows : 1, pace_.threshold(), pace_.token());
    rows_ = static_cast<int>(tree_.nodes().size());
    tokens_ = 0;
    looked_ = now();
    guessed_ = looked_ - began;
    statistics_.guessing += guessed_;
    return tree_.nodes();
  }
  // What the pass shall tell.
  Taps* taps() { return drafts_ ? &drafts_->taps() : nullptr; }
  // The pass is over.
  void looked() {
    passed_ = now() - looked_;
    statistics_.network += passed_;
    ++statistics_.passes;
    statistics_.rows += static_cast<uint64_t>(rows_);
    std::array<bool, kDepth> there{};
    for (const Node& node : tree_.nodes())
      if (node.depth > 0) there[static_cast<size_t>(node.depth - 1)] = true;
    for (size_t i = 0; i < kDepth; ++i) statistics_.offered[i] += there[i];
  }
  // Behind a node the text goes on with this token: the node that says so, or -1.
  int follow(int node, uint32_t token) {
    history_.learn(token);
    ++tokens_;
    ++statistics_.tokens;
    const int next = tree_.child(node, token);
    const Node& here = tree_.nodes()[static_cast<size_t>(node)];
    if (next >= 0) ++statistics_.accepted[static_cast<size_t>(here.depth)];
    if (drafts_) {
      if (tree_.asked(node)) {
        const Node* const found = next >= 0 ? &tree_.nodes()[static_cast<size_t>(next)] : nullptr;
        const bool right = found && found->drafted > 0;
        drafts_->learn(here.depth, tree_.offered(node), right, right && !found->both);
      }
      drafts_->say(token, node);
    }
    return next;
  }

 private:
  History history_;
  std::unique_ptr<Drafts> drafts_;
  Tree tree_;
  Pace pace_;
  Statistics& statistics_;
  double began_, looked_ = 0, guessed_ = 0, passed_ = 0;
  int rows_ = 0, tokens_ = 0;
};

}  // namespace lmc::draft
