//! The process that owns a lab: namespaces, nodes, control socket.
