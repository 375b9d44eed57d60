"""The doors that people come in by: handlers of the hub, one module each."""
