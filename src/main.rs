//! One executable: its name or first word picks the client, the daemon or the set-up stage.
fn main() {}
