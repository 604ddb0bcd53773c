//! One executable: its name or first word picks the client, the daemon or the set-up stage.
fn main() {
    let args: Vec<String> = std::env::args().collect();
    if args[0] == "rsvc-stage" {
        rsvc::init::stage_main(args[1].parse().unwrap_or(-1));
    }
    let root = rustix::process::geteuid().is_root();
    let options = rsvc::daemon::Options {
        unit_path: vec![std::env::var_os("RSVC_UNIT_PATH").unwrap_or("/etc/rsvc/units".into()).into()],
        runtime_dir: std::env::var_os("RSVC_RUNTIME_DIR").map_or_else(|| rsvc::daemon::own_runtime_dir(root), Into::into),
        state_dir: std::env::var_os("RSVC_STATE_DIR").unwrap_or("/tmp/rsvc-state".into()).into(),
        log_dir: "/tmp/rsvc-state/log".into(),
        socket: "/tmp/rsvc.sock".into(),
        cgroup_root: None,
        cgroup_name: format!("rsvc-run-{}", std::process::id()),
        system: false,
        stop_on_exit: false,
        foreground: true,
        strict_host: false,
    };
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_max_level(tracing::Level::INFO).init();
    let text = std::fs::read_to_string(&args[2]).unwrap();
    match rsvc::unit::Unit::parse("hello", &args[2], &text) {
        Ok((unit, w)) => {
            let warnings = rsvc::unit::problem::render(&w, &text, Default::default());
            std::process::exit(rsvc::daemon::run(rsvc::daemon::RunOptions { options, unit, warnings, quiet: false }).into());
        }
        Err(p) => {
            eprint!("{}", rsvc::unit::problem::render(&p, &text, Default::default()));
            std::process::exit(6);
        }
    }
}
