// The tree of guesses that a pass looks at.
//
// Method: a tree of tokens that a pass verifies at once (X. Miao et al., "SpecInfer", 2023), its nodes
// those of the greatest probability (Y. Li et al., "EAGLE-2", 2024), as many as they pay for themselves.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "draft_guesses.hpp"
#include "draft_history.hpp"
#include "draft_pace.hpp"

namespace lmc::draft {

constexpr int kDepth = 16;  // tokens ahead at most

// A node of a tree; the first one is the token that is known.
struct Node {
  uint32_t token;
  int parent, depth;
  float p;           // that the text goes this way
  float drafted = 0; // by the draft network: that it follows its parent
  bool both = false; // history says so, too
};

// The tree of a pass.
class Tree {
 public:
  const std::vector<Node>& nodes() const { return nodes_; }

  // The most probable ways of at least `threshold`, at most `rows` nodes, depth first. `drafts` may be null.
  void grow(const History& history, Drafts* drafts, uint32_t input, int rows, const Pace& pace) {
    nodes_.assign(1, {input, -1, 0, 1.0f});
    asked_.assign(1, 0);
    if (rows == 1) return;
    ask(history, drafts, pace);
    choose(rows);
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
  static constexpr float kBesides = 0.6f;  // how far history counts beside the draft network

  const Node& at(int i) const { return nodes_[static_cast<size_t>(i)]; }

  std::vector<uint32_t> way_to(int node) const {
    std::vector<uint32_t> way;
    for (int i = node; i > 0; i = at(i).parent) way.push_back(at(i).token);
    std::reverse(way.begin(), way.end());
    return way;
  }

  // Level by level, all nodes that may be worth their time.
  void ask(const History& history, Drafts* drafts, const Pace& pace) {
    const float threshold = pace.threshold();
    std::vector<int> level{0};
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
      if (!order.empty() && drafts->pays(depth, p, pace.token(), pace.row())) {
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

  std::vector<Node> nodes_;
  std::vector<char> asked_;
};

}  // namespace lmc::draft
