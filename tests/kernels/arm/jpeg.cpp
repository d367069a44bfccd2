// A JPEG file's coefficients, coded in one band, to the standard output; the file must come back.
#include <cstdio>
#include <iterator>
#include <utility>
#include <vector>

#include "jpeg_file.hpp"
#include "jpeg_model.hpp"
#include "rangecoder.hpp"

using namespace lmc::jpeg;

struct Encoder {
  lmc::RangeEncoder coder;
  int operator()(int bit, uint32_t p) {
    coder.encode(bit, p);
    return bit;
  }
};

struct Decoder {
  lmc::RangeDecoder coder;
  int operator()(int, uint32_t p) { return coder.decode(p); }
};

int main(int argc, char** argv) {
  std::FILE* file = argc == 2 ? std::fopen(argv[1], "rb") : nullptr;
  if (file == nullptr) return 2;
  std::vector<uint8_t> data(1 << 16);
  data.resize(std::fread(data.data(), 1, data.size(), file));
  std::fclose(file);
  File taken = take_apart(data.data(), data.size());
  taken.choices.runs.clear();
  Encoder encoder;
  const int rows = taken.headers.mcu_rows, lines = log2_lines(data.size(), 1);
  Band<Encoder>(taken.headers, taken.planes, false, lines, encoder).code(0, rows, [](int) {});
  const std::vector<uint8_t> payload = std::move(encoder.coder).bytes(), outside = to_bytes(taken);
  Decoder decoder{{payload.data(), payload.size()}};
  File again = from_bytes(outside.data(), outside.size(), data.size());
  Band<Decoder>(again.headers, again.planes, true, lines, decoder).code(0, rows, [](int) {});
  if (put_together(again, data.size()) != data) return 1;
  return std::fwrite(payload.data(), 1, payload.size(), stdout) == payload.size() ? 0 : 2;
}
