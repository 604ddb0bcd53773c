//! Debian's own daemons under the units in `units/`, with the configuration files that their packages installed: they
//! serve, reload where they can, come back when they are killed, stop cleanly, and are as confined as the unit says.
//!
//! As root, and only those that are installed.

mod instance;

#[path = "daemons/host.rs"]
mod host;

use host::{Host, Promise, field, mask};
use instance::{eventually, is_root, skipped};
use std::path::Path;

const NET_BIND_SERVICE: u32 = 10;
const SYS_TIME: u32 = 25;

/// Returns from the test, saying why, where it cannot run: `files` come with the daemon and what it is asked with.
macro_rules! needs {
    ($name:literal, $($file:expr),+) => {
        if !is_root() {
            return skipped("needs root");
        }
        for file in ["/usr/bin/unshare", "/usr/bin/nsenter", $($file),+] {
            if !Path::new(file).exists() {
                return skipped(&format!("{} is not installed ({file} is missing)", $name));
            }
        }
        if !["/usr/sbin/ip", "/sbin/ip", "/usr/bin/ip"].iter().any(|file| Path::new(file).exists()) {
            return skipped("iproute2 is not installed (ip is missing)");
        }
    };
}

#[test]
fn nginx_serves_reloads_comes_back_and_stops() {
    needs!("nginx", "/usr/sbin/nginx", "/etc/nginx/sites-enabled/default", "/usr/bin/curl");
    // The log directory as the package leaves it.
    let host = Host::new(
        "nginx",
        "mount -t tmpfs -o mode=0755 logs /var/log/nginx
         chown root:adm /var/log/nginx
         touch /var/log/nginx/access.log /var/log/nginx/error.log
         chown www-data:adm /var/log/nginx/*.log
         chmod 0640 /var/log/nginx/*.log",
    );
    let ask = |host: &Host| {
        let page = host.client("curl -sS --max-time 20 http://127.0.0.1/").expect(0);
        assert!(page.out.contains("nginx"), "{}", page.out);
    };
    host.start(&ask);
    host.keeps(&Promise {
        user: "www-data",
        capabilities: &[NET_BIND_SERVICE],
        writable: &["/run", "/var/lib/nginx", "/var/log/nginx"],
    });
    assert!(host.client("cat /var/log/nginx/access.log").expect(0).out.contains("curl"), "the request was logged");
    assert_eq!(host.client("stat -c %U:%G /var/log/nginx").expect(0).out.trim(), "root:adm", "as the package has it");
    // As logrotate does it: the file is replaced, then nginx is told.
    let rotate = "cd /var/log/nginx; mv access.log old.log; install -m 0640 -o www-data -g adm /dev/null access.log";
    host.client(rotate).expect(0);
    host.instance.rsvc(&["kill", "-s", "USR1", "nginx"]).expect(0);
    eventually("a request is in the new log", || {
        ask(&host);
        host.client("cat /var/log/nginx/access.log").expect(0).out.contains("curl").then_some(())
    });
    let workers = host.children();
    assert!(!workers.is_empty());
    host.reload(&|host| !workers.iter().any(|old| host.children().contains(old)), &ask);
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

#[test]
fn redis_keeps_its_data_over_a_stop() {
    needs!("redis", "/usr/bin/redis-server", "/etc/redis/redis.conf", "/usr/bin/redis-cli");
    let host = Host::new(
        "redis",
        "mount -t tmpfs -o mode=2750 logs /var/log/redis
         chown redis:adm /var/log/redis",
    );
    let ask = |host: &Host| {
        let said = host.client("redis-cli set question answer && redis-cli get question").expect(0);
        assert_eq!(said.out, "OK\nanswer\n");
    };
    host.start(&ask);
    host.keeps(&Promise {
        user: "redis",
        capabilities: &[],
        writable: &["/run/redis", "/var/lib/redis", "/var/log/redis"],
    });
    // A snapshot is written by a forked process.
    host.client("redis-cli bgsave").expect(0);
    eventually("the snapshot is written", || {
        let info = host.client("redis-cli info persistence").expect(0).out;
        (info.contains("rdb_bgsave_in_progress:0") && host.state("redis").join("dump.rdb").exists()).then(|| {
            assert!(info.contains("rdb_last_bgsave_status:ok"), "{info}");
        })
    });
    host.survives_a_kill(&ask);
    host.client("redis-cli set last words").expect(0);
    host.stops_cleanly();
    host.start(&|host| assert_eq!(host.client("redis-cli get last").expect(0).out, "words\n", "saved at the end"));
    let refused = host.instance.rsvc(&["reload", "redis"]).expect(7);
    assert!(!refused.err.is_empty(), "it says that redis cannot reload");
}

#[test]
fn memcached_serves_comes_back_and_stops() {
    needs!("memcached", "/usr/bin/memcached", "/usr/bin/nc");
    let host = Host::new("memcached", "");
    let ask = |host: &Host| {
        let talk = r"printf 'set k 0 0 5\r\nvalue\r\nget k\r\nquit\r\n' | nc -w 20 127.0.0.1 11211";
        let said = host.client(talk).expect(0);
        assert_eq!(said.out, "STORED\r\nVALUE k 0 5\r\nvalue\r\nEND\r\n");
    };
    host.start(&ask);
    host.keeps(&Promise { user: "memcache", capabilities: &[], writable: &[] });
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

#[test]
fn mosquitto_delivers_reloads_comes_back_and_stops() {
    needs!("mosquitto", "/usr/sbin/mosquitto", "/etc/mosquitto/mosquitto.conf", "/usr/bin/mosquitto_sub");
    let host = Host::new("mosquitto", "");
    let ask = |host: &Host| {
        let talk = "mosquitto_pub -h 127.0.0.1 -r -t test/topic -m hello
                    mosquitto_sub -h 127.0.0.1 -t test/topic -C 1 -W 20";
        assert_eq!(host.client(talk).expect(0).out, "hello\n");
    };
    host.start(&ask);
    host.keeps(&Promise {
        user: "mosquitto",
        capabilities: &[],
        writable: &["/run/mosquitto", "/var/lib/mosquitto", "/var/log/mosquitto"],
    });
    let log = host.instance.file("state/directories/logs/mosquitto/mosquitto.log");
    let reloaded = |_: &Host| std::fs::read_to_string(&log).is_ok_and(|text| text.contains("Reloading config"));
    host.reload(&reloaded, &ask);
    host.survives_a_kill(&ask);
    host.stops_cleanly();
    assert!(host.state("mosquitto").join("mosquitto.db").exists(), "the data base was written at the end");
}

#[test]
fn haproxy_serves_reloads_comes_back_and_stops() {
    needs!("haproxy", "/usr/sbin/haproxy", "/etc/haproxy/haproxy.cfg", "/usr/bin/curl", "/usr/bin/nc");
    // Debian's file serves nothing by itself.
    let host = Host::new(
        "haproxy",
        "cp /etc/haproxy/haproxy.cfg $DIR/haproxy.cfg
         printf '\\nfrontend test\\n  bind 127.0.0.1:80\\n  http-request return status 200 content-type text/plain string served\\n' >> $DIR/haproxy.cfg
         mount --bind $DIR/haproxy.cfg /etc/haproxy/haproxy.cfg",
    );
    let ask = |host: &Host| {
        assert_eq!(host.client("curl -sS --max-time 20 http://127.0.0.1/").expect(0).out, "served");
        let socket = host.runtime("haproxy/admin.sock").display().to_string();
        let info = host.client(&format!("echo 'show info' | nc -w 20 -U {socket}")).expect(0);
        assert!(info.out.contains("Name: HAProxy"), "{}", info.out);
    };
    host.start(&ask);
    host.keeps(&Promise { user: "haproxy", capabilities: &[NET_BIND_SERVICE], writable: &["/run/haproxy"] });
    let workers = host.children();
    let uid = host.id("haproxy", "-u");
    assert!(!workers.is_empty());
    for worker in &workers {
        assert_eq!(field(*worker, "Uid"), format!("{uid}\t{uid}\t{uid}\t{uid}"), "the worker is not root");
        assert_eq!(field(*worker, "CapEff"), mask(&[NET_BIND_SERVICE]));
    }
    eventually("the request is logged", || host.log().contains("GET / HTTP/1.1").then_some(()));
    host.reload(&|host| !workers.iter().any(|old| host.children().contains(old)), &ask);
    // What it reads is a copy: a reload takes what the file says now, and nothing that haproxy would not take.
    let served = |host: &Host| host.client("curl -sS --max-time 20 http://127.0.0.1/").expect(0).out;
    // The file is a mount here, which cannot be replaced by another.
    let edit = |sed: &str| {
        let file = "/etc/haproxy/haproxy.cfg";
        host.client(&format!("text=$(sed {sed} {file}); printf '%s\\n' \"$text\" > {file}")).expect(0);
    };
    edit("'s/string served/string anew/'");
    host.instance.rsvc(&["reload", "haproxy"]).expect(0);
    eventually("the new line is in force", || (served(&host) == "anew").then_some(()));
    edit("'$a no such word'");
    host.instance.rsvc(&["reload", "haproxy"]).expect(1);
    assert_eq!(served(&host), "anew", "the broken file is not used");
    edit("-e '$d' -e 's/string anew/string served/'");
    host.reload(&|host| served(host) == "served", &ask);
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

#[test]
fn unbound_answers_reloads_comes_back_and_stops() {
    needs!("unbound", "/usr/sbin/unbound", "/etc/unbound/unbound.conf", "/usr/share/dns/root.key", "/usr/bin/dig");
    let host = Host::new("unbound", "");
    let ask = |host: &Host| {
        let said = host.client("dig +short +tries=3 +time=5 @127.0.0.1 localhost A").expect(0);
        assert_eq!(said.out, "127.0.0.1\n");
    };
    host.start(&ask);
    host.keeps(&Promise {
        user: "unbound",
        capabilities: &[NET_BIND_SERVICE],
        writable: &["/run", "/var/lib/unbound"],
    });
    assert!(host.state("unbound").join("root.key").exists(), "the trust anchor was put there");
    host.reload(&|host| host.log().contains("Restart of unbound"), &ask);
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

#[test]
fn postgresql_answers_reloads_recovers_and_stops() {
    needs!(
        "postgresql 15, cluster main",
        "/usr/lib/postgresql/15/bin/postgres",
        "/etc/postgresql/15/main/postgresql.conf",
        "/usr/bin/psql"
    );
    // An empty cluster where this instance has /var/lib/postgresql; the configuration is Debian's.
    let host = Host::new(
        "postgresql",
        "data=$DIR/state/directories/state/postgresql/15/main
         mkdir -p $data
         chown -R postgres: $DIR/state/directories/state/postgresql
         cd /
         runuser -u postgres -- /usr/lib/postgresql/15/bin/initdb --no-sync --auth=peer --encoding=UTF8 --locale=C.UTF-8 -D $data",
    );
    let socket = host.runtime("postgresql").display().to_string();
    let sql = |host: &Host, words: &str| {
        host.client(&format!(
            "cd /; runuser -u postgres -- psql -h {socket} -d postgres -v ON_ERROR_STOP=1 -Atqc \"{words}\""
        ))
    };
    let ask = |host: &Host| assert_eq!(sql(host, "select 6 * 7").expect(0).out, "42\n");
    host.start(&ask);
    host.keeps(&Promise {
        user: "postgres",
        capabilities: &[],
        writable: &["/run/postgresql", "/var/lib/postgresql", "/var/log/postgresql"],
    });
    // By TCP and TLS: the key is readable for group ssl-cert only.
    sql(&host, "create role tester login password 'secret'; create table kept (n int); insert into kept values (1)")
        .expect(0);
    let tcp = "PGPASSWORD=secret psql 'host=127.0.0.1 user=tester dbname=postgres sslmode=require' -Atqc 'select ssl from pg_stat_ssl where pid = pg_backend_pid()'";
    assert_eq!(host.client(tcp).expect(0).out, "t\n");
    // Parallel workers share memory in /dev/shm.
    let parallel = "set force_parallel_mode = on; select count(*) from pg_class";
    assert_ne!(sql(&host, parallel).expect(0).out, "0\n");
    host.reload(&|host| host.log().contains("reloading configuration files"), &ask);
    host.survives_a_kill(&ask);
    assert_eq!(sql(&host, "select n from kept").expect(0).out, "1\n", "recovered");
    host.stops_cleanly();
    assert!(host.log().contains("database system is shut down"), "{}", host.log());
}

#[test]
fn dnsmasq_answers_reloads_comes_back_and_stops() {
    needs!("dnsmasq", "/usr/sbin/dnsmasq", "/usr/bin/dig");
    // The package dnsmasq-base has the program without the configuration.
    let host = Host::new(
        "dnsmasq",
        "mkdir $DIR/upper $DIR/work
         mount -t overlay -o lowerdir=/etc,upperdir=$DIR/upper,workdir=$DIR/work overlay /etc
         mkdir -p /etc/dnsmasq.d
         echo 192.0.2.1 first.test >> /etc/hosts",
    );
    let answers = |host: &Host, name: &str, address: &str| {
        let said = host.client(&format!("dig +short +tries=3 +time=5 @127.0.0.1 {name} A")).expect(0);
        said.out == format!("{address}\n")
    };
    let ask = |host: &Host| assert!(answers(host, "first.test", "192.0.2.1"));
    host.start(&ask);
    host.keeps(&Promise { user: "dnsmasq", capabilities: &[NET_BIND_SERVICE], writable: &[] });
    host.client("echo 192.0.2.2 second.test >> /etc/hosts").expect(0);
    host.reload(&|host| answers(host, "second.test", "192.0.2.2"), &ask);
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

#[test]
fn chrony_answers_comes_back_and_stops() {
    needs!("chrony", "/usr/sbin/chronyd", "/etc/chrony/chrony.conf", "/usr/bin/chronyc");
    // The clock of this machine is not a test's to set: `-x` leaves it alone, all else is as shipped.
    let host = Host::edited("chrony", &|text| text.replace("\"-U\"", "\"-U\", \"-x\""), "");
    let ask = |host: &Host| {
        let said = host.client("chronyc -n -h 127.0.0.1 tracking").expect(0);
        assert!(said.out.contains("Leap status"), "{}", said.out);
    };
    host.start(&ask);
    host.keeps(&Promise {
        user: "_chrony",
        capabilities: &[NET_BIND_SERVICE, SYS_TIME],
        writable: &["/run/chrony", "/var/lib/chrony", "/var/log/chrony"],
    });
    host.survives_a_kill(&ask);
    host.stops_cleanly();
}

/// A login service is made to let people in, so there is no unit for it among those that are shipped; but its manners
/// towards a supervisor are its own: at SIGHUP it executes itself again and says READY=1 a second time.
#[test]
fn sshd_lets_in_reloads_comes_back_and_stops() {
    needs!("openssh-server", "/usr/sbin/sshd", "/usr/bin/ssh", "/usr/bin/ssh-keygen");
    let unit = r#"
[service]
type = "notify"
exec = ["/usr/sbin/sshd", "-D", "-e"]
reload_signal = "SIGHUP"

[security]
profile = "login"
"#;
    let host = Host::with(
        "sshd",
        unit,
        "mount -t tmpfs -o mode=0755 run /run
         mkdir /run/sshd
         mount -t tmpfs -o mode=0755 keys /etc/ssh
         ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host
         ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/client
         cp /etc/ssh/client.pub /etc/ssh/authorized
         printf '%s\\n' 'ListenAddress 127.0.0.1' 'HostKey /etc/ssh/host' 'AuthorizedKeysFile /etc/ssh/authorized' \
             'PidFile none' 'UsePAM no' 'PermitRootLogin yes' > /etc/ssh/sshd_config",
    );
    let ask = |host: &Host| {
        let login = "ssh -F none -i /etc/ssh/client -o BatchMode=yes -o StrictHostKeyChecking=no \
                     -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR -o ConnectTimeout=20 root@127.0.0.1 echo inside";
        assert_eq!(host.client(login).expect(0).out, "inside\n");
    };
    host.start(&ask);
    let listening = |host: &Host| host.log().matches("Server listening on 127.0.0.1").count();
    let before = listening(&host);
    host.reload(&|host| listening(host) > before, &ask);
    host.survives_a_kill(&ask);
    // A session that is open ends with the service: down means empty.
    host.stops_cleanly();
}
