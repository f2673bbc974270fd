"""vrm: a personal data vault, the customer's side of customer relationship management."""

__version__ = "0.2.0.dev0"
