"""The service that stops servers whose time is over, and has their people warned before."""
