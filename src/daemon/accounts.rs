//! Users and groups of the host, by name or number.
//!
//! `/etc/passwd` and `/etc/group` are read by the daemon itself: the static executable must not load the C library's
//! name service modules, which belong to another build of it. Both files are kept parsed until they change (inode,
//! size and time), so that the start of 5,000 units reads them once. Only a name that they lack, on a host whose
//! `/etc/nsswitch.conf` names another source, is asked of `getent`, for at most two seconds; the daemon waits for it.
//!
//! Numbers are taken strictly: digits only, no sign, no leading zero, below 4294967295. A name that is not found is an
//! error, never root.

use crate::compile::{GroupFact, UserFact};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Group of a user that is given by a number which nobody has: `nogroup`, as any other could grant something.
pub const NO_GROUP: u32 = 65534;

/// How long `getent` may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(2);

/// Longest answer of `getent` taken, bytes; a group may have many members.
const ANSWER_LIMIT: usize = 1 << 20;

/// Largest account file read, bytes.
const FILE_LIMIT: u64 = 64 << 20;

/// Why an account cannot be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccountError {
    /// Neither a name nor a number: what is wrong with it.
    Malformed(&'static str),
    /// No such user or group.
    Unknown,
    /// The files cannot be read, or `getent` gave no answer in time.
    Unavailable(String),
}

impl fmt::Display for AccountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AccountError::Malformed(why) => f.write_str(why),
            AccountError::Unknown => f.write_str("does not exist on this host"),
            AccountError::Unavailable(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for AccountError {}

#[derive(Clone, Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
    home: String,
    shell: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    gid: u32,
    members: Vec<String>,
}

/// The user data base, parsed and kept.
#[derive(Debug)]
pub struct Accounts {
    users: Cached<User>,
    groups: Cached<Group>,
    switch: PathBuf,
    getent: PathBuf,
}

impl Default for Accounts {
    fn default() -> Accounts {
        Accounts::new(Path::new("/etc"), Path::new("/usr/bin/getent"))
    }
}

impl Accounts {
    /// Reads `passwd`, `group` and `nsswitch.conf` in `directory`.
    pub fn new(directory: &Path, getent: &Path) -> Accounts {
        Accounts {
            users: Cached::new(directory.join("passwd")),
            groups: Cached::new(directory.join("group")),
            switch: directory.join("nsswitch.conf"),
            getent: getent.to_owned(),
        }
    }

    /// A user by name or number, with the groups whose members name it. A number that nobody has is valid: no home,
    /// no further groups, group 65534.
    ///
    /// # Errors
    /// Malformed, unknown, or the data base cannot be read.
    pub fn user(&mut self, account: &str) -> Result<UserFact, AccountError> {
        let lines = self.users.refresh(user_line)?;
        let (name, user) = match account_number(account)? {
            Some(uid) => match lines.values.iter().filter(|(_, u)| u.uid == uid).min_by_key(|(_, u)| u.line) {
                Some((name, user)) => (name.clone(), user.value.clone()),
                None => (account.to_owned(), User { uid, gid: NO_GROUP, home: String::new(), shell: String::new() }),
            },
            None => match lines.values.get(account) {
                Some(user) => (account.to_owned(), user.value.clone()),
                None => (account.to_owned(), self.ask("passwd", account, user_line)?.1),
            },
        };
        let member = |group: &Group| group.members.contains(&name);
        let groups = self.groups.refresh(group_line)?.values.values();
        let mut groups: Vec<u32> = groups.filter(|g| member(&g.value)).map(|g| g.value.gid).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.retain(|gid| *gid != user.gid);
        Ok(UserFact { name, uid: user.uid, gid: user.gid, home: user.home, shell: user.shell, groups })
    }

    /// Numbers of all users and groups in the files, and of the users' groups.
    ///
    /// # Errors
    /// The data base cannot be read.
    pub fn all_ids(&mut self) -> Result<Vec<u32>, AccountError> {
        let users = self.users.refresh(user_line)?.values.values();
        let mut all: Vec<u32> = users.flat_map(|user| [user.value.uid, user.value.gid]).collect();
        all.extend(self.groups.refresh(group_line)?.values.values().map(|group| group.value.gid));
        Ok(all)
    }

    /// A group by name or number; a number need not have a name.
    ///
    /// # Errors
    /// Malformed, unknown, or the data base cannot be read.
    pub fn group(&mut self, account: &str) -> Result<GroupFact, AccountError> {
        let lines = self.groups.refresh(group_line)?;
        if let Some(gid) = account_number(account)? {
            let known = lines.values.iter().filter(|(_, g)| g.value.gid == gid).min_by_key(|(_, g)| g.line);
            return Ok(GroupFact { name: known.map_or(account, |(name, _)| name).to_owned(), gid });
        }
        let gid = match lines.values.get(account) {
            Some(group) => group.value.gid,
            None => self.ask("group", account, group_line)?.1.gid,
        };
        Ok(GroupFact { name: account.to_owned(), gid })
    }

    /// Asks the host's other sources, when there are any.
    fn ask<T>(&self, data_base: &str, name: &str, parse: LineParser<T>) -> Result<(String, T), AccountError> {
        let switch = fs::read_to_string(&self.switch).unwrap_or_default();
        if !has_other_sources(&switch, data_base) {
            return Err(AccountError::Unknown);
        }
        let answer = ask_getent(&self.getent, data_base, name).map_err(|e| {
            AccountError::Unavailable(format!("is not in /etc/{data_base}, and asking getent failed: {e}"))
        })?;
        let found = answer.lines().filter_map(parse).find(|(found, _)| found == name);
        found.ok_or(AccountError::Unknown)
    }
}

/// `Some` for a number, `None` for a well-formed name.
///
/// # Errors
/// Everything in between (`01abc`, `1000:`, `-1`): it must not be read as one or the other.
fn account_number(account: &str) -> Result<Option<u32>, AccountError> {
    let malformed = |why| Err(AccountError::Malformed(why));
    if account.is_empty() {
        return malformed("is empty");
    }
    if account.bytes().all(|b| b.is_ascii_digit()) {
        if account.len() > 1 && account.starts_with('0') {
            return malformed("is a number with a leading zero");
        }
        return match account.parse::<u32>() {
            Ok(number) if number < u32::MAX => Ok(Some(number)),
            _ => malformed("is too large; ids end at 4294967294"),
        };
    }
    let first = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let other = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'@');
    let body = account.strip_suffix('$').unwrap_or(account).as_bytes();
    if account.len() > 256 || !body.first().is_some_and(|b| first(*b)) || !body.iter().all(|b| other(*b)) {
        return malformed(
            "is neither a name (letters, digits, `_`, `-`, `.`, `@`, beginning with a letter) nor a number",
        );
    }
    Ok(None)
}

type LineParser<T> = fn(&str) -> Option<(String, T)>;

/// `name:password:uid:gid:comment:home:shell`; anything else is passed over, as getpwnam(3) does.
fn user_line(line: &str) -> Option<(String, User)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, uid, gid, _, home, shell] = fields[..] else { return None };
    if account_number(name) != Ok(None) {
        return None;
    }
    let user = User { uid: id(uid)?, gid: id(gid)?, home: home.to_owned(), shell: shell.to_owned() };
    Some((name.to_owned(), user))
}

/// `name:password:gid:member,member`
fn group_line(line: &str) -> Option<(String, Group)> {
    let fields: Vec<&str> = line.split(':').collect();
    let [name, _, gid, members] = fields[..] else { return None };
    if account_number(name) != Ok(None) {
        return None;
    }
    let members = members.split(',').map(str::trim).filter(|m| !m.is_empty()).map(str::to_owned).collect();
    Some((name.to_owned(), Group { gid: id(gid)?, members }))
}

fn id(text: &str) -> Option<u32> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten().filter(|id| *id != u32::MAX)
}

/// Does the line of `data_base` in nsswitch.conf name anything besides the files? A missing line means files.
fn has_other_sources(switch: &str, data_base: &str) -> bool {
    let lines = switch.lines().map(|line| line.split('#').next().unwrap_or(""));
    let of_data_base = lines.filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() == data_base);
    let mut sources = of_data_base.flat_map(|(_, sources)| sources.split_whitespace());
    sources.any(|s| !matches!(s, "files" | "compat") && !s.starts_with('['))
}

/// For the deadline of `getent`.
#[allow(clippy::disallowed_methods, reason = "waits for a process outside the event loop")]
fn now() -> Instant {
    Instant::now()
}

/// Runs `getent DATABASE NAME` and returns what it prints; empty when it knows no such name.
fn ask_getent(getent: &Path, data_base: &str, name: &str) -> io::Result<String> {
    // In no other directory, and with nothing else that takes code between fork and exec: then the library copies no memory
    // for the child. The daemon's heap does not come along into a copy (MADV_DONTFORK), and execve(2) would say EFAULT.
    let mut child = Command::new(getent)
        .args([data_base, name])
        .env_clear()
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let answer = match child.stdout.take() {
        Some(output) => read_until(output, now() + LOOKUP_LIMIT),
        None => Err(io::ErrorKind::BrokenPipe.into()),
    };
    // Harmless when it has ended; else it must not be waited for.
    let _ = child.kill();
    child.wait()?;
    answer
}

/// Reads to the end, at most until `deadline`.
fn read_until(mut output: impl Read + std::os::fd::AsFd, deadline: Instant) -> io::Result<String> {
    let flags = rustix::fs::fcntl_getfl(&output)?;
    rustix::fs::fcntl_setfl(&output, flags | OFlags::NONBLOCK)?;
    let (mut answer, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        match output.read(&mut buffer) {
            Ok(0) => return String::from_utf8(answer).map_err(io::Error::other),
            Ok(count) => answer.extend_from_slice(&buffer[..count]),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                let left = deadline.saturating_duration_since(now());
                let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
                let ready = poll(&mut [PollFd::new(&output, PollFlags::IN)], Some(&timeout));
                if ready == Ok(0) {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within 2 s"));
                }
            }
            Err(e) => return Err(e),
        }
        if answer.len() > ANSWER_LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the answer is longer than 1 MiB"));
        }
    }
}

/// One account file, parsed.
#[derive(Debug)]
struct Cached<T> {
    path: PathBuf,
    /// Device, inode, size, modification and change time of what was parsed.
    identity: Option<[i64; 7]>,
    values: HashMap<String, Line<T>>,
}

#[derive(Debug)]
struct Line<T> {
    value: T,
    line: usize,
}

impl<T> std::ops::Deref for Line<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Cached<T> {
    fn new(path: PathBuf) -> Cached<T> {
        Cached { path, identity: None, values: HashMap::new() }
    }

    /// Parses the file again if it has changed. A missing file is an empty one.
    fn refresh(&mut self, parse: LineParser<T>) -> Result<&Cached<T>, AccountError> {
        let identity = match fs::metadata(&self.path) {
            Ok(m) => {
                let (dev, ino, size) = (m.dev() as i64, m.ino() as i64, m.size() as i64);
                [dev, ino, size, m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()]
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => [-1; 7],
            Err(e) => return Err(self.unavailable(&e)),
        };
        if self.identity == Some(identity) {
            return Ok(self);
        }
        let mut content = Vec::new();
        if identity != [-1; 7] {
            let file = fs::File::open(&self.path).map_err(|e| self.unavailable(&e))?;
            file.take(FILE_LIMIT).read_to_end(&mut content).map_err(|e| self.unavailable(&e))?;
        }
        self.values.clear();
        // The comment field may be in any encoding.
        for (line, text) in String::from_utf8_lossy(&content).lines().enumerate() {
            if let Some((name, value)) = parse(text) {
                // The first line of a name counts, as for getpwnam(3).
                self.values.entry(name).or_insert(Line { value, line });
            }
        }
        self.identity = Some(identity);
        Ok(self)
    }

    fn unavailable(&self, error: &io::Error) -> AccountError {
        AccountError::Unavailable(format!("cannot be looked up: {}: {error}", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/bash\n\
        daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n\
        web:x:33:33:W\u{e4}b:/var/www:/bin/sh\n\
        web:x:0:0:second line of the name:/:/bin/sh\n\
        also33:x:33:34::/:\n\
        broken:x:abc:0::/:/bin/sh\n\
        short:x:5:5\n\
        +::::::\n\
        1000:x:0:0:a name of digits:/:/bin/sh\n\
        minus:x:-1:0::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nadm:x:4:web,root\nssl:x:110: web ,\nbad:x:x:web\nweb2:x:34:other\n";

    fn accounts() -> (tempfile::TempDir, Accounts) {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("passwd"), PASSWD).unwrap();
        fs::write(directory.path().join("group"), GROUP).unwrap();
        let accounts = Accounts::new(directory.path(), &directory.path().join("getent"));
        (directory, accounts)
    }

    fn getent(directory: &Path, script: &str) {
        let path = directory.join("getent");
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        // Another test may have forked while the script was open for writing (ETXTBSY).
        while Command::new(&path).args(["probe", "it"]).spawn().map(|mut c| (c.kill(), c.wait())).is_err() {}
        let _ = fs::remove_file(directory.join("asked"));
        fs::write(directory.join("nsswitch.conf"), "passwd: files sss # x\ngroup: files [NOTFOUND=return]\n").unwrap();
    }

    #[test]
    fn a_user_comes_with_its_groups() {
        let (_directory, mut accounts) = accounts();
        let web = accounts.user("web").unwrap();
        assert_eq!((web.uid, web.gid, web.home.as_str(), web.shell.as_str()), (33, 33, "/var/www", "/bin/sh"));
        assert_eq!(web.groups, [4, 110]);
        assert_eq!(accounts.user("33").unwrap(), web);
        assert_eq!(accounts.user("0").unwrap().name, "root");
        assert_eq!(accounts.group("adm").unwrap(), GroupFact { name: "adm".into(), gid: 4 });
        assert_eq!(accounts.group("4").unwrap().name, "adm");
        assert_eq!(accounts.group("4444").unwrap(), GroupFact { name: "4444".into(), gid: 4444 });
    }

    #[test]
    fn a_number_without_a_line_gets_no_rights_of_others() {
        let (_directory, mut accounts) = accounts();
        let user = accounts.user("4").unwrap();
        assert_eq!((user.uid, user.gid, user.groups), (4, NO_GROUP, vec![]));
    }

    #[test]
    fn nothing_odd_is_ever_read_as_an_id() {
        let (_directory, mut accounts) = accounts();
        for odd in [
            "",
            "0x0",
            "1000:",
            ":0",
            "01abc",
            "-1",
            "+1",
            "4294967295",
            "4294967296",
            "99999999999999999999",
            "١",
            "00",
            "007",
            " 0",
            "0 ",
            "root ",
            "root\n",
            "roo\0t",
            "a/b",
            "-x",
            "$",
            "@x",
            "1e3",
            "root:x",
        ] {
            assert!(matches!(accounts.user(odd), Err(AccountError::Malformed(_))), "{odd:?}");
            assert!(matches!(accounts.group(odd), Err(AccountError::Malformed(_))), "{odd:?}");
        }
        for unknown in ["broken", "short", "minus", "nobody-there", "machine$"] {
            assert_eq!(accounts.user(unknown), Err(AccountError::Unknown), "{unknown}");
        }
        assert_eq!(accounts.user("4294967294").unwrap().uid, 4_294_967_294);
        // The line whose name is a number must not turn uid 1000 into root.
        assert_eq!(accounts.user("1000").unwrap().uid, 1000);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let (directory, mut accounts) = accounts();
        assert_eq!(accounts.user("late"), Err(AccountError::Unknown));
        let changed = directory.path().join("passwd.new");
        fs::write(&changed, format!("{PASSWD}late:x:77:77::/:/bin/sh\n")).unwrap();
        fs::rename(&changed, directory.path().join("passwd")).unwrap();
        assert_eq!(accounts.user("late").unwrap().uid, 77);
        fs::remove_file(directory.path().join("passwd")).unwrap();
        assert_eq!(accounts.user("late"), Err(AccountError::Unknown));
    }

    #[test]
    fn getent_is_asked_only_for_what_the_files_lack() {
        let (directory, mut accounts) = accounts();
        let log = directory.path().join("asked");
        getent(
            directory.path(),
            &format!("echo \"$@\" >> {}; echo \"$2:x:5000:5001::/home/$2:/bin/sh\"", log.display()),
        );
        assert_eq!(accounts.user("web").unwrap().uid, 33);
        assert!(!log.exists());
        let user = accounts.user("ldapuser").unwrap();
        assert_eq!((user.uid, user.gid, user.home.as_str()), (5000, 5001, "/home/ldapuser"));
        // Groups come from files alone here.
        assert_eq!(accounts.group("ldapgroup"), Err(AccountError::Unknown));
        assert_eq!(fs::read_to_string(&log).unwrap(), "passwd ldapuser\n");
    }

    #[test]
    fn an_answer_about_somebody_else_is_no_answer() {
        let (directory, mut accounts) = accounts();
        getent(directory.path(), "echo 'root:x:0:0::/root:/bin/sh'");
        assert_eq!(accounts.user("ldapuser"), Err(AccountError::Unknown));
        getent(directory.path(), "exit 2");
        assert_eq!(accounts.user("ldapuser"), Err(AccountError::Unknown));
    }

    #[test]
    fn a_silent_getent_is_given_up() {
        let (directory, mut accounts) = accounts();
        getent(directory.path(), "exec sleep 60");
        let Err(AccountError::Unavailable(why)) = accounts.user("ldapuser") else { panic!("an answer") };
        assert!(why.contains("no answer within 2 s"), "{why}");
    }

    #[test]
    fn sources_are_read_from_the_switch() {
        assert!(!has_other_sources("", "passwd"));
        assert!(!has_other_sources("passwd:\t\tfiles\n", "passwd"));
        assert!(has_other_sources("group: x\npasswd: files systemd\n", "passwd"));
        assert!(!has_other_sources("# passwd: ldap\npasswd: compat [NOTFOUND=return]\n", "passwd"));
    }
}
