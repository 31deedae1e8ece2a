//! What a power cut leaves still honours every receipt.

use std::collections::BTreeMap;
use std::path::Path;

use millpond_crash_tests::check::{Check, Checked};
use millpond_crash_tests::coverage::{coverage, events};
use millpond_crash_tests::disk::{Disk, Names, Tail};
use millpond_crash_tests::image::write_image;
use millpond_crash_tests::random::Random;
use millpond_crash_tests::{Event, Oracle, Violation};

use crate::support::{Traced, check, number, seed, two_lives};

/// Cut points without `MILLPOND_CRASH_CUTS`.
const CUTS: u64 = 24;
/// Calls of each task without `MILLPOND_TRACE_CALLS`: enough for flushes and for log files that are used again.
const CALLS: u64 = 1000;

/// What the power cut leaves, from the kindest disk to the harshest.
const DISKS: [(Names, Tail); 4] = [
    (Names::Journal, Tail::Cut),
    (Names::Ext4, Tail::Cut),
    (Names::Posix, Tail::Cut),
    (Names::Journal, Tail::Torn),
];

/// What may be relied on after so many lines.
fn oracle_at(said: &[(usize, Event)], line: usize) -> Result<Oracle, Violation> {
    let mut oracle = Oracle::new();
    for (_, event) in said.iter().filter(|(said_in, _)| *said_in <= line) {
        oracle.apply(event)?;
    }
    Ok(oracle)
}

/// Opens what is left of a disk and holds it to the oracle.
fn check_image(
    disk: &Disk,
    root: &Path,
    (names, tail): (Names, Tail),
    oracle: Oracle,
    random: &mut Random,
) -> Result<Checked, Box<(Violation, tempfile::TempDir)>> {
    let place = crate::support::scratch();
    let contents = disk.after_power_cut(names, tail, random);
    write_image(&contents, root, place.path()).expect("the image can be written");
    let directory = place.path().join("data");
    let keep_first = random.percent(50);
    let reopened = Check {
        directory: &directory,
        n_partitions: 2,
        seed: random.next(),
        life: 100,
        keep_first,
    };
    check(&reopened, oracle).map_err(|violation| Box::new((violation, place)))
}

/// Lines after which to cut: anywhere, right after a receipt, and right after the name of a file changed.
fn cut_lines(traced: &Traced, said: &[(usize, Event)], n: u64, random: &mut Random) -> Vec<usize> {
    let receipts: Vec<usize> =
        said.iter().filter(|(_, event)| event.is_receipt()).map(|(line, _)| *line).collect();
    let mut changes = Vec::new();
    let mut n_lines = 0;
    for trace in &traced.lives {
        for step in &trace.steps {
            n_lines += 1;
            let call = step.ended.map(|ended| &trace.calls[ended]);
            let of_names = ["rename", "unlink", "mkdir", "ftruncate", "fsync"];
            if call.is_some_and(|call| of_names.contains(&call.name.as_str())) {
                changes.push(n_lines);
            }
        }
    }
    (0..n)
        .map(|index| match index % 3 {
            0 => 1 + random.below(n_lines),
            1 => *random.one_of(&receipts),
            _ => *random.one_of(&changes),
        })
        .collect()
}

#[test]
fn every_receipt_is_honoured_after_a_power_cut() {
    let seed = seed();
    let traced = Traced::run(&two_lives(seed, number("MILLPOND_TRACE_CALLS", CALLS)));
    let said = events(&traced.at_the_end()).expect("workers write events");
    let mut random = Random::new(seed);
    let n_cuts = number("MILLPOND_CRASH_CUTS", CUTS);
    let mut cuts: BTreeMap<usize, Vec<(Names, Tail)>> = BTreeMap::new();
    for (index, line) in cut_lines(&traced, &said, n_cuts, &mut random).into_iter().enumerate() {
        // Each kind of line meets each kind of disk.
        cuts.entry(line).or_default().push(DISKS[index / 3 % DISKS.len()]);
    }
    let (mut receipts, mut purges, mut late) = (0, 0, 0);
    let root = traced.root();
    traced.follow(&mut traced.new_disk(), |disk| {
        for kind in cuts.get(&disk.line()).into_iter().flatten() {
            let oracle = oracle_at(&said, disk.line()).expect("an honest worker");
            receipts += oracle.counts().receipts();
            purges += oracle.counts().purges;
            match check_image(disk, &root, *kind, oracle, &mut random) {
                Ok(checked) => late += checked.late.len(),
                Err(broken) => {
                    let (violation, place) = *broken;
                    panic!(
                        "power cut after line {}, {kind:?}: {violation}; seed {seed}, image kept at {}",
                        disk.line(),
                        place.keep().display()
                    )
                }
            }
        }
    });
    println!(
        "power cuts: {n_cuts}, receipts honoured: {receipts} ({purges} of purges), entries rightly late: \
         {late}, seed {seed}"
    );
}

/// The twin: a disk that forgets one sync, the only one on which a receipt rests.
#[test]
fn a_disk_that_forgets_the_sync_of_a_receipt_is_caught() {
    let traced = Traced::run(&two_lives(seed(), 60));
    let disk = traced.at_the_end();
    let said = events(&disk).expect("workers write events");
    let found = coverage(&disk).expect("logs can be read");
    let is_enqueue =
        |op| said.iter().any(|(_, e)| matches!(e, Event::Enqueued { op: o, .. } if *o == op));
    let mut receipts = found.covered.iter().filter(|c| c.only_sync && is_enqueue(c.op));
    let receipt = *receipts.next_back().expect("many receipts follow their sync at once");
    let mut forgetful = traced.new_disk().ignoring_sync(receipt.sync.number);
    let root = traced.root();
    let mut caught = None;
    traced.follow(&mut forgetful, |disk| {
        if disk.line() == receipt.line {
            let oracle = oracle_at(&said, receipt.line).expect("an honest worker");
            let image = check_image(disk, &root, DISKS[0], oracle, &mut Random::new(1));
            caught = Some(image.map_err(|broken| broken.0));
        }
    });
    let violation = caught.expect("the line was reached").expect_err("an entry is missing");
    assert!(matches!(violation, Violation::Lost { .. }), "{violation}");
}
