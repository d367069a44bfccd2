// Which compilation of a model runs: variants from the slowest to the fastest, each with its `name`.
#pragma once
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

namespace lmc {

template <class Variant>
std::vector<std::string> names_of(const std::vector<const Variant*>& all) {
  std::vector<std::string> names;
  for (const Variant* v : all) names.push_back(v->name);
  return names;
}

// "": LMC_KERNELS, or the fastest. Throws std::invalid_argument for a name that is not here.
template <class Variant>
const Variant& variant_of(const std::vector<const Variant*>& all, const std::string& name) {
  const char* forced = std::getenv("LMC_KERNELS");
  const std::string wanted = !name.empty() ? name : forced != nullptr ? forced : "";
  for (const Variant* v : all)
    if (v->name == wanted) return *v;
  if (!name.empty()) throw std::invalid_argument("no such variant here: " + name);
  // A name that belongs to the network's kernels alone (amx, neon, neondot) asks for the best here.
  return *all.back();
}

}  // namespace lmc
