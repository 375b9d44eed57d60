"""The catalogue: owner of environments, enrolments, rights and launches; pages and REST API.

`api` is the table of operations, `models` what they take and give, `pages` what people see,
`app` puts them together, `__main__` runs it.
"""
