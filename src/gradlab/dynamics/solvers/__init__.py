"""Solvers: how a step is made. One method a file; diffrax's own are named by string."""
