//! Units of every kind that leaves something behind while it runs: logs, sockets, keepers, timers, slices, pods.

use super::instance::{Instance, image};
use std::net::TcpListener;

const SLEEP: &str = "[service]\nexec = [\"/bin/sleep\", \"100000\"]\n";

/// Says READY=1, and answers the watchdog if there is one; stores one descriptor.
const NOTIFY: &str = r#"use Socket; $| = 1; $^F = 0;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
if ($ARGV[0] eq "store" and !$ENV{LISTEN_FDS}) {
  pipe(my $r, my $w) or die; my $text = "FDSTORE=1\nFDNAME=kept"; my $part = pack("PQ", $text, length $text);
  my $control = pack("QlllQ", 20, 1, 1, fileno $r, 0); $control = pack("Qlllx4", 20, 1, 1, fileno $r);
  my $header = pack("QQPQPQlx4", 0, 0, $part, 1, $control, length $control, 0);
  syscall(NUMBER, fileno($s), $header, 0x4000) >= 0 or die "sendmsg: $!";
}
send($s, "READY=1", 0);
while (1) { print "alive\n"; sleep 1; send($s, "WATCHDOG=1", 0) }
"#;

/// Answers each connection.
const SERVER: &str = r#"open(my $s, "+<&=", 3) or die; while (accept(my $c, $s)) { print $c "hello\n"; close $c }"#;

/// Ports on which the units listen.
pub struct Ports {
    /// Of a server that runs.
    pub server: u16,
    /// Each connection is a service.
    pub accept: u16,
}

/// Writes the units; the names of those to be started.
pub fn write(instance: &Instance, ports: &Ports) -> Vec<&'static str> {
    let number = if cfg!(target_arch = "x86_64") { "46" } else { "211" };
    let perl = |program: &str, more: &str| format!("exec = [\"/usr/bin/perl\", \"-e\", '''{program}'''{more}]\n");
    let notify = |more: &str| perl(&NOTIFY.replace("NUMBER", number), more);
    let say = "exec = [\"/bin/sh\", \"-c\", \"while echo line; do sleep 0.2; done\"]\n";
    let listen = |port: u16| format!("[[sockets]]\nlisten = \"tcp:127.0.0.1:{port}\"\n");
    let loopback = "[network]\nmode = \"loopback\"\n";
    instance.unit_as_is("batch.slice", "[resources]\ntasks_max = 100\n");
    let units = [
        ("says", format!("[service]\n{say}")),
        ("says-too", format!("[service]\n{say}user = \"54321\"\n")),
        ("limited", format!("[service]\n{say}[logging]\ntarget = \"file\"\nrate_limit_burst = 1000\n")),
        ("plain", format!("{SLEEP}[resources]\nmemory_max = \"100M\"\ntasks_max = 10\ncpu_weight = 50\n")),
        ("silent", format!("{SLEEP}[logging]\ntarget = \"null\"\nsyslog_socket = false\n")),
        (
            "alone",
            format!("{SLEEP}stop_signal = \"SIGKILL\"\n[namespaces]\ninit = false\n[logging]\ntarget = \"null\"\n"),
        ),
        ("notify", format!("[service]\ntype = \"notify\"\n{}", notify(""))),
        ("watchdog", format!("[service]\ntype = \"notify\"\nwatchdog = \"2m\"\n{}", notify(""))),
        ("stores", format!("[service]\ntype = \"notify\"\nfile_descriptor_store_max = 3\n{}", notify(", \"store\""))),
        ("server", format!("[service]\n{}{}", perl(SERVER, ""), listen(ports.server))),
        (
            "demand",
            format!(
                "[service]\nactivation = \"on-demand\"\n{}[[sockets]]\nlisten = \"unix:/run/RSVC/demand\"\n",
                perl(SERVER, "")
            ),
        ),
        (
            "accept",
            format!(
                "[service]\nexec = [\"/bin/sh\", \"-c\", \"echo hello >&3\"]\n{}accept = true\n",
                listen(ports.accept)
            ),
        ),
        ("hourly", "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n[[timers]]\nevery = \"1h\"\n".to_owned()),
        (
            "yearly",
            "[service]\ntype = \"oneshot\"\nexec = [\"/bin/true\"]\n[[timers]]\non_calendar = \"*-02-29 04:00\"\n"
                .to_owned(),
        ),
        ("done", "[service]\ntype = \"oneshot\"\nremain_after_exit = true\nexec = [\"/bin/true\"]\n".to_owned()),
        ("owner", format!("{SLEEP}{loopback}[namespaces]\nhostname = \"shop\"\n")),
        ("member", format!("{SLEEP}[network]\nmode = \"unit:owner\"\n[namespaces]\npid = \"unit:owner\"\n")),
        ("sliced", format!("{SLEEP}[resources]\nslice = \"batch\"\n")),
        ("sliced-too", format!("{SLEEP}[resources]\nslice = \"batch\"\n")),
        ("healthy", format!("{SLEEP}[health]\ncommand = [\"/bin/true\"]\ninterval = \"1s\"\n")),
        ("set@", format!("[unit]\nreplicas = 3\n{SLEEP}")),
        ("ids", format!("{SLEEP}user = \"auto\"\n[namespaces]\nuser = \"auto\"\n[directories]\nstate = [\"ids\"]\n")),
        ("secret", format!("{SLEEP}[credentials]\nset = {{ key = \"value\" }}\n")),
        // Denied calls have somebody who answers them, and a table.
        ("denied", format!("[service]\n{say}[syscalls]\non_deny = \"notify-errno\"\n")),
        ("flips", format!("[service]\n{say}[hooks]\non_exit = [\"/bin/true\"]\n")),
    ];
    let mut units = Vec::from(units);
    // Where the host has what they need.
    if instance.has_feature("packet-programs") {
        units.push(("judged", format!("{SLEEP}[network]\nip_deny = [\"any\"]\nip_allow = [\"127.0.0.0/8\"]\n")));
    }
    if image::lacks().is_none() {
        units.push((
            "image",
            format!("[service]\nexec = [\"/usr/bin/sleep\", \"100000\"]\n{}", image::tables(instance, &[])),
        ));
    }
    let path = instance.file("demand.socket").display().to_string();
    for (name, text) in &units {
        let text = text.replace("/run/RSVC/demand", &path);
        let once = text.contains("oneshot") || text.contains("accept = true");
        let restart =
            if once { "[restart]\npolicy = \"no\"\n" } else { "[restart]\ndelay = \"10ms\"\nbackoff = 1.0\n" };
        instance.unit(name, &format!("{text}{restart}"));
    }
    units.iter().map(|(name, _)| name.trim_end_matches('@')).collect()
}

/// A port that nobody has now.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port()
}
