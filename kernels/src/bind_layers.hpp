// Networks of small layers (layers.hpp) from arrays of Python.
#pragma once
#include <pybind11/numpy.h>
#include <pybind11/stl.h>

#include <tuple>
#include <utility>
#include <vector>

#include "layers.hpp"

namespace lmc::layers {

template <class T>
using Given = pybind11::array_t<T, pybind11::array::c_style>;
// Weights (outputs, inputs), bias, factor, shift.
using GivenLayer = std::tuple<Given<int8_t>, Given<int32_t>, Given<int32_t>, int>;

inline Network network_of(const std::vector<GivenLayer>& given, int inputs) {
  Network network;
  for (const auto& [weights, bias, factor, shift] : given) {
    if (weights.ndim() != 2 || bias.size() != weights.shape(0) || factor.size() != weights.shape(0))
      throw pybind11::value_error("weights are (outputs, inputs), bias and factor one for each output");
    if (weights.shape(1) != inputs) throw pybind11::value_error("a layer does not take what the one before gives");
    network.layers.push_back(make_layer(inputs, static_cast<int>(weights.shape(0)), shift, weights.data(), bias.data(), factor.data()));
    inputs = static_cast<int>(weights.shape(0));
  }
  if (network.layers.empty() || inputs != kUnit) throw pybind11::value_error("the last layer has 16 outputs");
  return network;
}

}  // namespace lmc::layers
