"""The HTTP interface: connections, middleware, routes, and errors as problem details."""
