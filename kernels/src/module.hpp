// What each binding file offers to module.cpp.
#pragma once
#include <pybind11/pybind11.h>

void bind_network(pybind11::module_& m);  // bind_network.cpp: the transformer
void bind_mixer(pybind11::module_& m);    // bind_mixer.cpp: byte models and mixer
void bind_coder(pybind11::module_& m);    // bind_coder.cpp: the range coder
void bind_deflate(pybind11::module_& m);  // bind_deflate.cpp: deflate streams and their recipes
void bind_draft(pybind11::module_& m);    // bind_draft.cpp: draft networks
void bind_text(pybind11::module_& m);     // bind_text.cpp: the text codec's loops
void bind_merges(pybind11::module_& m);   // bind_merges.cpp: tokenizers
void bind_graphic(pybind11::module_& m);  // bind_graphic.cpp: drawn images
void bind_jpeg(pybind11::module_& m);     // bind_jpeg.cpp: the JPEG codec
void bind_exjpeg(pybind11::module_& m);   // bind_exjpeg.cpp: pictures that were JPEG files
void bind_photo(pybind11::module_& m);    // bind_photo.cpp: the photo model
void bind_ffv1(pybind11::module_& m);     // bind_ffv1.cpp: FFV1 videos
void bind_flac(pybind11::module_& m);     // bind_flac.cpp: FLAC files
void bind_packets(pybind11::module_& m);  // bind_packets.cpp: packets of lossless video
void bind_sound(pybind11::module_& m);    // bind_sound.cpp: the sound model
void bind_video(pybind11::module_& m);    // bind_video.cpp: the video model
