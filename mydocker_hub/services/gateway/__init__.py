"""The gateway: stands before every server whose interface knows nothing of the hub.

`routes` knows the running servers, `access` who may enter, `forward` passes requests on,
`presence` tells the hub that somebody is at work, `app` puts it together.
"""
