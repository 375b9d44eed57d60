"""The rules, apart from everything that talks to the outside.

Nothing here reads a file, a clock, a socket or a configuration: what is needed is passed in.
Only the standard library and pydantic are imported.
"""
