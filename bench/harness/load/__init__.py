"""Load generators, each a process of its own: the request comes in on standard input, the figures go out as JSON."""
