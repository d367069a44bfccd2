// Guesses of what comes next, so that a decoder's network can look at several tokens in one pass.
//
// Whatever is guessed, the decoded bytes are the same (FORMAT.md knows nothing of it): a guess that is wrong
// costs time. So the numbers here may be floats, and depend on clocks.
#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "draft_guesses.hpp"
#include "draft_history.hpp"
#include "draft_pace.hpp"
#include "draft_tree.hpp"

namespace lmc::draft {

constexpr int kRows = 48;   // of one tree at most

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
    tree_.grow(history_, drafts_.get(), input, guess ? kRows : 1, pace_);
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
