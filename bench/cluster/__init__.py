"""Trials beyond one machine's database, each on loopback alone: docs/scaling.md tells what they showed."""
