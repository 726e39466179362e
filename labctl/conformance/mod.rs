//! Suites that judge a program from outside, by what it does to others, whoever wrote it. It knows labs and the wire, and
//! nothing of how the program under test works.

pub mod vrrp;
