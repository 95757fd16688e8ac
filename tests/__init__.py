"""Parity, golden cases, converters, tokenizers, pixels, lessons, exercises, command lines and the site."""
