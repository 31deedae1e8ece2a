//! The process that runs the engine and is killed: opens the store, says what it holds, then submits and
//! works until it is told to close. It decides nothing.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use millpond::{
    Delivery, Engine, Entry, EntryId, Error, ErrorKind, Headers, LeasesAtOpen, Options, Queue,
    StoredEntry, Topic,
};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use super::event::{Event, LeaseSeen, Record};
use super::instruction::{Instruction, Setup, Submission};
use super::workload::JobIndex;
use crate::clock::{self, Micros};
use crate::failure::{Exit, Failure};

/// Calls of enqueue that wait for their receipts at the same time. Together with the workers' calls they
/// stay below the capacity of a mailbox, on which the order of a queue's jobs rests.
pub(crate) const CALLS_IN_FLIGHT_MAX: usize = 256;
/// Entries read in one piece while the store is scanned.
const SCAN_ENTRIES_MAX: usize = 1000;
/// How long a worker waits before it asks again; any value works, a long one costs least.
const LEASE_WAIT: Duration = Duration::from_secs(60);

const RUN_HEADER: &str = "replay";
const JOB_HEADER: &str = "job";

/// Runs the engine as the process at the other ends of standard input and output says.
pub(crate) async fn host() -> Result<(), Failure> {
    let not_for_users = |error| Failure::io("talk to a replay (this command is internal)", &error);
    let mut instructions = Instructions::from_stdin().map_err(not_for_users)?;
    let events = Events::to_stdout().map_err(not_for_users)?;
    let served = serve(&events, &mut instructions).await;
    if let Err(Failure { exit, text }) = served {
        events.write(Event::Failed { code: exit as u8, text })?;
        return Err(Failure::silent(exit));
    }
    served
}

async fn serve(events: &Arc<Events>, instructions: &mut Instructions) -> Result<(), Failure> {
    let Some(Instruction::Open(setup)) = instructions.next().await? else { return Ok(()) };
    let mut options = Options::new(&setup.directory).leases_at_open(LeasesAtOpen::Release);
    if let Some(n_partitions) = setup.n_partitions {
        options = options.partitions(n_partitions);
    }
    let engine = Engine::open(options).await?;
    events.write(Event::Opened)?;
    scan(&engine, &setup, events).await?;
    events.write(Event::Scanned)?;
    match instructions.plan().await? {
        Some(submissions) => run(&engine, setup, submissions, events, instructions).await?,
        None => engine.close().await?,
    }
    events.write(Event::Closed)
}

/// Reports every entry of the replay that the store holds.
async fn scan(engine: &Engine, setup: &Setup, events: &Events) -> Result<(), Failure> {
    let topic = engine.topic(&setup.topic);
    for key in &setup.queues {
        let queue = topic.queue(key);
        let mut after: Option<EntryId> = None;
        loop {
            let entries = queue.browse(after, SCAN_ENTRIES_MAX).await?;
            let Some(last) = entries.last() else { break };
            after = Some(last.id);
            for entry in &entries {
                events.write(found(setup, entry)?)?;
            }
        }
    }
    Ok(())
}

fn found(setup: &Setup, entry: &StoredEntry) -> Result<Event, Failure> {
    let job = setup.job(&entry.body.headers)?;
    let lease = entry.lease.map(|row| LeaseSeen { token: row.token, attempt: row.attempts });
    Ok(Event::Found { job, rank: entry.id.rank, lease })
}

impl Setup {
    /// Whose entry it is.
    fn job(&self, headers: &Headers) -> Result<JobIndex, Failure> {
        let ours = headers.get(RUN_HEADER).is_some_and(|run| run[..] == *self.run.as_bytes());
        let job =
            headers.get(JOB_HEADER).and_then(|job| std::str::from_utf8(job).ok()?.parse().ok());
        let known = job.filter(|job| ours && JobIndex(*job).at() < self.run_us.len());
        known.map(JobIndex).ok_or_else(|| {
            let text = format!("topic `{}` holds entries that are not of this replay", self.topic);
            Failure::new(Exit::Problem, text)
        })
    }
}

/// Submits and works until told to close; closes the engine.
async fn run(
    engine: &Engine,
    setup: Setup,
    submissions: Vec<Submission>,
    events: &Arc<Events>,
    instructions: &mut Instructions,
) -> Result<(), Failure> {
    let topic = engine.topic(&setup.topic);
    let queues = setup.queues.iter().map(|key| topic.queue(key)).collect();
    let (stop, stopped) = watch::channel(false);
    let n_workers = setup.n_workers;
    let site = Arc::new(Site { topic, queues, setup, events: events.clone(), stopped });
    let mut tasks = JoinSet::new();
    tasks.spawn(site.clone().submit_all(submissions));
    for _ in 0..n_workers {
        tasks.spawn(site.clone().work());
    }
    let mut ended = loop {
        tokio::select! {
            instruction = instructions.next() => break instruction.map(drop),
            Some(task) = tasks.join_next() => {
                if let Err(failure) = flatten(task) {
                    break Err(failure);
                }
            }
        }
    };
    // Fails only if every task is gone already.
    let _ = stop.send(true);
    // Whoever waits for the engine is answered by its close.
    let closed = engine.close().await;
    while let Some(task) = tasks.join_next().await {
        ended = ended.and(flatten(task));
    }
    // A failed engine says more by the call that failed than by its close.
    ended.and(closed.map_err(Failure::from))
}

fn flatten(task: Result<Result<(), Failure>, JoinError>) -> Result<(), Failure> {
    task.unwrap_or_else(|error| Err(Failure::new(Exit::Stopped, format!("a task ended: {error}"))))
}

/// What submitting and working share.
struct Site {
    topic: Topic,
    queues: Vec<Queue>,
    setup: Setup,
    events: Arc<Events>,
    stopped: watch::Receiver<bool>,
}

impl Site {
    fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    /// Whether the time came before the order to stop.
    async fn wait_until(&self, time: Micros) -> bool {
        if Micros::now() >= time {
            return !self.is_stopped();
        }
        let mut stopped = self.stopped.clone();
        tokio::select! {
            () = clock::sleep_until(time) => true,
            _ = stopped.wait_for(|stopped| *stopped) => false,
        }
    }

    /// An engine that is being closed refuses; that is no failure.
    fn unless_stopped(&self, error: Error) -> Result<(), Failure> {
        if error.kind() == ErrorKind::Closed && self.is_stopped() {
            Ok(())
        } else {
            Err(error.into())
        }
    }

    /// Enqueues jobs when they are due, in order, without waiting for one receipt before the next call.
    async fn submit_all(self: Arc<Self>, submissions: Vec<Submission>) -> Result<(), Failure> {
        let mut calls = JoinSet::new();
        for submission in submissions {
            if !self.wait_until(submission.due).await {
                break;
            }
            while calls.len() >= CALLS_IN_FLIGHT_MAX {
                calls.join_next().await.map_or(Ok(()), flatten)?;
            }
            let mut call = Box::pin(self.clone().submit(submission));
            // The first poll gives the entry its place in the queue, so it is made here and in order.
            match poll_once(call.as_mut()).await {
                Poll::Ready(done) => done?,
                Poll::Pending => drop(calls.spawn(call)),
            }
        }
        while let Some(call) = calls.join_next().await {
            flatten(call)?;
        }
        Ok(())
    }

    async fn submit(self: Arc<Self>, submission: Submission) -> Result<(), Failure> {
        let job = JobIndex(submission.job);
        let entry = Entry::new(submission.payload)
            .header(RUN_HEADER, self.setup.run.clone())
            .header(JOB_HEADER, submission.job.to_string());
        let called_at = Micros::now();
        match self.queues[submission.queue].enqueue(entry).await {
            Ok(receipt) => {
                let at = Micros::now();
                let call_us = u32::try_from(at.since(called_at)).unwrap_or(u32::MAX);
                let rank = receipt.get().id().rank;
                self.events.write_at(at, Event::Accepted { job, rank, call_us })
            }
            Err(error) => self.unless_stopped(error),
        }
    }

    /// One worker: lease, run, acknowledge, until told to stop.
    async fn work(self: Arc<Self>) -> Result<(), Failure> {
        let lease = Duration::from_millis(self.setup.lease_ms);
        while !self.is_stopped() {
            match self.topic.lease().lease_for(lease).wait(LEASE_WAIT).fetch_one().await {
                Ok(Some(delivery)) => self.deliver(delivery).await?,
                Ok(None) => {}
                Err(error) => return self.unless_stopped(error),
            }
        }
        Ok(())
    }

    async fn deliver(&self, delivery: Delivery) -> Result<(), Failure> {
        let at = Micros::now();
        let job = self.setup.job(delivery.headers())?;
        let lease = LeaseSeen { token: delivery.token(), attempt: delivery.attempt() };
        self.events.write_at(at, Event::Granted { job, rank: delivery.id().rank, lease })?;
        if !self.wait_until(at.plus(self.setup.run_us[job.at()])).await {
            return Ok(());
        }
        self.events.write(Event::Acking { job, token: lease.token })?;
        match delivery.ack().await {
            Ok(_) => self.events.write(Event::Acked { job }),
            Err(error) if error.kind() == ErrorKind::StaleLease => {
                self.events.write(Event::Refused { job })
            }
            Err(error) => self.unless_stopped(error),
        }
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    std::future::poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await
}

/// The pipe to the process that keeps the books.
#[derive(Debug)]
struct Events(File);

impl Events {
    /// Past the buffer of `std::io::Stdout`: an event must be in the pipe before the step it announces.
    fn to_stdout() -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self(File::from(io::stdout().as_fd().try_clone_to_owned()?))))
    }

    fn write(&self, event: Event) -> Result<(), Failure> {
        self.write_at(Micros::now(), event)
    }

    /// Waits, thread and all, while the pipe is full: then the reader is the one to wait for.
    fn write_at(&self, at: Micros, event: Event) -> Result<(), Failure> {
        let mut bytes = Vec::with_capacity(64);
        Record { at, event }.encode_into(&mut bytes);
        // One call of at most 512 bytes: the pipe takes it whole, whoever else is writing.
        (&self.0).write_all(&bytes).map_err(|error| Failure::io("report an event", &error))
    }
}

/// The pipe from the process that keeps the books.
struct Instructions(BufReader<pipe::Receiver>);

impl Instructions {
    fn from_stdin() -> io::Result<Self> {
        let stdin = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(BufReader::new(pipe::Receiver::from_owned_fd(stdin)?)))
    }

    /// `None` at the end of the stream: the other process wants the engine closed, or died.
    ///
    /// Cancel safe only where nothing but the end is to come: a dropped future may have read a piece of
    /// an instruction.
    async fn next(&mut self) -> Result<Option<Instruction>, Failure> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).await;
        let n = read.map_err(|error| Failure::io("read instructions", &error))?;
        if n == 0 {
            return Ok(None);
        }
        let instruction = serde_json::from_str(&line);
        instruction.map(Some).map_err(|error| {
            Failure::new(Exit::Stopped, format!("an instruction cannot be understood: {error}"))
        })
    }

    /// What is to be submitted; `None` if nothing is to be done at all.
    async fn plan(&mut self) -> Result<Option<Vec<Submission>>, Failure> {
        let mut submissions = Vec::new();
        loop {
            match self.next().await? {
                Some(Instruction::Job(submission)) => submissions.push(submission),
                Some(Instruction::Begin) => return Ok(Some(submissions)),
                Some(Instruction::Open(_)) | None => return Ok(None),
            }
        }
    }
}
