"""Lossless compression with pretrained models."""
