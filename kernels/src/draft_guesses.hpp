// Guesses of a draft network.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "draft_history.hpp"
#include "draft_network.hpp"
#include "draft_pace.hpp"
#include "transformer.hpp"

namespace lmc::draft {

// The draft network beside a text: when it is asked, and how far it is believed.
class Drafts {
 public:
  static constexpr int kGuesses = 8;  // of one node
  static constexpr int kNodes = 8;    // that are asked about at a time

  Drafts(const Weights& weights, Pool& pool) : w_(weights), state_(weights, pool) {
    taps_.layers = weights.layers;
    worth_.fill(Rate(0.35f));
  }

  Taps& taps() { return taps_; }
  // A known token, and the row of the pass that was asked for it.
  void say(uint32_t token, int row) {
    const size_t width = taps_.layers.size() * static_cast<size_t>(w_.shape.dim);
    said_.push_back(static_cast<int32_t>(token));
    streams_.insert(streams_.end(), taps_.streams.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(row) * width),
                    taps_.streams.begin() + static_cast<ptrdiff_t>((static_cast<size_t>(row) + 1) * width));
    if (said_.size() > kLeft) {  // nobody has asked for long: the text may begin anew here, catching up would take longer
      said_.erase(said_.begin(), said_.end() - kKept);
      streams_.erase(streams_.begin(), streams_.end() - static_cast<ptrdiff_t>(kKept * width));
      state_.forget();
    }
  }
  // Whether an answer for nodes of this depth and probability in all saves more time than it takes, itself and by
  // the rows that it adds: `token` seconds for each token that it finds, `each` for each row. Now and then it is
  // asked anyway.
  bool pays(int depth, float p, double token, double each) {
    if (depth == 0) ++turn_;
    const size_t at = place(depth);
    if (asked_[0] < kTrials || turn_ % kSeldom == 0) return true;
    const double spent = seconds_[asked_[at] > 0 ? at : 0] + kAdded * p * each;
    return p * worth_[at].p() * token > kMargin * spent;
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
  static constexpr size_t kPlaces = 6, kLeft = 64, kKept = 32;
  static constexpr int kTrials = 2;        // answers of which the first one is slow
  static constexpr uint32_t kSeldom = 1024;
  static constexpr double kMargin = 1.2, kAdded = 2.5;  // rows for a node that is asked about
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

}  // namespace lmc::draft
