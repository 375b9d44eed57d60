"""Docker Swarm: the only package that knows Docker.

`spec` turns a launch plan into a Swarm service (pure), `tasks` reads what Swarm says of it (pure),
`client` sends the calls, `watcher` keeps one view of all servers. "Swarm service" is always
written in full: a service is something else in JupyterHub.
"""
