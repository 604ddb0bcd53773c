//! How a test says that it cannot run here.

/// Prints `TEST ... skipped: WHY`, past the capture of the test runner, so that a green run shows it. The caller
/// returns.
#[allow(unused_macros, reason = "not every file that has this needs it")]
macro_rules! skipped {
    ($($why:tt)*) => {{
        use std::io::Write as _;
        let thread = std::thread::current();
        let name = thread.name().unwrap_or("test");
        let _ = writeln!(std::io::stderr(), "{name} ... skipped: {}", format_args!($($why)*));
    }};
}
