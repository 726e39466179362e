//! What keepalived is told of a site.
