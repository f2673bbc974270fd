"""`vrm sandbox`: a vault to integrate against, with five sample people who answer as you tell them.

Promises: what a vendor meets is the real server, with real consent, keys and events; only the people are
played, and the clock can be moved forward. Refuses to be anything but a sandbox: it serves loopback only, in
a folder of its own that is deleted at the end, with passphrases that everybody knows.
"""
