"""Studies of Arora, Cohen, Golowich, Hu (2019)."""
