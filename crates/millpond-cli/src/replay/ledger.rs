//! The books of a replay: what became of every job, across the death of the process that ran the engine.
//!
//! Only two sources count: the events of that process, each written before the step it announces, and what
//! the store holds when it is opened again. Together they leave no job in doubt:
//!
//! | events say | the store holds it | verdict |
//! |---|---|---|
//! | acked | no | done |
//! | acked | yes | **revived**: a receipt was broken |
//! | accepted or granted | yes | accepted, still to do |
//! | acking, no acked | no | done: the acknowledgement was durable, its receipt was not heard |
//! | accepted or granted, never acking | no | **lost** |
//! | nothing | yes | accepted: the receipt was not heard |
//! | nothing | no | never accepted, to be enqueued |
//!
//! A lease is durable before its holder hears of it, so the store must know every lease that a worker
//! held, or a newer one; if not, it was **forgotten**. In return the store's lease rows tell of grants of
//! which no worker could report any more, without which the order of grants could not be judged.

use millpond::{EntryRank, LeaseToken};

use super::event::{Event, LeaseSeen};
use super::order;
use super::workload::JobIndex;
use crate::clock::Micros;

/// Most broken promises that are described in words; all are counted.
const EXAMPLES_MAX: usize = 10;

/// One grant of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Grant {
    lease: LeaseSeen,
    /// When a worker held it; `None` if only the store tells of it.
    at: Option<Micros>,
    life: usize,
}

/// What became of one job.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Account {
    queue: usize,
    rank: Option<EntryRank>,
    accepted_at: Option<Micros>,
    grants: Vec<Grant>,
    acking: Option<LeaseToken>,
    acked_at: Option<Micros>,
    lost: bool,
    /// Found in the store by the scan that is going on.
    found: bool,
}

/// Promises of the engine that were broken. All of these must be 0.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Violations {
    /// Accepted, and gone without an acknowledgement.
    pub(crate) lost: u64,
    /// Granted while an older ready entry of the same queue and priority was waiting.
    pub(crate) out_of_order: u64,
    /// Acknowledged, and there again.
    pub(crate) revived: u64,
    /// One job, two entries.
    pub(crate) duplicated: u64,
    /// A grant, token or attempt that the store did not know any more.
    pub(crate) forgotten_leases: u64,
    /// Placed in its queue before a job that was submitted earlier.
    pub(crate) misplaced: u64,
    /// The first of them, in words.
    #[serde(rename = "violations")]
    pub(crate) examples: Vec<String>,
}

impl Violations {
    pub(crate) fn total(&self) -> u64 {
        let Self { lost, out_of_order, revived, duplicated, forgotten_leases, misplaced, .. } =
            self;
        lost + out_of_order + revived + duplicated + forgotten_leases + misplaced
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// What a reopened store decided.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub(crate) struct Settled {
    /// Accepted, though the receipt was not heard.
    #[serde(rename = "accepted_unheard")]
    pub(crate) accepted: u64,
    /// Acknowledged, though the receipt was not heard.
    #[serde(rename = "acked_unheard")]
    pub(crate) acked: u64,
    /// Granted, though no worker could report it.
    #[serde(rename = "granted_unheard")]
    pub(crate) granted: u64,
    /// Leased when the process died, ready again.
    #[serde(rename = "leases_released")]
    pub(crate) released: u64,
    /// Not accepted yet, and enqueued again or for the first time.
    pub(crate) to_enqueue: u64,
}

/// Durations in microseconds, to be summarized.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples {
    /// From the call of enqueue to its receipt.
    pub(crate) enqueue_us: Vec<u64>,
    /// From ready to leased; the time in which no engine was open does not count.
    pub(crate) ready_to_leased_us: Vec<u64>,
    /// By job: from accepted to first leased, whatever happened between, if that is known.
    pub(crate) waits_us: Vec<Option<u64>>,
    /// When entries were accepted, in order.
    pub(crate) accepted_at: Vec<Micros>,
    /// When they were acknowledged, in order.
    pub(crate) acked_at: Vec<Micros>,
}

/// The books.
#[derive(Debug)]
pub(crate) struct Ledger {
    accounts: Vec<Account>,
    n_queues: usize,
    /// When each process had the engine open.
    lives: Vec<Micros>,
    enqueue_us: Vec<u64>,
    violations: Violations,
    n_accepted: u64,
    n_acked: u64,
    /// Jobs neither acknowledged nor lost.
    n_open: u64,
    n_redelivered: u64,
    n_refused: u64,
}

impl Ledger {
    /// Books for jobs that go to these queues.
    pub(crate) fn new(queue_of_job: impl IntoIterator<Item = usize>) -> Self {
        let accounts: Vec<_> =
            queue_of_job.into_iter().map(|queue| Account { queue, ..Account::default() }).collect();
        Self {
            n_queues: accounts.iter().map(|account| account.queue + 1).max().unwrap_or(0),
            n_open: accounts.len() as u64,
            accounts,
            lives: Vec::new(),
            enqueue_us: Vec::new(),
            violations: Violations::default(),
            n_accepted: 0,
            n_acked: 0,
            n_redelivered: 0,
            n_refused: 0,
        }
    }

    pub(crate) fn n_jobs(&self) -> u64 {
        self.accounts.len() as u64
    }

    pub(crate) fn n_accepted(&self) -> u64 {
        self.n_accepted
    }

    pub(crate) fn n_acked(&self) -> u64 {
        self.n_acked
    }

    /// Grants of entries that had been granted before.
    pub(crate) fn n_redelivered(&self) -> u64 {
        self.n_redelivered
    }

    /// Acknowledgements that came after the end of the lease.
    pub(crate) fn n_refused(&self) -> u64 {
        self.n_refused
    }

    /// Whether nothing is left to wait for.
    pub(crate) fn is_finished(&self) -> bool {
        self.n_open == 0
    }

    /// Whether a worker holds the entry of this job and has not begun to acknowledge it.
    pub(crate) fn leased_at(&self, job: JobIndex) -> Option<Micros> {
        let account = &self.accounts[job.at()];
        let last = account.grants.last()?;
        let running = last.life + 1 == self.lives.len() && account.acking != Some(last.lease.token);
        last.at.filter(|_| running)
    }

    /// Enters an event. Those about jobs that do not exist are refused.
    pub(crate) fn enter(&mut self, at: Micros, event: &Event) -> Result<(), UnknownJob> {
        match *event {
            Event::Opened => {
                self.lives.push(at);
                self.accounts.iter_mut().for_each(|account| account.found = false);
            }
            Event::Found { job, rank, lease } => self.found(self.known(job)?, rank, lease),
            Event::Accepted { job, rank, call_us } => {
                let job = self.known(job)?;
                self.enqueue_us.push(call_us.into());
                self.accept(job, rank, at);
            }
            Event::Granted { job, rank, lease } => self.granted(self.known(job)?, rank, lease, at),
            Event::Acking { job, token } => {
                let job = self.known(job)?;
                self.accounts[job].acking = Some(token);
            }
            Event::Acked { job } => {
                let job = self.known(job)?;
                self.acked(job, at);
            }
            Event::Refused { job } => {
                let job = self.known(job)?;
                self.accounts[job].acking = None;
                self.n_refused += 1;
            }
            Event::Scanned | Event::Closed | Event::Failed { .. } => {}
        }
        Ok(())
    }

    fn known(&self, job: JobIndex) -> Result<usize, UnknownJob> {
        if job.at() < self.accounts.len() { Ok(job.at()) } else { Err(UnknownJob(job.0)) }
    }

    /// Notes where the entry of a job is; a job has one entry and it does not move.
    fn place(&mut self, job: usize, rank: EntryRank) {
        let known = *self.accounts[job].rank.get_or_insert(rank);
        if known != rank {
            self.violations.duplicated += 1;
            self.violations.example(|| {
                format!("job {job} has two entries: {} and {}", known.sequence, rank.sequence)
            });
        }
    }

    fn accept(&mut self, job: usize, rank: EntryRank, at: Micros) {
        self.place(job, rank);
        let account = &mut self.accounts[job];
        if account.accepted_at.is_none() {
            account.accepted_at = Some(at);
            self.n_accepted += 1;
        }
    }

    fn acked(&mut self, job: usize, at: Micros) {
        let account = &mut self.accounts[job];
        if account.acked_at.is_none() {
            account.acked_at = Some(at);
            self.n_acked += 1;
            self.n_open -= u64::from(!account.lost);
        }
    }

    fn granted(&mut self, job: usize, rank: EntryRank, lease: LeaseSeen, at: Micros) {
        self.place(job, rank);
        let life = self.lives.len().saturating_sub(1);
        let account = &mut self.accounts[job];
        let before = account.grants.last().map(|grant| grant.lease);
        account.grants.push(Grant { lease, at: Some(at), life });
        if account.acked_at.is_some() {
            self.revived(job, "was granted again");
        }
        let (token, attempt) = before.map_or((None, 0), |last| (Some(last.token), last.attempt));
        if token >= Some(lease.token) || attempt.checked_add(1) != Some(lease.attempt) {
            self.forgotten(job, before, Some(lease));
        }
        self.n_redelivered += u64::from(before.is_some());
    }

    fn found(&mut self, job: usize, rank: EntryRank, lease: Option<LeaseSeen>) {
        self.place(job, rank);
        let life = self.lives.len().saturating_sub(2);
        let account = &mut self.accounts[job];
        account.found = true;
        let before = account.grants.last().map(|grant| grant.lease);
        let (token, attempt) = before.map_or((None, 0), |last| (Some(last.token), last.attempt));
        match lease {
            Some(stored) if before == Some(stored) => {}
            Some(stored) if token < Some(stored.token) && attempt <= stored.attempt => {
                account.grants.push(Grant { lease: stored, at: None, life });
            }
            None if before.is_none() => {}
            stored => self.forgotten(job, before, stored),
        }
    }

    fn forgotten(&mut self, job: usize, before: Option<LeaseSeen>, now: Option<LeaseSeen>) {
        self.violations.forgotten_leases += 1;
        let words = |lease: Option<LeaseSeen>| {
            lease.map_or("none".to_owned(), |l| format!("{} (attempt {})", l.token, l.attempt))
        };
        self.violations
            .example(|| format!("job {job}: after lease {} came {}", words(before), words(now)));
    }

    fn revived(&mut self, job: usize, how: &str) {
        self.violations.revived += 1;
        self.violations.example(|| format!("job {job} was acknowledged and {how}"));
    }

    /// Decides every job after the store was scanned. Returns those to be enqueued, in order.
    pub(crate) fn settle(&mut self, at: Micros) -> (Settled, Vec<JobIndex>) {
        let mut settled = Settled::default();
        let mut to_enqueue = Vec::new();
        for job in 0..self.accounts.len() {
            let account = &self.accounts[job];
            let heard = account.accepted_at.is_some() || !account.grants.is_empty();
            match (account.acked_at, account.found) {
                _ if account.lost => {}
                (Some(_), true) => self.revived(job, "found in the store"),
                (Some(_), false) => {}
                (None, true) => self.settle_found(job, at, &mut settled),
                (None, false) if account.acking.is_some() => {
                    settled.acked += 1;
                    self.settle_accepted(job, at, &mut settled);
                    self.acked(job, at);
                }
                (None, false) if heard => self.lose(job),
                (None, false) => {
                    settled.to_enqueue += 1;
                    to_enqueue.push(JobIndex(u32::try_from(job).expect("numbered when planned")));
                }
            }
        }
        (settled, to_enqueue)
    }

    fn settle_found(&mut self, job: usize, at: Micros, settled: &mut Settled) {
        self.settle_accepted(job, at, settled);
        let n_lives = self.lives.len();
        let account = &mut self.accounts[job];
        account.acking = None;
        if let Some(last) = account.grants.last().filter(|grant| grant.life + 2 == n_lives) {
            settled.released += 1;
            settled.granted += u64::from(last.at.is_none());
        }
    }

    fn settle_accepted(&mut self, job: usize, at: Micros, settled: &mut Settled) {
        let account = &mut self.accounts[job];
        if account.accepted_at.is_none() {
            account.accepted_at = Some(at);
            self.n_accepted += 1;
            settled.accepted += 1;
        }
    }

    fn lose(&mut self, job: usize) {
        self.accounts[job].lost = true;
        self.n_open -= 1;
        self.violations.lost += 1;
        let granted = if self.accounts[job].grants.is_empty() { "never" } else { "once" };
        self.violations.example(|| {
            format!("job {job} was accepted, {granted} granted, never acknowledged, and is gone")
        });
    }

    /// Judges the order and gives the broken promises.
    pub(crate) fn violations(&self) -> Violations {
        let mut violations = self.violations.clone();
        for queue in self.by_queue() {
            self.check_order(&queue, &mut violations);
        }
        violations
    }

    /// Jobs of each queue that have an entry, in order of submission.
    fn by_queue(&self) -> Vec<Vec<usize>> {
        let mut queues = vec![Vec::new(); self.n_queues];
        for (job, account) in self.accounts.iter().enumerate() {
            if account.rank.is_some() {
                queues[account.queue].push(job);
            }
        }
        queues
    }

    fn check_order(&self, jobs: &[usize], violations: &mut Violations) {
        let mut histories = Vec::with_capacity(jobs.len());
        for &job in jobs {
            let account = &self.accounts[job];
            let Some(rank) = account.rank else { continue };
            let grants = account.grants.iter().map(|grant| grant.lease.token).collect();
            let acked_in = account.acked_at.and(account.acking).map(|token| token.epoch);
            histories.push(order::History { rank, grants, acked_in });
        }
        for pair in histories.windows(2).filter(|pair| pair[0].rank >= pair[1].rank) {
            violations.misplaced += 1;
            let (first, second) = (pair[0].rank.sequence, pair[1].rank.sequence);
            violations.example(|| format!("entry {second} was submitted after {first}"));
        }
        for found in order::check(&histories) {
            violations.out_of_order += 1;
            let (granted, overtaken) = (found.granted.sequence, found.overtaken.sequence);
            violations.example(|| {
                format!(
                    "lease {} went to entry {granted} while {overtaken} was waiting",
                    found.token
                )
            });
        }
    }

    /// The figures behind the report.
    pub(crate) fn samples(&self) -> Samples {
        let mut samples = Samples { enqueue_us: self.enqueue_us.clone(), ..Samples::default() };
        for account in &self.accounts {
            samples.accepted_at.extend(account.accepted_at);
            samples.acked_at.extend(account.acked_at);
            let first_at = account.grants.iter().find_map(|grant| grant.at);
            let accepted_at = account.accepted_at;
            samples.waits_us.push(first_at.zip(accepted_at).map(|(at, since)| at.since(since)));
            let Some(accepted_at) = accepted_at else { continue };
            let mut lives = Vec::new();
            for grant in &account.grants {
                let Some(at) = grant.at else { continue };
                // A second grant by the same process follows an expiry, whose time nobody knows.
                if !lives.contains(&grant.life) {
                    lives.push(grant.life);
                    let ready_at = accepted_at.max(self.lives[grant.life]);
                    samples.ready_to_leased_us.push(at.since(ready_at));
                }
            }
        }
        samples.accepted_at.sort_unstable();
        samples.acked_at.sort_unstable();
        samples
    }
}

/// An event about a job that the workload does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the engine's process reported job {0}, which the log does not have")]
pub(crate) struct UnknownJob(u32);

#[cfg(test)]
mod tests;
