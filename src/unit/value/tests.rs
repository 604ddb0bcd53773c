use super::*;
use crate::unit::{Account, StatusSet};
use proptest::prelude::*;
use std::time::Duration;

#[test]
fn sizes_are_powers_of_1024() {
    let good = [
        ("0", 0),
        ("4096", 4096),
        ("64M", 67_108_864),
        ("1.5G", 1_610_612_736),
        ("64KiB", 65536),
        ("2Ti", 2 << 40),
        ("1E", 1 << 60),
        ("15E", 15 << 60),
        ("infinity", u64::MAX),
        ("10B", 10),
    ];
    for (text, bytes) in good {
        assert_eq!(byte_size(text), Ok(bytes), "{text}");
    }
    for text in ["", "M", "64m", "64MB", "-1", "1.5", "1,5G", "16E", "1 G", "0x10", "1e3", "٣", "1.G", ".5G", "50%"] {
        assert!(byte_size(text).is_err(), "{text}");
    }
}

#[test]
fn durations_are_read_as_systemd_reads_them() {
    let good = [
        ("90", 90_000_000),
        ("1min 30s", 90_000_000),
        ("1m30s", 90_000_000),
        ("1m 30", 90_000_000),
        ("200ms", 200_000),
        ("5us", 5),
        ("5µs", 5),
        ("1.5h", 5_400_000_000),
        ("2d", 172_800_000_000),
        ("1w", 604_800_000_000),
        ("0", 0),
        (" 3 seconds ", 3_000_000),
    ];
    for (text, micros) in good {
        assert_eq!(time_span(text), Ok(Some(Duration::from_micros(micros))), "{text}");
    }
    assert_eq!(time_span("infinity"), Ok(None));
    for text in
        ["", " ", "s", "1M", "1 month", "-5s", "5 parsecs", "1..5s", "99999999999999999999w", "1y", "infinity 5s"]
    {
        assert!(time_span(text).is_err(), "{text}");
    }
}

#[test]
fn accounts_are_never_read_loosely() {
    for text in ["0x0", "1000:", ":0", "01abc", "01", "", "-1", "4294967295", "٣", "a b", "root\n", "a/b", "$x", "+5"]
    {
        assert!(account(text).is_err(), "{text}");
    }
    assert_eq!(account("0"), Ok(Account::Id(0)));
    assert_eq!(account("4294967294"), Ok(Account::Id(u32::MAX - 1)));
    for text in ["www-data", "_apt", "systemd-network", "user.name", "machine$"] {
        assert_eq!(account(text), Ok(Account::Name(text.to_owned())));
    }
}

#[test]
fn signals_have_names_with_and_without_sig_and_numbers() {
    for (text, number) in
        [("SIGHUP", 1), ("HUP", 1), ("1", 1), ("SIGRTMIN+3", 37), ("RTMAX-1", 63), ("RTMIN", 34), ("POLL", 29)]
    {
        assert_eq!(signal(text).map(|s| s.number()), Ok(number), "{text}");
    }
    for text in
        ["", "0", "32", "33", "65", "SIG", "sighup", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+", "-1", "01", "RTMIN--5"]
    {
        assert!(signal(text).is_err(), "{text}");
    }
}

#[test]
fn capabilities_are_read_in_any_spelling() {
    for text in ["CAP_NET_BIND_SERVICE", "NET_BIND_SERVICE", "cap_net_bind_service", "net_bind_service"] {
        assert_eq!(capability(text).map(|c| c.0), Ok(1 << 10), "{text}");
    }
    let all = capability("all").expect("`all` is every capability");
    assert!(all.contains(0) && all.contains(21) && all.contains(40));
    assert_eq!(print_capabilities(all), ["all"]);
}

#[test]
fn commands_are_split_like_a_shell_does_and_never_expanded() {
    let good: [(&str, &[&str]); 6] = [
        ("a b  c", &["a", "b", "c"]),
        ("a 'b c' \"d $e\"", &["a", "b c", "d $e"]),
        (r"a\ b \$x", &["a b", "$x"]),
        (r#"a "" 'x'"y""#, &["a", "", "xy"]),
        (r#""\n \" \\""#, &[r#"\n " \"#]),
        ("a # b", &["a", "#", "b"]),
    ];
    for (text, words) in good {
        assert_eq!(command_line(text).expect(text), words, "{text}");
    }
    for text in ["", "  ", "a | b", "a > b", "a; b", "`a`", "a 'b", "a \"b", "a\\", "$(a)"] {
        assert!(command_line(text).is_err(), "{text}");
    }
}

#[test]
fn paths_are_normalised_and_never_climb() {
    assert_eq!(absolute_path("//a/./b//").unwrap(), std::path::Path::new("/a/b"));
    assert_eq!(absolute_path("/").unwrap(), std::path::Path::new("/"));
    for text in ["", "a", "/a/../b", "/..", "/a\0", "/a\nb", "./a"] {
        assert!(absolute_path(text).is_err(), "{text}");
    }
    for text in ["/x", "", ".", "..", "a/../b", "a//b", "a:b", "a/"] {
        assert!(directory_name(text).is_err(), "{text}");
    }
}

#[test]
fn cpu_lists_come_out_in_order() {
    assert_eq!(cpu_list("8, 0-3,2,4").as_deref(), Ok("0-4,8"));
    for text in ["", "a", "3-0", "1-", "-1", "1,,2", "99999"] {
        assert!(cpu_list(text).is_err(), "{text}");
    }
}

#[test]
fn did_you_mean_needs_a_small_distance() {
    assert_eq!(nearest("protect_sytem", ["protect_system", "protect_home"]), Some("protect_system"));
    assert_eq!(nearest("Exec", ["exec", "user"]), Some("exec"));
    assert_eq!(nearest("zzz", ["exec", "user"]), None);
}

proptest! {
    #[test]
    fn printed_sizes_are_read_back(bytes: u64) {
        prop_assert_eq!(byte_size(&print_byte_size(bytes)), Ok(bytes));
    }

    #[test]
    fn printed_durations_are_read_back(micros in prop::option::of(0..1_u64 << 60)) {
        let span = micros.map(Duration::from_micros);
        prop_assert_eq!(time_span(&print_time_span(span)), Ok(span));
    }

    #[test]
    fn printed_modes_are_read_back(mode in 0_u32..0o10000) {
        prop_assert_eq!(file_mode(&print_mode(mode)), Ok(mode));
    }

    #[test]
    fn printed_signals_are_read_back(number in (1_i32..65).prop_filter("libc's own", |n| ![32, 33].contains(n))) {
        prop_assert_eq!(signal(&print_signal(number)).map(|s| s.number()), Ok(number));
    }

    #[test]
    fn printed_capabilities_are_read_back(bits in 0_u64..1 << 41) {
        let set = crate::plan::CapabilitySet(bits);
        let read = print_capabilities(set).iter().map(|c| capability(c).expect("a printed name").0).fold(0, |a, b| a | b);
        prop_assert_eq!(read, bits);
    }

    #[test]
    fn quoted_words_survive_splitting(words in prop::collection::vec("[^'\0]{0,8}", 1..5)) {
        let line = words.iter().map(|w| format!("'{w}'")).collect::<Vec<_>>().join(" ");
        prop_assert_eq!(command_line(&line), Ok(words));
    }

    #[test]
    fn no_text_makes_a_parser_panic(text in "\\PC{0,24}") {
        let _ = byte_size(&text);
        let _ = time_span(&text);
        let _ = account(&text);
        let _ = signal(&text);
        let _ = capability(&text);
        let _ = address_family(&text);
        let _ = errno(&text);
        let _ = syscall_name(&text);
        let _ = absolute_path(&text);
        let _ = directory_name(&text);
        let _ = command_line(&text);
        let _ = listen_address(&text);
        let _ = cpu_list(&text);
        let _ = cpu_share(&text);
        let _ = device_number(&text);
        let _ = unit_name(&text);
        let _ = file_mode(&text);
        let _ = status(&text, &mut StatusSet::default());
    }

    #[test]
    fn listen_addresses_are_read_back(port in 1_u16.., a: u32, six: bool) {
        let ip: std::net::IpAddr = match six {
            true => std::net::Ipv6Addr::from(u128::from(a) << 64).into(),
            false => std::net::Ipv4Addr::from(a).into(),
        };
        let address = crate::unit::ListenAddress::Tcp(std::net::SocketAddr::new(ip, port));
        prop_assert_eq!(listen_address(&print_listen_address(&address)), Ok(address));
    }
}
