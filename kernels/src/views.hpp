// The distributions of a frame's tokens and its online bias, where logits are made far from the processor.
//
// A row of logits is 200 KB, and the byte models ask for some forty sums of it. So the sums are made where the
// logits are, and what comes over is the answers: to an encoder, which knows the tokens, those alone; to a
// decoder sums over blocks, and the logits for the few weights in between.
#pragma once
#include <cstdint>
#include <vector>

#include "distribution.hpp"

namespace lmc {

struct Range {
  uint32_t low, high;  // tokens low <= v < high
};

// Masses of a range: the network's own, and with the online bias.
struct Masses {
  uint64_t plain, biased;
};

// Rows of a pass in the order of coding, and what their walks ask.
struct Walks {
  std::vector<int32_t> row, token;  // the token that is coded by a row's logits
  std::vector<int32_t> steps;       // rows of each step: they share a bias, which learns behind them
  std::vector<uint32_t> first{0};   // of walk i the ranges first[i] <= r < first[i + 1]
  std::vector<Range> ranges;

  void clear() {
    row.clear(), token.clear(), steps.clear(), ranges.clear();
    first.assign(1, 0);
  }
};

class Views {
 public:
  virtual ~Views() = default;
  virtual int most_rows() const = 0;  // of one call
  virtual int most_run() const = 0;   // of one lane in one call
  virtual int whole_run() const = 0;  // rows of one lane that cost as much as some less

  // Feeds rows as Engine::forward() does, and answers the walks: `out` receives the masses of all their ranges.
  virtual void answer(int rows, const int32_t* lane, const int32_t* token, const Walks& walks, Masses* out) = 0;

  // Feeds one row of each of some lanes, whose tokens are not known yet.
  virtual void look(int rows, const int32_t* lane, const int32_t* token) = 0;
  // Of a row of the last look(), until the next.
  virtual Sketch plain(int row) const = 0;
  virtual Sketch biased(int row) const = 0;
  // Teaches the bias what the rows of the last look() have coded, in their order.
  virtual void learn(const int32_t* token) = 0;
};

}  // namespace lmc
