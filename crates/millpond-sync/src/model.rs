//! Running a concurrency model, and knowing whether it was explored to the end.

/// Runs a model: once under std, and under loom once for every interleaving.
///
/// loom's limits end a search *silently*, so this wrapper counts the executions and prints one line per
/// model, which `cargo xtask loom` reads:
///
/// ```text
/// loom-model name=<name> executions=<n> bound=<preemptions or none> complete
/// ```
///
/// `complete` means every interleaving within the preemption bound was visited; otherwise the line ends
/// in `incomplete`. The limits come from loom's own variables `LOOM_MAX_PREEMPTIONS`,
/// `LOOM_MAX_PERMUTATIONS` and `LOOM_MAX_DURATION` (seconds).
///
/// A model is the body of an ordinary test in a module called `models`, and its name is a literal, unique in
/// the workspace: `cargo xtask loom` runs the tests whose path contains `models::` and misses every name it
/// found in the sources that does not report. A twin that loom must refute has a name that starts with
/// `broken_` and a test that expects the panic.
///
/// # Panics
///
/// Where `f` panics in some interleaving, or loom finds a deadlock, a leak or a race.
pub fn model(name: &str, f: impl Fn() + Sync + Send + 'static) {
    run(name, f);
}

#[cfg(not(millpond_loom))]
fn run(_name: &str, f: impl Fn() + Sync + Send + 'static) {
    f();
}

#[cfg(millpond_loom)]
#[expect(
    clippy::disallowed_methods,
    reason = "loom stops at a wall-clock limit, so it is read here"
)]
fn run(name: &str, f: impl Fn() + Sync + Send + 'static) {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Instant;

    let builder = loom::model::Builder::new();
    let executions = Arc::new(AtomicUsize::new(0));
    let counted = executions.clone();
    let started = Instant::now();
    builder.check(move || {
        // Relaxed: loom runs executions one after the other on one thread.
        counted.fetch_add(1, Ordering::Relaxed);
        f();
    });
    let executions = executions.load(Ordering::Relaxed);
    let cut_short = builder.max_permutations.is_some_and(|limit| executions >= limit)
        || builder.max_duration.is_some_and(|limit| started.elapsed() >= limit);
    let bound = builder.preemption_bound.map_or("none".to_owned(), |bound| bound.to_string());
    let verdict = if cut_short { "incomplete" } else { "complete" };
    println!("loom-model name={name} executions={executions} bound={bound} {verdict}");
}
