//! System calls by every way into the kernel: what the filter refuses has no other name, number or width.

use crate::instance::skipped;
use crate::lab::Lab;

/// Opens the i386 entry, with all calls by which it could be noticed.
const BOTH: &str = "[syscalls]\narchitectures = [\"native\", \"x86\"]\n";

#[test]
fn typing_into_a_terminal_is_refused_whatever_the_upper_half_of_the_request() {
    let Some(lab) = Lab::new() else { return };
    let denied = ["0x5412", "0x100005412", "0x7fffffff00005412", "0x541c", "0x10000541c"];
    let questions: Vec<String> = denied.iter().map(|request| format!("terminal:{request}")).collect();
    let mut words: Vec<&str> = questions.iter().map(String::as_str).collect();
    words.extend(["terminal:0x5413", "terminal:0x100005413"]);
    let seen = lab.look("terminal", "", &words);
    for question in &questions {
        assert_eq!(&seen[question], "EPERM", "{question}");
    }
    seen.expect(&[("terminal:0x5413", "ok"), ("terminal:0x100005413", "ok")]);
    // Without a filter the kernel has another opinion, of TIOCSTI where that is switched off too.
    let free = lab.look("free", "[security]\nprofile = \"host\"\n", &["terminal:0x5412", "terminal:0x10000541c"]);
    assert!(["ok", "EIO", "EPERM"].contains(&&free["terminal:0x5412"]), "{free:?}");
    assert_eq!(&free["terminal:0x10000541c"], "ENOTTY", "not a console");
}

#[test]
fn only_the_listed_families_can_be_opened_by_any_entry() {
    let Some(lab) = Lab::new() else { return };
    let seen = lab.look("native", "", &["families", "families:i386", "families:socketcall"]);
    seen.expect(&[("families", "1 2 10 16"), ("families:i386", "ENOSYS"), ("families:socketcall", "ENOSYS")]);
    let few = "[network]\naddress_families = [\"AF_UNIX\"]\n";
    let seen = lab.look("both", &format!("{BOTH}{few}"), &["families", "families:i386", "families:socketcall"]);
    assert_eq!(&seen["families"], "1");
    if seen["families:i386"].contains('?') {
        return skipped("no i386 entry on this processor");
    }
    seen.expect(&[("families:i386", "1"), ("families:socketcall", "EPERM")]);
    let free = "[security]\nprofile = \"host\"\n";
    let seen = lab.look("free", free, &["families", "families:i386", "families:socketcall"]);
    assert!(seen["families"].split(' ').count() > 4, "{seen:?}");
    if seen["families:i386"] == *"ENOSYS" {
        return skipped("this kernel has no entry for i386 programs");
    }
    assert_eq!(seen["families:i386"], seen["families"]);
    assert_eq!(seen["families:socketcall"], seen["families"]);
}

#[test]
fn conditions_hold_for_the_families_by_every_entry_too() {
    let Some(lab) = Lab::new() else { return };
    let body =
        "[syscalls]\narchitectures = [\"native\", \"x86\"]\nerrno = \"EXDEV\"\ndeny = [\"socket(0 == AF_UNIX)\"]\n";
    let seen = lab.look("conditions", body, &["socket:1:1", "socket:2:1", "families:socketcall"]);
    seen.expect(&[("socket:1:1", "EXDEV"), ("socket:2:1", "ok")]);
    if !seen["families:socketcall"].contains('?') {
        seen.expect(&[("families:socketcall", "EXDEV")]);
    }
    let rules =
        "[syscalls]\nerrno = \"EXDEV\"\nallow.append = [\"kcmp(2 == 1)\"]\ndeny = [\"prctl(0 == PR_SET_NAME)\"]\n";
    let rules = rules.replace("kcmp(2 == 1)", "bpf(0 == 5)");
    let seen = lab.look("rules", &rules, &["call:bpf:5:0:0", "call:bpf:4:0:0", "call:prctl:15:0", "call:prctl:3"]);
    seen.expect(&[("call:bpf:4:0:0", "EXDEV"), ("call:prctl:15:0", "EXDEV"), ("call:prctl:3", "ok")]);
    assert_ne!(&seen["call:bpf:5:0:0"], "EXDEV");
}

#[test]
fn numbers_that_nobody_knows_are_told_apart_from_denied_ones() {
    let Some(lab) = Lab::new() else { return };
    let body = "[syscalls]\nunknown_errno = \"EXDEV\"\n";
    let words =
        ["numbers:337:423:EXDEV", "numbers:480:600:EXDEV", "call:io_uring_setup:1:0", "call:clone3", "call:openat2"];
    lab.look("unknown", body, &words).expect(&[
        ("numbers:337:423:EXDEV", "all"),
        ("numbers:480:600:EXDEV", "all"),
        ("call:io_uring_setup:1:0", "EPERM"),
        ("call:clone3", "ENOSYS"),
        ("call:openat2", "ENOSYS"),
    ]);
    lab.look("usual", "", &["numbers:337:423:ENOSYS", "numbers:480:600:ENOSYS"])
        .expect(&[("numbers:337:423:ENOSYS", "all"), ("numbers:480:600:ENOSYS", "all")]);
}

#[test]
fn keys_and_personalities_are_as_the_unit_says() {
    let Some(lab) = Lab::new() else { return };
    let words = ["keyring", "call:personality:0xffffffff", "call:personality:8", "call:keyctl:0:-3:0"];
    let seen = lab.look("usual", "", &words);
    assert!(seen["keyring"].parse::<i64>().is_ok(), "{seen:?}");
    seen.expect(&[("call:personality:0xffffffff", "EPERM"), ("call:personality:8", "EPERM")]);
    let body = "[syscalls]\nallow.append = [\"personality\"]\ndeny = [\"@keyring\"]\n";
    let more = [&words[..], &["call:personality:0", "call:personality:0x100000008"]].concat();
    lab.look("asked", body, &more).expect(&[
        ("keyring", "EPERM"),
        ("call:keyctl:0:-3:0", "EPERM"),
        ("call:personality:0xffffffff", "ok"),
        ("call:personality:0", "ok"),
        ("call:personality:8", "EPERM"),
        ("call:personality:0x100000008", "EPERM"),
    ]);
}

#[test]
fn no_file_gets_set_id_bits_by_any_call() {
    let Some(lab) = Lab::new() else { return };
    const FORMS: [&str; 11] =
        ["chmod", "fchmod", "fchmodat", "fchmodat2", "open", "openat", "creat", "mkdir", "mkdirat", "mknod", "mknodat"];
    let question = |form: &str, mode: &str| format!("ids:{form}:{mode}");
    let modes = ["4755", "2755", "6000", "204755"];
    let all: Vec<String> = FORMS.iter().flat_map(|form| modes.iter().map(|mode| question(form, mode))).collect();
    let harmless: Vec<String> = FORMS.iter().map(|form| question(form, "755")).collect();
    let words: Vec<&str> = all.iter().chain(&harmless).map(String::as_str).collect();
    let seen = lab.look("denied", "", &words);
    for question in &all {
        assert_eq!(&seen[question], "EPERM", "{question}");
    }
    let without = |seen: &crate::lab::Seen, question: &str| {
        // fchmodat2 is of Linux 6.6.
        seen[question] == *"ok" || (question.contains("fchmodat2") && seen[question] == *"ENOSYS")
    };
    for question in &harmless {
        assert!(without(&seen, question), "{question}: {seen:?}");
    }
    let seen = lab.look("free", "[security]\nrestrict_suid_sgid = false\n", &words);
    for question in all.iter().filter(|question| question.ends_with("4755") && !question.contains("mk")) {
        assert!(without(&seen, question), "{question}: {seen:?}");
    }
}
