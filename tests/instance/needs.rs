//! What a test needs of the machine: without it the test says so and returns.

/// Root.
#[allow(unused_macros, reason = "not every file that has this needs it")]
macro_rules! root_only {
    () => {
        if !$crate::instance::is_root() {
            return $crate::instance::skipped("needs root");
        }
    };
}

/// Root, and perl for the services.
#[allow(unused_macros, reason = "not every file that has this needs it")]
macro_rules! root_and_perl {
    () => {
        root_only!();
        if !std::path::Path::new("/usr/bin/perl").exists() {
            return $crate::instance::skipped("needs perl");
        }
    };
}
