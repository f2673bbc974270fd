"""Corner Books: a small web shop that asks a vault before it recommends."""
