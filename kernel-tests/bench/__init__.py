"""Benchmarks: imagefs and a peer in turn, as ratios. They print and record; they assert nothing."""
