//! A process that opens an engine, puts a load on it and says what it does, until it is killed.
//!
//! It takes one argument, [`WorkerOptions`] as JSON, and writes [events](millpond_crash_tests::Event) to
//! its standard output.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

use millpond::Engine;
use millpond_crash_tests::actor::{Actor, Sink, Stop};
use millpond_crash_tests::load::Control;
use millpond_crash_tests::worker::{
    EXIT_NO_LISTENER, EXIT_REFUSED, EXIT_STOPPED, Work, WorkerOptions,
};
use millpond_crash_tests::{Event, check, load};
use millpond_sync::{Arc, Mutex};

fn main() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let options: WorkerOptions = match serde_json::from_str(&argument) {
        Ok(options) => options,
        Err(error) => {
            eprintln!("usage: millpond-crash-worker '<options as JSON>': {error}");
            return ExitCode::FAILURE;
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be started");
    runtime.block_on(run(options))
}

async fn run(options: WorkerOptions) -> ExitCode {
    let output = std::io::stdout().as_fd().try_clone_to_owned().expect("standard output is open");
    let sink = Arc::new(Output(Mutex::new(File::from(output))));
    match live(&options, &sink).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(Stop::Sink(NoListener)) => ExitCode::from(EXIT_NO_LISTENER),
        Err(Stop::Engine(_)) => ExitCode::from(EXIT_STOPPED),
    }
}

async fn live(options: &WorkerOptions, sink: &Arc<Output>) -> Result<(), Stop<NoListener>> {
    sink.say(&Event::Opening { leases: options.leases }).map_err(Stop::Sink)?;
    let control = Arc::new(Control::default());
    stop_on_interrupt(control.clone());
    let engine_options =
        check::options(&options.directory, options.leases).partitions(options.n_partitions);
    let engine = match Engine::open(engine_options).await {
        Ok(engine) => engine,
        Err(error) => {
            let (kind, text) = (error.kind().name().to_owned(), error.to_string());
            sink.say(&Event::NotOpened { kind, text }).map_err(Stop::Sink)?;
            std::process::exit(EXIT_REFUSED.into());
        }
    };
    check::lay_down_rules(&engine).await.map_err(|error| Stop::Engine(error.kind()))?;
    let n_partitions =
        engine.status().await.map_err(|error| Stop::Engine(error.kind()))?.n_partitions;
    let n_partitions = u16::try_from(n_partitions).expect("engines have few partitions");
    sink.say(&Event::Opened { n_partitions }).map_err(Stop::Sink)?;
    let actor = Actor::new(engine.clone(), sink.clone(), options.life)
        .with_early_receipts(options.early_receipts);
    actor.find_rules()?;
    match options.work {
        Work::Load { n_tasks, n_calls } => {
            load::run(&actor, &control, options.seed, n_tasks, n_calls).await?;
        }
        Work::Hold => {
            // The parent's death ends the wait too.
            let waited = tokio::task::spawn_blocking(|| {
                std::io::copy(&mut std::io::stdin(), &mut std::io::sink())
            });
            let _ = waited.await;
        }
    }
    if options.abrupt_end {
        // As if killed at this moment: nothing is closed and nothing more is written.
        std::process::exit(0);
    }
    engine.close().await.map_err(|error| Stop::Engine(error.kind()))?;
    sink.say(&Event::Closed).map_err(Stop::Sink)
}

fn stop_on_interrupt(control: Arc<Control>) {
    // Registered before the engine is open, so that no interrupt kills the process after that.
    let mut interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())
        .expect("a signal can be listened to");
    tokio::spawn(async move {
        interrupts.recv().await;
        control.stop();
    });
}

struct NoListener;

/// Each event is one `write`: it is in the pipe or file when `say` returns, whatever happens to this
/// process.
struct Output(Mutex<File>);

impl Sink for Output {
    type Stop = NoListener;

    fn say(&self, event: &Event) -> Result<(), NoListener> {
        self.0.lock().write_all(event.to_line().as_bytes()).map_err(|_| NoListener)
    }
}
