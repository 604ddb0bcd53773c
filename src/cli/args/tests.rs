//! What the command line takes and what it refuses.

use super::*;

#[test]
fn the_short_way_gives_what_the_whole_way_gives() {
    let whole = |line: &str| {
        let matches = Arguments::command().try_get_matches_from(words(line)).unwrap();
        format!("{:?}", Arguments::from_arg_matches(&matches).unwrap())
    };
    for line in [
        "status web",
        "status --outp json -n 3 web db",
        "start --no-wait web",
        "kill -s HUP web",
        "list --all -o wide",
        "logs -f web",
        "is-active web",
        "daemon --stop-on-exit",
        "run unit.toml --unit-path /a:/b",
        "stop --all",
    ] {
        let short = parse_with_one_command(&words(line)).unwrap_or_else(|| panic!("{line}: not taken"));
        assert_eq!(format!("{short:?}"), whole(line), "{line}");
    }
    for line in ["", "--json status web", "ps", "why web", "status --nonsense", "status --help", "stat", "kill"] {
        assert!(parse_with_one_command(&words(line)).is_none(), "{line}");
    }
}

fn words(line: &str) -> Vec<OsString> {
    std::iter::once("rsvc").chain(line.split_whitespace()).map(OsString::from).collect()
}

fn arguments(line: &str) -> Arguments {
    match parse(words(line)) {
        Ok(Parsed::Command(arguments)) => *arguments,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn the_definition_is_consistent() {
    Arguments::command().debug_assert();
    for word in RESERVED {
        assert!(Arguments::command().find_subcommand(word).is_none(), "{word} is a command and reserved");
    }
}

#[test]
fn options_may_stand_anywhere() {
    for line in ["-o json status web", "status -o json web", "status web -o json", "status web --json"] {
        assert_eq!(arguments(line).global.format(), Format::Json, "{line}");
    }
    let job = arguments("--socket /a start web --timeout 30s db --runtime-dir /b");
    assert_eq!(job.global.socket, Some(OsString::from("/a")));
    assert_eq!(job.global.runtime_dir, Some(OsString::from("/b")));
    let Command::Start(start) = job.command else { panic!("start") };
    assert_eq!(start.units, ["web", "db"]);
    assert_eq!(start.waiting.timeout, Some(std::time::Duration::from_secs(30)));
}

#[test]
fn words_of_later_versions_are_known_with_whatever_follows() {
    for line in ["learn web", "why", "import --force x.service", "top -n 5", "-o json edit web"] {
        assert!(matches!(parse(words(line)), Ok(Parsed::Reserved(_))), "{line}");
    }
}

#[test]
fn wrong_usage_is_refused() {
    for line in [
        "",
        "start",
        "stop",
        "stop web --all",
        "strat web",
        "kill web -s NOPE",
        "start web --timeout x",
        "status -o xml",
        "list --json -o json",
        "logs",
        "logs web -p loud",
        "logs web -f --until 5m",
        "logs web --invocation 0 --since 5m",
        "run",
        "run x.toml -- /bin/true",
        "run x.toml --mem 5M",
        "completion tcsh",
        "wait",
        "wait web --for lunch",
    ] {
        assert!(parse(words(line)).is_err(), "{line}");
    }
}

#[test]
fn signals_are_names_or_numbers() {
    for (line, number) in
        [("kill web", 15), ("kill -s HUP web", 1), ("kill web --signal SIGUSR1", 10), ("kill web -s 9", 9)]
    {
        let Command::Kill { signal, .. } = arguments(line).command else { panic!("kill") };
        assert_eq!(signal, number, "{line}");
    }
}
