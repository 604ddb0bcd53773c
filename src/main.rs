//! One executable: its name or first word picks the client, the daemon or the set-up stage.
#![forbid(unsafe_code)]

use rsvc::cli::{self, Instance, Outcome};
use rsvc::daemon::{self, Options, RunOptions};
use rsvc::init::delegated;
use rsvc::init::first::{self, Charge};
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().and_then(|word| Path::new(word).file_name()).unwrap_or_default().to_owned();
    if name == rsvc::init::STAGE_NAME {
        if arguments.get(1).is_some_and(|word| word == rsvc::init::NURSERY_WORD) {
            rsvc::init::nursery_main();
        }
        let plan = arguments.get(1).and_then(|word| word.to_str()?.parse().ok());
        rsvc::init::stage_main(plan.unwrap_or(-1));
    }
    if name == rsvc::verify::PROBE_NAME {
        let given = arguments.get(1).and_then(|word| word.to_str()).unwrap_or_default().to_owned();
        rsvc::verify::inside::probe_main(&given);
    }
    if name == first::NAME {
        return ExitCode::from(watch_over(first::charge_of(&arguments, std::env::vars_os().collect())));
    }
    if name == "rsvcd" {
        arguments.insert(1, OsString::from("daemon"));
    }
    let code = match cli::run(arguments) {
        Outcome::Exit(code) => code,
        Outcome::Run { instance, file, profile, quiet, pty } => run(&instance, &file, profile.as_deref(), quiet, pty),
        Outcome::RunCommand { instance, text, pty } => run_command(&instance, &text, pty),
        Outcome::Daemon { instance, stop_on_exit, handoff } => serve(&instance, stop_on_exit, handoff),
        Outcome::HandoffInfo { instance, snapshot } => daemon::handoff_info(options(&instance, false), snapshot),
        Outcome::Init { instance, stop_on_exit } => keep_running(&instance, stop_on_exit),
        Outcome::Keeper { instance, stop } => hold(&instance, stop),
        Outcome::Features { json, .. } => features(json),
        Outcome::PlanFile { instance, target, json } => {
            let target = match cli::is_file(&target) {
                true => daemon::PlanTarget::File(target.into()),
                false => daemon::PlanTarget::Unit(target),
            };
            daemon::plan_file(options(&instance, false), &target, json)
        }
    };
    ExitCode::from(code)
}

/// Where everything of an instance lies.
fn options(instance: &Instance, foreground: bool) -> Options {
    let system = instance.is_system();
    let runtime_dir = instance.runtime_dir();
    let cgroup_name = if system { "rsvc".to_owned() } else { daemon::instance_name(&runtime_dir) };
    Options {
        unit_path: instance.unit_path(),
        state_dir: instance.state_dir(),
        log_dir: instance.log_dir(),
        socket: instance.socket(),
        cgroup_root: instance.cgroup_root.clone(),
        runtime_dir,
        cgroup_name,
        system,
        stop_on_exit: false,
        foreground,
        log_level: std::env::var("RSVC_LOG").ok(),
        strict_host: false,
    }
}

fn run(instance: &Instance, file: &Path, profile: Option<&str>, quiet: bool, terminal: bool) -> u8 {
    let mut options = options(instance, true);
    daemon::isolate_run(&mut options);
    match daemon::read_for_run(file, profile) {
        Ok((unit, warnings)) => daemon::run(RunOptions { options, unit, warnings, quiet, command: false, terminal }),
        Err(text) => {
            eprint!("{text}");
            6
        }
    }
}

fn run_command(instance: &Instance, text: &str, terminal: bool) -> u8 {
    let mut options = options(instance, true);
    daemon::isolate_run(&mut options);
    match daemon::read_text_for_run(text) {
        Ok((unit, warnings)) => {
            daemon::run(RunOptions { options, unit, warnings, quiet: true, command: true, terminal })
        }
        Err(text) => {
            eprint!("{text}");
            2
        }
    }
}

fn features(json: bool) -> u8 {
    let features = daemon::features::probe();
    let text = if json { daemon::features::as_json(&features) } else { daemon::features::as_text(&features) };
    match std::io::Write::write_all(&mut std::io::stdout(), text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => 1,
        _ => 0,
    }
}

/// Own environment, with what was given of the instance: a daemon that is started with it has the same.
fn environment_of(instance: &Instance) -> Vec<(OsString, OsString)> {
    let given = instance.variables();
    let mut environment: Vec<(OsString, OsString)> = std::env::vars_os().collect();
    environment.retain(|(name, _)| !given.iter().any(|(other, _)| name == other));
    environment.extend(given);
    environment
}

fn hold(instance: &Instance, stop: bool) -> u8 {
    let done = if stop && !daemon::has_begun(&instance.runtime_dir()) {
        Ok(())
    } else if stop {
        delegated::stop_everything(environment_of(instance))
    } else {
        delegated::hold(std::env::var_os("NOTIFY_SOCKET"))
    };
    match done {
        Ok(()) => 0,
        Err(text) => {
            eprintln!("rsvc keeper: {text}");
            1
        }
    }
}

fn keep_running(instance: &Instance, stop_on_exit: bool) -> u8 {
    let charge = Charge::new(stop_on_exit, environment_of(instance));
    first::begin_anew(&charge);
    watch_over(charge)
}

fn watch_over(charge: Charge) -> u8 {
    match first::keep_running(charge) {
        Ok(code) => code,
        Err(text) => {
            eprintln!("rsvc init: {text}");
            1
        }
    }
}

fn serve(instance: &Instance, stop_on_exit: bool, handoff: Option<i32>) -> u8 {
    let mut options = options(instance, false);
    options.stop_on_exit = stop_on_exit;
    match daemon::serve(options, handoff) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("rsvc daemon: {error}{}", daemon::advice(&error));
            1
        }
    }
}
