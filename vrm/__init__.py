"""vrm: a personal data vault, the customer's side of customer relationship management."""

__version__ = "0.1.0"
