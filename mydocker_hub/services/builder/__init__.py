"""The builder: works off the queue of image builds. It has no rights at the hub."""
