"""Who may see what. Knows nothing of Flask or Authlib."""
