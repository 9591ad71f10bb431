"""Sweeps: many runs of one specification, computed once each, as one labelled cube."""
