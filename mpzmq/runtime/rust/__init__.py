"""The wire of the Rust crate mp-executor-engine over TCP, as a transport of this protocol's messages."""
