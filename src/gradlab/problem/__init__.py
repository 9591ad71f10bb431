"""Networks, losses, data and their starts: what is trained."""

import jax

# JAX hands a program for the CPU to a thread of its own, which takes 50 µs of CPU time and, where cores are busy, a
# turn of the scheduler; steps from the host wait for every one of theirs. This is heard before a first computation;
# who wants the thread sets it back then.
jax.config.update("jax_cpu_enable_async_dispatch", False)
