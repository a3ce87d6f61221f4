"""Bytes on demand: the first pass over a layer, and verified reads that fetch what is missing."""
