"""The benchmark suite: what a request costs, beside a bare Flask route on the same kind of server."""
