"""The transport over libzmq; nothing else imports zmq."""
