"""The service under bad input, faults and loads, measured on real sockets; and training that is killed."""
