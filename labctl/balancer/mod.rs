//! Balancing: services, health, schedulers, and forwarding as an executable specification. Pure, and imports nothing
//! of ours.
