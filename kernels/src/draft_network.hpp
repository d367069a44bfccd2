// A draft network at work: what models/prism.py describes and computes in numpy, for decoders.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "draft_matrix.hpp"
#include "threads.hpp"

namespace lmc::draft {

// Sizes and switches of a draft (models/prism.py, Definition).
struct Shape {
  int dim, heads, kv_heads, head_dim, hidden, taps, modules;
  std::vector<int> steps;
  bool norms;
  float rope_theta, epsilon, final_epsilon;
};

struct Module {
  Matrix fc, q, k, v, o, gate, up, down;
  std::vector<float> fc_bias, norm;
};

// The weights: of the draft, and of its target the embedding, final norm and head. Shared by all texts.
struct Weights {
  Shape shape;
  Matrix fuse;  // only with several taps
  std::vector<float> fuse_bias;
  std::vector<Module> modules;
  std::vector<int8_t> embed;  // [ids][dim]
  std::vector<float> embed_scale, final_norm;
  Matrix head;
  std::vector<int32_t> vocabulary;  // the token of each output of the head
  std::vector<int> layers;          // of the target, whose streams are the taps

  const Module& module(int step) const {
    const size_t at = static_cast<size_t>(step) < shape.steps.size() ? static_cast<size_t>(step) : shape.steps.size() - 1;
    return modules[static_cast<size_t>(shape.steps[at])];
  }
};

// One text: the keys of its tokens and of the tree that is being guessed.
class State {
 public:
  static constexpr int kWindow = 512;  // known tokens that are looked back at, at least

  State(const Weights& weights, Pool& pool) : w_(weights), pool_(pool) {}

  // Known tokens, each with the target's streams [taps][dim] at the token before it; the tree is forgotten.
  // The states [n][dim] are kept: `last` is the newest one's.
  void extend(const std::vector<int32_t>& tokens, const std::vector<float>& taps);
  const float* last() const { return last_.data(); }
  // Guesses, all equally far ahead, join the tree. ways[i]: the numbers of its ancestors among the guesses, the
  // nearest last; states: [n][dim] of the parents. Gives the guesses' own states.
  void step(int depth, const std::vector<int32_t>& tokens, const std::vector<std::vector<int>>& ways,
            const std::vector<float>& states, std::vector<float>& out);
  // softmax of the head, [n][vocabulary].
  void probabilities(const float* states, int n, std::vector<float>& out);
  // Forgets the text; positions go on from 0.
  void forget();

 private:
  void run(const Module& module, const std::vector<int32_t>& tokens, const float* features, const std::vector<int>& places,
           const std::vector<std::vector<int>>* ways, std::vector<float>& out);

  const Weights& w_;
  Pool& pool_;
  int64_t position_ = 0;                   // of the next known token
  int known_ = 0, guesses_ = 0;            // keys here
  std::vector<float> keys_, values_;       // [known, then guesses][kv_heads * head_dim]
  std::vector<float> last_;
};

}  // namespace lmc::draft
