"""The command line ``gradlab``; nothing here imports JAX until a command needs it."""

from gradlab.cli.app import app, main

__all__ = ["app", "main"]
