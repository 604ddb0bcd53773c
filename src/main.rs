//! One executable: its name or first word picks the client, the daemon or the set-up stage.
fn main() {
    let mut words: Vec<std::ffi::OsString> = std::env::args_os().collect();
    let name = words.first().map(std::path::PathBuf::from);
    if name.and_then(|name| name.file_name().map(|name| name == "rsvcd")).unwrap_or(false) {
        words.insert(1, "daemon".into());
    }
    match rsvc::cli::run(words) {
        rsvc::cli::Outcome::Exit(code) => std::process::exit(i32::from(code)),
        other => println!("{other:?}"),
    }
}
