"""Codecs: bytes to coded frames and back, one file for each kind of data."""
