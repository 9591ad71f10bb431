"""Equilibria: polishing, inertia, symmetry orbits, classification, continuation in the decay."""
