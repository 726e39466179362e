//! What must exist, what exists, and the steps from one to the other. Pure.
