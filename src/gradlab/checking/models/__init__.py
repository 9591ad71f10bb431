"""Models of other libraries as networks: Equinox, Flax NNX and Linen, PyTorch, each in a file that alone imports it."""
