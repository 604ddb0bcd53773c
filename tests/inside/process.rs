//! Keys of `[service]` about the process: user, groups, umask, directory, environment, priorities.

use crate::lab::{CAPABILITY_SETS, Lab};

const NONE: &str = "0000000000000000";

#[test]
fn another_user_has_no_capability_at_all_and_exactly_its_groups() {
    let Some(lab) = Lab::new() else { return };
    let more = [
        "status:Uid",
        "status:Gid",
        "status:Groups",
        "status:NoNewPrivs",
        "status:Seccomp",
        "open:/proc/1/status",
        "create:/var",
        "create:/tmp",
        "env",
        "bind:80",
    ];
    let words = [&CAPABILITY_SETS[..], &more[..]].concat();
    let seen = lab.look("number", "user = \"54321\"\n", &words);
    seen.expect(&[
        ("status:Uid", "54321\t54321\t54321\t54321"),
        // A number that nobody has gets no group that could grant anything, least of all 0.
        ("status:Gid", "65534\t65534\t65534\t65534"),
        ("status:Groups", "65534"),
        ("status:NoNewPrivs", "1"),
        ("status:Seccomp", "2"),
        // hidepid hides the processes of others.
        ("open:/proc/1/status", "ENOENT"),
        ("create:/var", "EACCES"),
        ("create:/tmp", "ok"),
    ]);
    seen.expect(&CAPABILITY_SETS.map(|set| (set, NONE)));
    assert!(!seen["env"].contains("HOME="), "no entry in the data base, no home: {seen:?}");
}

#[test]
fn groups_are_exactly_those_of_the_data_base_and_of_the_unit() {
    let Some(lab) = Lab::new() else { return };
    let body = "user = \"daemon\"\ngroup = \"tty\"\nsupplementary_groups = [\"adm\", \"7777\"]\n";
    let seen = lab.look("groups", body, &["status:Uid", "status:Gid", "status:Groups", "env"]);
    seen.expect(&[("status:Uid", "1\t1\t1\t1"), ("status:Gid", "5\t5\t5\t5"), ("status:Groups", "4 5 7777")]);
    for variable in ["USER=daemon", "LOGNAME=daemon", "HOME=/usr/sbin", "SHELL="] {
        assert!(seen["env"].split('|').any(|found| found.starts_with(variable)), "{variable}: {seen:?}");
    }
    let body = "user = \"no-such-user\"\n";
    lab.refused("nobody", body, &["no-such-user", "does not exist", "nobody.toml:"]);
}

#[test]
fn umask_directory_nice_value_and_oom_score_are_as_written() {
    let Some(lab) = Lab::new() else { return };
    let body = "umask = \"0027\"\nworking_directory = \"/usr/share\"\nnice = 7\noom_score_adjust = 321\n";
    let words = [
        "umask",
        "cwd",
        "nice",
        "read:/proc/self/oom_score_adj",
        "read:/proc/1/oom_score_adj",
        "mkdir:/tmp/made",
        "stat:/tmp/made",
    ];
    let seen = lab.look("attributes", body, &words);
    seen.expect(&[
        ("umask", "0027"),
        ("cwd", "/usr/share"),
        ("nice", "7"),
        ("read:/proc/self/oom_score_adj", "321"),
        ("stat:/tmp/made", "dir 0750 0:0"),
    ]);
    let status = lab.instance.status("attributes");
    assert!(!status["degraded"].to_string().contains("oom_score"), "{status:#}");
}

#[test]
fn a_missing_or_closed_working_directory_fails_the_start_at_its_line() {
    let Some(lab) = Lab::new() else { return };
    let missing = "working_directory = \"/nonexistent/place\"\n";
    lab.refused("missing", missing, &["CHDIR", "/nonexistent/place", "ENOENT", "missing.toml:4"]);
    // As the service's user, who may not search it.
    let closed = format!("{}/closed", lab.path());
    std::fs::create_dir(&closed).expect("directory");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o700)).expect("mode");
    let body = format!("working_directory = \"{closed}\"\nuser = \"54321\"\n");
    lab.refused("closed", &body, &["CHDIR", &closed, "EACCES", "closed.toml:4"]);
}

#[test]
fn environment_files_win_over_the_environment_and_later_files_over_earlier_ones() {
    let Some(lab) = Lab::new() else { return };
    let (first, second) = (format!("{}/first", lab.path()), format!("{}/second", lab.path()));
    std::fs::write(&first, "# comment\nA=first\nB=first\nQUOTED=\"two words\"\n").expect("file");
    std::fs::write(&second, "A=second\n").expect("file");
    let body = format!(
        "environment = {{ A = \"unit\", B = \"unit\", C = \"unit\", PATH = \"/bin\" }}\n\
         environment_files = [\"{first}\", \"-/nonexistent/file\", \"{second}\"]\n"
    );
    let seen = lab.look("environment", &body, &["env"]);
    let variables: Vec<&str> =
        seen["env"].split('|').filter(|variable| !variable.starts_with("INVOCATION_ID=")).collect();
    assert_eq!(variables, ["A=second", "B=first", "C=unit", "LANG=C.UTF-8", "PATH=/bin", "QUOTED=two words"]);
    // Read at each start.
    std::fs::write(&second, "A=third\n").expect("file");
    std::fs::remove_file(lab.instance.file("state/log/environment.log")).expect("log");
    lab.instance.rsvc(&["start", "environment"]).expect(0);
    assert!(lab.seen("environment")["env"].contains("A=third"));
    let body = "environment_files = [\"/nonexistent/file\"]\n";
    lab.refused("nofile", body, &["/nonexistent/file", "nofile.toml:4"]);
}

#[test]
fn the_commands_around_the_main_process_run_with_the_same_isolation() {
    let Some(lab) = Lab::new() else { return };
    let command = |file: &str| {
        let exec = lab.exec(&[
            &format!("to:{}/{file}", lab.path()),
            "status:CapBnd",
            "status:Seccomp",
            "status:NoNewPrivs",
            "status:Uid",
            "create:/usr",
            "env",
            "link:/proc/self/ns/mnt",
        ]);
        exec.trim().trim_start_matches("exec = ").to_owned()
    };
    let directory = lab.path();
    std::os::unix::fs::chown(&directory, Some(54321), None).expect("owner");
    let body = format!(
        "user = \"54321\"\nexec_start_pre = [{}]\nexec_start_post = [{}]\nexec_reload = [{}]\nexec_stop = [{}]\nexec_stop_post = [{}]\n\
         [capabilities]\nambient = [\"NET_BIND_SERVICE\"]\n",
        command("pre"),
        command("post"),
        command("reload"),
        command("stop"),
        command("stop-post"),
    );
    let main = format!("to:{directory}/main");
    let exec = lab.exec(&[&main, "link:/proc/self/ns/mnt", "hold"]);
    lab.instance.unit("commands", &format!("[service]\n{exec}{body}"));
    lab.instance.rsvc(&["start", "commands"]).expect(0);
    lab.instance.rsvc(&["reload", "commands"]).expect(0);
    lab.instance.rsvc(&["stop", "commands"]).expect(0);
    let main = std::fs::read_to_string(format!("{directory}/main")).expect("answers");
    let main = Lab::answers(&main);
    for file in ["pre", "post", "reload", "stop", "stop-post"] {
        let text =
            std::fs::read_to_string(format!("{directory}/{file}")).unwrap_or_else(|error| panic!("{file}: {error}"));
        let seen = Lab::answers(&text);
        seen.expect(&[
            ("status:CapBnd", "0000000000000400"),
            ("status:Seccomp", "2"),
            ("status:NoNewPrivs", "1"),
            ("status:Uid", "54321\t54321\t54321\t54321"),
            ("create:/usr", "EROFS"),
        ]);
        if ["post", "reload", "stop"].contains(&file) {
            assert_eq!(seen["link:/proc/self/ns/mnt"], main["link:/proc/self/ns/mnt"], "{file} joins the container");
            assert!(seen["env"].contains("MAINPID=2"), "{file}: {seen:?}");
        }
    }
}
