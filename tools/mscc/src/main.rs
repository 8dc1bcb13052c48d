//! Command line of mscc.
fn main() {}
