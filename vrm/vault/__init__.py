"""Keys and records. Knows nothing of vendors, OAuth or HTTP."""
