"""The pages, one file per place in the navigation; each hangs its routes on `desk.web`."""
