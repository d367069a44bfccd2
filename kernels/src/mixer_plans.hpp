// What each profile is made of.
#pragma once
#include <cstdint>
#include <vector>

namespace lmc::mixer {

// The numbers are those of FORMAT.md's methods and of ARITHMETIC.md's plans.
enum class Profile { fast = 1, normal = 2, strong = 3, network = 4, network2 = 5 };
constexpr bool beside_network(Profile profile) { return profile >= Profile::network; }

// The contexts of bit histories (make_contexts() in mixer.hpp). The numbers
// are part of the hashes, and so of the format: append only.
enum class Ctx : uint8_t {
  order0, order1, order2, order3, order4, order5, order6,
  word, word_pair, word_skip,
  sparse13, sparse23, sparse24, sparse34,
  above, record1, record2, record_column,
  indirect1, indirect2, expected, classes, token_pair
};

// What chooses a weight vector of a set.
enum class Select : uint8_t { match, partial, order1, classes, loss, one };
constexpr int kSelectSize[] = {1024, 512, 512, 2048, 256, 1};

constexpr int kMaxContexts = 24, kMaxMatches = 2, kMaxSets = 6;

// The contexts depend on whether the newest bytes look like text or like
// binary data.
struct Plan {
  int contexts;
  Ctx text[kMaxContexts], binary[kMaxContexts];
  int orders;                     // how many of the first contexts are rising orders
  int matches;
  uint32_t lengths[kMaxMatches];  // shortest lengths of the match models, longest first
  int sets;
  Select set[kMaxSets];           // weight sets; the last one lends its weights to the others' new vectors
  int final_shift, last_shift;    // learning rates of the final mixer and of the last set
  int refinements;                // probability maps: by order 1, and also by order 3
  int log2_refine;                // most contexts of the second map
  int log2_slots;                 // most slots of the history table

  // Adaptive probabilities that are mixed: contexts, matches, orders 0 and 1.
  constexpr int voices() const { return contexts + matches + 2; }
};

constexpr Plan plan_of(Profile profile) {
  using C = Ctx;
  using S = Select;
  constexpr Plan fast{5,
                      {C::order2, C::order3, C::order4, C::order6, C::word},
                      {C::order2, C::order3, C::order4, C::record2, C::sparse23},
                      3, 1, {6}, 2, {S::match, S::partial}, 21, 10, 1, 8, 22};
  constexpr Plan normal{12,
                        {C::order2, C::order3, C::order4, C::order6, C::word, C::word_pair, C::word_skip, C::above,
                         C::indirect2, C::expected, C::classes, C::order0},
                        {C::order1, C::order2, C::order3, C::order6, C::sparse23, C::sparse34, C::sparse13,
                         C::record2, C::record_column, C::classes, C::expected, C::order0},
                        4, 2, {12, 5}, 4, {S::match, S::partial, S::classes, S::one}, 21, 10, 2, 12, 23};
  constexpr Plan strong{16,
                        {C::order2, C::order3, C::order4, C::order6, C::word, C::word_pair, C::word_skip, C::above,
                         C::indirect2, C::expected, C::classes, C::order0, C::order5, C::indirect1, C::record2,
                         C::sparse23},
                        {C::order1, C::order2, C::order3, C::order6, C::sparse23, C::sparse34, C::sparse13,
                         C::record2, C::record_column, C::classes, C::expected, C::order0, C::record1, C::sparse24,
                         C::order4, C::indirect2},
                        4, 2, {16, 5}, 5, {S::match, S::partial, S::order1, S::classes, S::one}, 21, 10, 2, 16, 24};
  constexpr Plan network{9,
                       {C::order2, C::order4, C::order6, C::word_pair, C::token_pair, C::expected, C::classes,
                        C::above, C::indirect2},
                       {C::order2, C::order4, C::order6, C::word_pair, C::token_pair, C::expected, C::classes,
                        C::above, C::indirect2},
                       3, 2, {16, 5}, 6,
                       {S::match, S::partial, S::order1, S::loss, S::classes, S::one}, 24, 12, 2, 12, 22};
  constexpr Plan network2{13,
                          {C::order2, C::order3, C::order4, C::order6, C::word_pair, C::token_pair, C::expected,
                           C::classes, C::above, C::indirect2, C::order1, C::word, C::order5},
                          {C::order2, C::order3, C::order4, C::order6, C::word_pair, C::token_pair, C::expected,
                           C::classes, C::above, C::indirect2, C::order1, C::record2, C::sparse23},
                          4, 2, {16, 5}, 6,
                          {S::match, S::partial, S::order1, S::loss, S::classes, S::one}, 24, 12, 2, 16, 22};
  switch (profile) {
    case Profile::fast: return fast;
    case Profile::normal: return normal;
    case Profile::strong: return strong;
    case Profile::network: return network;
    case Profile::network2: break;
  }
  return network2;
}

}  // namespace lmc::mixer
