//! One verb a file.

pub mod validate;
