"""Readers of what sellers hand over, one file per export format.

A format is two functions: `detect(header)` tells its files by their normalised column names and
`read(table)` turns the records of one file into typed rows. Readers touch no vault, keep no state
between files, write nothing anywhere, and hold one record at a time; `reading.FORMATS` lists them.
"""
