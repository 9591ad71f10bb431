"""Non-smooth gradient flows of two-layer nets: event-driven Filippov solutions, and smoothing beside them."""
