// Computes the golden model of tests/kernels/test_network.py with one kernel variant and writes the
// logits (int32, little-endian) to the standard output. Usage: golden VARIANT ROWS_A_CALL [THREADS]
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../random_model.hpp"

using namespace lmc;

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const Config config{48, 2, 4, 2, 32, 72, 101, 2, 42950};
  const Model model(config);
  constexpr int ROWS = 45;
  std::vector<int32_t> tokens, lanes(ROWS, 0), logits(ROWS * config.vocab);
  for (int64_t t : Generator{5}.ints(0, config.vocab + config.extra - 1, ROWS)) tokens.push_back(static_cast<int32_t>(t));
  Network network(model.tensors, config, argc > 3 ? std::atoi(argv[3]) : 2, argv[1]);
  Cache cache(network, 1, 16, 5, 64);
  const int step = std::atoi(argv[2]);
  for (int i = 0; i < ROWS; i += step) {
    const int rows = step < ROWS - i ? step : ROWS - i;
    network.forward(cache, rows, lanes.data() + i, tokens.data() + i, logits.data() + i * config.vocab);
  }
  std::fwrite(logits.data(), 4, logits.size(), stdout);
  return 0;
}
