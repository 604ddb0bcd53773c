//! `rsvc daemon`: the engine behind a control socket.

use super::engine::{Engine, Notice, Options, Timer};
use super::errand::Wish;
use super::listener::{ConnectionId, Listener};
use super::log_layer;
use super::requests::Handled;
use super::settings::{DaemonSettings, StatusAccess};
use super::subscribers::Subscribers;
use super::upgrade::{Inherited, Upgrade};
use crate::cgroup::{RootOptions, Tree};
use crate::control::{Answer, Audience, Call, CallError, Peer, RequestKey, Rules, UnitStatus};
use crate::supervise::{Event, Outcome, RequestId};
use crate::sys::poll::{Interest, Token};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

/// Settings of the system's instance.
const SETTINGS_FILE: &str = "/etc/rsvc/rsvc.toml";
/// The journal's native protocol.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// A call that waits for one or more outcomes.
struct Waiting {
    connection: ConnectionId,
    unit: String,
    open: usize,
    failure: Option<CallError>,
    /// The start was skipped, and why.
    skipped: Option<String>,
}

pub(super) struct Server {
    pub(super) engine: Engine,
    pub(super) listener: Listener,
    listener_token: Token,
    signals: super::signals::Signals,
    signals_token: Token,
    waiting: BTreeMap<u64, Waiting>,
    /// Who waits for each; two may, where a request was made again.
    requests: HashMap<RequestId, Vec<u64>>,
    /// The request that was made last over each connection, if it may be made again.
    keys: BTreeMap<ConnectionId, RequestKey>,
    next_wait: u64,
    /// Who waits for a command to be executed.
    errands: HashMap<u64, ConnectionId>,
    subscribers: Subscribers,
    /// There may be children that nobody here knows and that have ended.
    strangers: bool,
    /// The listener accepts nobody until a timer has come.
    deaf: bool,
    /// `Some`: ends when these stops are done.
    pub(super) ending: Option<Vec<RequestId>>,
    pub(super) finished: bool,
    /// The instance's, held.
    pub(super) lock: OwnedFd,
    /// Takes the daemon's own events, where there is a journal.
    pub(super) journal: Option<log_layer::SharedJournal>,
    /// What an upgrade executes when nothing else is asked for.
    pub(super) program: PathBuf,
    pub(super) upgrade: Option<Upgrade>,
    /// The next program is about to be executed.
    pub(super) replacing: bool,
}

/// A mistake ends the daemon where it is, in every build: the next one takes over what it left, as after any other death.
/// Nothing of it goes on, and nothing is cleared away that the next one needs. The words are on standard error by then,
/// which is the journal's under systemd; the log itself may be what made the mistake.
fn abort_on_panic() {
    let say = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        say(panic);
        std::process::abort();
    }));
}

/// Runs the daemon until SIGTERM. `handoff`: number of the snapshot that a former program left in this process.
///
/// # Errors
/// Only what keeps it from beginning: no runtime directory, no control socket, another daemon at work, too few
/// descriptors for what runs.
pub fn serve(mut options: Options, handoff: Option<RawFd>) -> io::Result<()> {
    let inherits_children = super::signals::inherits_children();
    abort_on_panic();
    // Before anything is opened.
    let inherited = handoff.map(Inherited::take);
    let settings = settings(&mut options)?;
    let level = options.log_level.as_deref().unwrap_or(&settings.log_level);
    let journal = log_layer::set_up_daemon(level, Path::new(JOURNAL_SOCKET)).map_err(io::Error::other)?;
    make_directories(&options)?;
    let inherited = inherited
        .and_then(|taken| taken.map_err(|why| tracing::error!("upgrade: taking over as after a crash: {why}")).ok());
    let held = inherited.as_ref().map(|inherited| super::lock::inherit(inherited.lock.as_fd(), &options.runtime_dir));
    let lock = match held {
        Some(Ok(lock)) => lock,
        Some(Err(error)) => {
            tracing::error!("upgrade: the lock is taken anew: {error}");
            super::lock::take(&options.runtime_dir)?
        }
        None => super::lock::take(&options.runtime_dir)?,
    };
    let recorded = super::adopt::recorded_root(&options)?;
    let is_recorded = recorded.is_some();
    let root = RootOptions { root: options.cgroup_root.clone(), name: options.cgroup_name.clone(), recorded };
    let tree = match Tree::open(&root) {
        Ok(tree) => Some(tree),
        // Without the groups of the last daemon nobody could tell what runs.
        Err(error) if is_recorded => return Err(io::Error::new(error.error.kind(), no_groups(&options, &error))),
        Err(error) => {
            tracing::error!("no control groups: limits are refused and stops are less certain: {error}");
            None
        }
    };
    super::capacity::claim();
    let socket = options.socket.clone();
    let mut engine = Engine::new(options, tree)?;
    engine.limit_logs(settings.log_max_total)?;
    engine.open_keeper()?;
    engine.protect_logs();
    engine.open_exits()?;
    // Before anybody can connect, and have something started in it.
    engine.record_root();
    // Who can connect may also tell this daemon to end.
    let mut signals = super::signals::Signals::new()?;
    let rules = rules(&mut engine, &settings);
    let listening = inherited.as_ref().map(|inherited| Listener::inherit(&inherited.listener, &socket, rules.clone()));
    let listener = match listening {
        Some(Ok(listener)) => listener,
        Some(Err(error)) => {
            tracing::error!("upgrade: the control socket is made anew: {error}");
            Listener::bind(&socket, rules)?
        }
        None => Listener::bind(&socket, rules)?,
    };
    let mut program = super::upgrade::own_path();
    if inherits_children {
        signals = signals.with_children()?;
    }
    if let Some(Inherited { handoff, .. }) = &inherited {
        crate::sys::process::set_signal_mask(handoff.signals).map_err(super::engine::to_io)?;
        (engine.since, engine.upgrades) = (handoff.since, handoff.upgrades + 1);
        engine.upgraded = Some(super::engine::now());
        program = handoff.program.as_ref().map_or(program, PathBuf::from);
    }
    let signals_token = engine.poller.add(&signals, Interest::Read).map_err(super::engine::to_io)?;
    let listener_token = engine.poller.add(&listener, Interest::Read).map_err(super::engine::to_io)?;
    engine.adopt_all()?;
    let mut server = Server {
        engine,
        listener,
        listener_token,
        signals,
        signals_token,
        waiting: BTreeMap::new(),
        requests: HashMap::new(),
        keys: BTreeMap::new(),
        next_wait: 0,
        errands: HashMap::new(),
        subscribers: Subscribers::default(),
        strangers: inherits_children,
        deaf: false,
        ending: None,
        finished: false,
        lock,
        journal,
        program,
        upgrade: None,
        replacing: false,
    };
    server.start_boot_set();
    super::thrift::trim_heap();
    // Of what the beginning needed the most is not needed again.
    server.engine.trim_soon();
    super::manager::tell_ready();
    if let Some(inherited) = inherited {
        server.take_connections(inherited);
    }
    tracing::info!("ready on {}", server.engine.options.socket.display());
    while !server.finished {
        for notice in server.engine.turn()? {
            server.notice(notice);
        }
        server.go_on_with_upgrade();
        if server.strangers {
            server.reap();
        }
        server.look_after_listener();
        if let Some(journal) = &server.journal {
            server.engine.flush_journal(journal);
        }
    }
    server.close();
    Ok(())
}

/// Why this daemon does not begin.
fn no_groups(options: &Options, error: &crate::cgroup::CgroupError) -> String {
    let record = options.runtime_dir.join("cgroup-root");
    let advice = super::scarcity::advice(&error.error);
    format!(
        "cannot use the groups that the last daemon recorded in {}: {error}; services that run go on running{advice}",
        record.display()
    )
}

/// The settings file of the system's instance; an instance with redirected directories has none.
pub(super) fn settings(options: &mut Options) -> io::Result<DaemonSettings> {
    if !options.system {
        return Ok(DaemonSettings::default());
    }
    let settings = super::settings::read(Path::new(SETTINGS_FILE)).map_err(|problems| {
        let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
        io::Error::new(io::ErrorKind::InvalidData, text.join("\n"))
    })?;
    options.strict_host = settings.strict_host;
    if options.cgroup_root.is_none() {
        options.cgroup_root.clone_from(&settings.cgroup_root);
    }
    if let Some(directory) = &settings.log_directory {
        options.log_dir.clone_from(directory);
    }
    Ok(settings)
}

fn make_directories(options: &Options) -> io::Result<()> {
    let named = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| super::scarcity::at(&path, error)
    };
    super::launch::make_directory(&options.runtime_dir, 0o755).map_err(named(&options.runtime_dir))?;
    for (name, mode) in [("services", 0o700), ("io", 0o755)] {
        let path = options.runtime_dir.join(name);
        super::launch::make_directory(&path, mode).map_err(named(&path))?;
    }
    super::launch::make_directory(&options.state_dir, 0o755).map_err(named(&options.state_dir))
}

/// Who may ask what.
fn rules(engine: &mut Engine, settings: &DaemonSettings) -> Rules {
    let owner = rustix::process::geteuid();
    if !owner.is_root() {
        // What an ordinary user runs is nobody else's, whatever the groups of the host.
        return Rules { owner: owner.as_raw(), group: None, status: Audience::Root };
    }
    let group = engine.host.accounts().group(&settings.control_group).ok().map(|group| group.gid);
    let status = match settings.status {
        StatusAccess::Everyone => Audience::Everyone,
        StatusAccess::Group => Audience::Group,
        StatusAccess::Root => Audience::Root,
    };
    Rules { owner: owner.as_raw(), group, status }
}

impl Server {
    pub(super) fn notice(&mut self, notice: Notice) {
        match notice {
            Notice::Ready(ready) if ready.token == self.listener_token => self.dispatch(),
            Notice::Ready(ready) if ready.token == self.signals_token => self.signalled(),
            Notice::Ready(_) => {} // Closed in the same batch, or looked at after each turn (an upgrade).
            Notice::Reply(request, outcome) => self.replied(request, outcome),
            Notice::Errand(number, outcome) => self.errand_begun(number, outcome),
            Notice::Event(event) => self.subscribers.publish(&mut self.listener, &event),
            // Nobody asks for terminals here.
            Notice::Note(_) | Notice::Terminal(..) => {}
        }
    }

    pub(super) fn signalled(&mut self) {
        let caught = self.signals.take();
        if caught.child {
            self.strangers = true;
        }
        if caught.end {
            self.end();
        }
    }

    /// Children that nobody here knows by name.
    fn reap(&mut self) {
        let asked = self.asked_pid();
        self.strangers = self.engine.reap_strangers(asked);
    }

    /// SIGTERM: only the daemon ends, unless it was told otherwise or nobody would be left to look after anything.
    fn end(&mut self) {
        if self.ending.is_some() || !(self.engine.options.stop_on_exit || std::process::id() == 1) {
            self.finished = true;
            return;
        }
        let requests = self.engine.stop_all();
        tracing::info!("stopping {} services", requests.len());
        self.finished = requests.is_empty();
        self.ending = Some(requests);
    }

    fn start_boot_set(&mut self) {
        if !self.engine.is_first_of_this_boot() {
            return;
        }
        for name in crate::load::enabled_units(&self.engine.options.unit_path, "default") {
            match self.engine.load_for_start(&name) {
                Ok(id) => self.engine.events.push_back(Event::StartRequested { id, request: None }),
                Err(error) => tracing::error!("enabled unit {name} is not started: {error}"),
            }
        }
        // Each of them is written down, or has begun, before it is noted that all were asked for.
        self.engine.settle();
        self.engine.note_boot();
    }

    /// A listener that could accept nobody is asked again after a while.
    fn look_after_listener(&mut self) {
        if !self.listener.is_paused() || self.engine.is_set(Timer::Listen) {
            return;
        }
        if std::mem::take(&mut self.deaf) {
            self.listener.accept_again();
        }
        if self.listener.is_paused() {
            tracing::error!("no client can be accepted at present, for want of descriptors or memory; tried again");
            self.deaf = true;
            self.engine.after(super::scarcity::PAUSE, Timer::Listen);
        }
    }

    fn begin_errand(&mut self, connection: ConnectionId, unit: &str, wish: &Wish) {
        let descriptors = self.listener.take_descriptors(connection);
        match self.engine.begin_errand(unit, wish, descriptors) {
            Ok(number) => drop(self.errands.insert(number, connection)),
            Err(error) => self.listener.reply(connection, &Err(error)),
        }
    }

    /// Its end is told to the caller by who stands in for it.
    fn errand_begun(&mut self, number: u64, outcome: Result<(), CallError>) {
        if let Some(connection) = self.errands.remove(&number) {
            self.listener.reply(connection, &outcome.map(|()| Answer::Done));
            self.answer_calls();
        }
    }

    /// New connections, calls and departures.
    fn dispatch(&mut self) {
        let engine = &self.engine;
        let mut admit = |peer: &Peer| engine.admit(peer);
        if let Err(error) = self.listener.dispatch(&mut admit) {
            tracing::error!("control socket: {error}");
        }
        self.answer_calls();
        self.engine.trim_soon();
    }

    pub(super) fn answer_calls(&mut self) {
        while let Some(incoming) = self.listener.next_call() {
            let connection = incoming.connection;
            if let Call::Upgrade { program } = incoming.call {
                self.begin_upgrade(connection, program);
                continue;
            }
            if let Call::Exec { unit, command, terminal, user, image } = incoming.call {
                self.begin_errand(connection, &unit, &Wish { command, terminal, user, image });
                continue;
            }
            self.note_key(connection, incoming.request);
            let handled = self.engine.call(incoming.call, incoming.request, incoming.wait);
            if self.is_answered_at_once(&handled, incoming.wait) {
                // What is promised is written down.
                self.engine.settle();
            }
            match handled {
                Handled::Now(Ok(Answer::Units(units))) if incoming.more => self.reply_units(connection, units),
                Handled::Now(answer) => self.listener.reply(connection, &answer),
                Handled::Later(requests, _) if !incoming.wait || requests.is_empty() => {
                    self.listener.reply(connection, &Ok(Answer::Done));
                }
                Handled::Later(requests, unit) => self.wait(connection, unit, requests),
                // Nobody would hear it, and nobody would end it.
                Handled::Stream(..) if incoming.oneway => {}
                Handled::Stream(present, units) => {
                    self.subscribers.add(&mut self.listener, connection, units, present, incoming.more);
                }
            }
        }
        while let Some(connection) = self.listener.next_gone() {
            self.subscribers.remove(connection);
            self.abandon(connection);
        }
        while let Some(connection) = self.listener.next_drained() {
            self.subscribers.drained(&mut self.listener, connection);
        }
        let closed: Vec<ConnectionId> =
            self.keys.keys().filter(|connection| !self.listener.is_open(**connection)).copied().collect();
        closed.into_iter().for_each(|connection| self.note_key(connection, None));
        self.engine.observed = !self.subscribers.is_empty();
    }

    /// Whoever asks the next question, or hangs up, has the answer to the one before.
    fn note_key(&mut self, connection: ConnectionId, key: Option<RequestKey>) {
        let before = self.keys.remove(&connection);
        self.keys.extend(key.map(|key| (connection, key)));
        if let Some(before) = before
            && !self.keys.values().any(|key| *key == before)
        {
            self.engine.forget_key(before);
        }
    }

    /// A call that changes something, and whose answer does not wait for the outcome.
    fn is_answered_at_once(&self, handled: &Handled, waits: bool) -> bool {
        match handled {
            Handled::Now(_) | Handled::Stream(..) => self.engine.has_to_settle(),
            Handled::Later(..) => !waits,
        }
    }

    /// One unit in each reply.
    fn reply_units(&mut self, connection: ConnectionId, units: Vec<UnitStatus>) {
        let mut units = units.into_iter().peekable();
        if units.peek().is_none() {
            return self.listener.reply(connection, &Ok(Answer::Units(Vec::new())));
        }
        while let Some(unit) = units.next() {
            let answer = Answer::Units(vec![unit]);
            if units.peek().is_some() {
                self.listener.reply_part(connection, &answer);
            } else {
                self.listener.reply(connection, &Ok(answer));
            }
        }
    }

    fn wait(&mut self, connection: ConnectionId, unit: String, requests: Vec<RequestId>) {
        self.next_wait += 1;
        self.waiting
            .insert(self.next_wait, Waiting { connection, unit, open: requests.len(), failure: None, skipped: None });
        for request in requests {
            self.requests.entry(request).or_default().push(self.next_wait);
        }
    }

    fn replied(&mut self, request: RequestId, outcome: Outcome) {
        if let Some(ending) = &mut self.ending {
            ending.retain(|other| *other != request);
            if ending.is_empty() {
                self.finished = true;
            }
        }
        for key in self.requests.remove(&request).unwrap_or_default() {
            self.answer(key, outcome.clone());
        }
    }

    /// One of the outcomes that a call waits for.
    fn answer(&mut self, key: u64, outcome: Outcome) {
        let Some(waiting) = self.waiting.get_mut(&key) else { return };
        waiting.open -= 1;
        match self.engine.answer_of(&waiting.unit, outcome) {
            Ok(Answer::Skipped(why)) => waiting.skipped = Some(why),
            Ok(_) => {}
            Err(error) => {
                waiting.failure.get_or_insert(error);
            }
        }
        if waiting.open == 0
            && let Some(waiting) = self.waiting.remove(&key)
        {
            let done = waiting.skipped.map_or(Answer::Done, Answer::Skipped);
            self.listener.reply(waiting.connection, &waiting.failure.map_or(Ok(done), Err));
            self.answer_calls();
        }
    }

    /// The client went away: nobody is answered, the work goes on.
    fn abandon(&mut self, connection: ConnectionId) {
        let gone: Vec<u64> =
            self.waiting.iter().filter(|(_, waiting)| waiting.connection == connection).map(|(key, _)| *key).collect();
        for key in gone {
            self.waiting.remove(&key);
            let requests = &mut self.requests;
            requests.values_mut().for_each(|waiting| waiting.retain(|other| *other != key));
            for (request, _) in requests.extract_if(|_, waiting| waiting.is_empty()) {
                self.engine.events.push_back(Event::RequestAbandoned { request });
            }
        }
    }

    fn close(&mut self) {
        self.abandon_upgrade();
        self.engine.leave_syslog();
        self.engine.conclude_logs();
        // Left in place otherwise: clients then wait for the next daemon.
        if self.ending.is_some() {
            let _ = self.listener.remove_name();
        }
        let left = self.engine.tree.as_ref().and_then(|tree| tree.existing().ok()).map_or(0, |units| units.len());
        let listening = self.engine.services.values().any(|service| service.sockets.is_some());
        if left == 0 && !listening {
            self.engine.dismiss_keeper();
        }
        if left == 0
            && !listening
            && let Some(tree) = &self.engine.tree
        {
            // Nothing is in it. A next daemon makes it again.
            let _ = tree.remove_root();
        }
        tracing::info!("ended; {left} services go on running");
    }
}
