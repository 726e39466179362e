//! VRRP (RFC 9568): packet codec and state machine, (input, now) -> actions. Pure, and imports nothing of ours.
