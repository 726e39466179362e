//! The witness over real sockets.

