// The Python face of the kernels: one bind function for each part.
#include "module.hpp"

PYBIND11_MODULE(_native, m) {
  m.doc() = "Exact integer kernels of lmc (see ARITHMETIC.md).";
  bind_network(m);
  bind_mixer(m);
  bind_coder(m);
  bind_deflate(m);
  bind_draft(m);
  bind_text(m);
  bind_merges(m);
  bind_graphic(m);
  bind_jpeg(m);
  bind_exjpeg(m);
  bind_photo(m);
  bind_ffv1(m);
  bind_flac(m);
  bind_packets(m);
  bind_sound(m);
  bind_video(m);
}
