// What each profile is made of.
#pragma once
#include <cstdint>
#include <vector>

namespace lmc::mixer {

enum class Profile { fast = 1, normal = 2, strong = 3 };

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

// The contexts depend on whether the newest bytes look like text or like
// binary data; both lists are equally long.
struct Plan {
  std::vector<Ctx> contexts[2];    // text, binary
  int orders;                      // how many of the first contexts are rising orders
  std::vector<uint32_t> matches;   // shortest lengths of the match models, longest first
  std::vector<Select> sets;        // weight sets; the last one lends its weights to the others' new vectors
  int refinements;                 // probability maps: by order 1, and also by order 3
  int log2_refine;                 // most contexts of the second map
  int log2_slots;                  // most slots of the history table
};

inline const Plan& plan_of(Profile profile, bool network) {
  using C = Ctx;
  using S = Select;
  static const Plan fast{{{C::order2, C::order3, C::order4, C::order6, C::word},
                          {C::order2, C::order3, C::order4, C::record2, C::sparse23}},
                         3, {6}, {S::match, S::partial}, 1, 8, 22};
  static const Plan normal{
      {{C::order2, C::order3, C::order4, C::order6, C::word, C::word_pair, C::word_skip, C::above, C::indirect2,
        C::expected, C::classes, C::order0},
       {C::order1, C::order2, C::order3, C::order6, C::sparse23, C::sparse34, C::sparse13, C::record2,
        C::record_column, C::classes, C::expected, C::order0}},
      4, {12, 5}, {S::match, S::partial, S::classes, S::one}, 2, 12, 23};
  static const Plan strong{
      {{C::order2, C::order3, C::order4, C::order6, C::word, C::word_pair, C::word_skip, C::above, C::indirect2,
        C::expected, C::classes, C::order0, C::order5, C::indirect1, C::record2, C::sparse23},
       {C::order1, C::order2, C::order3, C::order6, C::sparse23, C::sparse34, C::sparse13, C::record2,
        C::record_column, C::classes, C::expected, C::order0, C::record1, C::sparse24, C::order4, C::indirect2}},
      4, {16, 5}, {S::match, S::partial, S::order1, S::classes, S::one}, 2, 16, 24};
  static const std::vector<C> beside_network{C::order2, C::order4, C::order6, C::word_pair, C::token_pair,
                                             C::expected, C::classes, C::above, C::indirect2};
  static const Plan mixed{{beside_network, beside_network}, 3, {16, 5},
                          {S::match, S::partial, S::order1, S::loss, S::classes, S::one}, 2, 12, 22};
  if (network) return mixed;
  return profile == Profile::fast ? fast : profile == Profile::normal ? normal : strong;
}

}  // namespace lmc::mixer
