//! One executable: its name or first word picks the client, the daemon or the set-up stage.

use rsvc::init;

fn main() {
    // The stage is between the start of a service and its first instruction: no parser, no logging before it.
    let mut words = std::env::args_os();
    let name = words.next();
    let name = name.as_deref().and_then(|name| std::path::Path::new(name).file_name());
    if name.is_some_and(|name| name == init::STAGE_NAME) {
        let plan = words.next().and_then(|word| word.to_str()?.parse().ok());
        init::stage_main(plan.unwrap_or(-1));
    }
}
