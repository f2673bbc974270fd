"""The authorization server: one file per endpoint or extension, on Authlib, whose only importer it is."""
