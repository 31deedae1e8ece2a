//! The oracle: deficit round robin as a textbook has it, in two vectors, without limits.

use std::collections::VecDeque;

use super::{Random, variable, with};
use crate::rules::Mutation;
use crate::{
    Head, Heads, Limits, Pick, QueueHandle, QueueOptions, Scheduler, SchedulerOptions, Take, Weight,
};

const QUANTUM: u32 = 5;
/// Calls that a pick may take: it visits 64 queues in each, and none more often than quanta
/// are missing.
const AGAIN_MAX: usize = 10;

#[derive(Debug, Default)]
struct Textbook {
    quantum: u64,
    queues: Vec<Entry>,
    /// Turns that were interrupted go before the ring.
    due: VecDeque<usize>,
    ring: VecDeque<usize>,
}

#[derive(Debug, Default)]
struct Entry {
    weight: u64,
    credit: u64,
    /// `None`: nothing. `Some(0)`: unknown.
    head: Option<u64>,
    in_turn: bool,
    turn_came: bool,
    paused: bool,
    loading: bool,
    /// The quantum has changed since its turn was looked at.
    old_credit: bool,
}

impl Textbook {
    fn leave(&mut self, at: usize) {
        self.due.retain(|other| *other != at);
        self.ring.retain(|other| *other != at);
    }

    fn enter(&mut self, at: usize) {
        let entry = &self.queues[at];
        if entry.head.is_none() || entry.paused {
            return;
        }
        if entry.in_turn || entry.turn_came { &mut self.due } else { &mut self.ring }.push_back(at);
    }

    fn set_head(&mut self, at: usize, head: Option<u64>) {
        let entry = &mut self.queues[at];
        let was_out = entry.head.is_none() || entry.loading;
        entry.head = head;
        entry.loading = false;
        if head.is_none() {
            (entry.credit, entry.in_turn, entry.turn_came) = (0, false, false);
            self.leave(at);
        } else if was_out {
            self.enter(at);
        }
    }

    fn pause(&mut self, at: usize, paused: bool) {
        let before = std::mem::replace(&mut self.queues[at].paused, paused);
        if paused {
            self.queues[at].loading = false;
            self.leave(at);
        } else if before {
            self.enter(at);
        }
    }

    fn set_quantum(&mut self, quantum: u64) {
        if std::mem::replace(&mut self.quantum, quantum) != quantum {
            self.queues.iter_mut().for_each(|entry| entry.old_credit = true);
        }
    }

    fn end_turn(&mut self, at: usize) {
        let entry = &mut self.queues[at];
        (entry.in_turn, entry.turn_came) = (false, false);
        self.leave(at);
        self.ring.push_back(at);
    }

    /// The queue, and whether its head is to be read.
    fn pick(&mut self) -> Option<(usize, bool)> {
        loop {
            let at = *self.due.front().or(self.ring.front())?;
            let is_alone = self.due.len() + self.ring.len() == 1;
            let entry = &mut self.queues[at];
            let cost = entry.head.expect("what is in a ring has a head");
            if cost == 0 {
                entry.turn_came = true;
                entry.loading = true;
                self.leave(at);
                return Some((at, true));
            }
            let one_quantum = self.quantum * entry.weight;
            if std::mem::take(&mut entry.old_credit) {
                entry.credit = entry.credit.min(one_quantum.max(cost));
            }
            if !entry.in_turn {
                entry.in_turn = true;
                entry.credit += one_quantum;
                while is_alone && entry.credit < cost {
                    entry.credit += one_quantum;
                }
            }
            if entry.credit < cost {
                self.end_turn(at);
                continue;
            }
            entry.credit -= cost;
            if entry.credit < cost {
                self.end_turn(at);
            }
            return Some((at, false));
        }
    }
}

/// The same operations on both give the same picks, one by one.
pub(super) fn picks_are_those_of_a_textbook(broken: Option<Mutation>) -> Result<(), String> {
    let seed = variable("MILLPOND_SCHEDULER_SEED", 11);
    for round in 0..40 {
        let why = one_history(seed + round, broken);
        why.map_err(|why| format!("{why}; MILLPOND_SCHEDULER_SEED={}", seed + round))?;
    }
    Ok(())
}

fn one_history(seed: u64, broken: Option<Mutation>) -> Result<(), String> {
    let mut random = Random(seed);
    let mut limits = Limits::with_rules(with(broken));
    let options = SchedulerOptions::new().quantum(QUANTUM).unwrap();
    let mut scheduler = Scheduler::with_rules(options, &mut limits, with(broken)).unwrap();
    let mut textbook = Textbook { quantum: u64::from(QUANTUM), ..Textbook::default() };
    let n_queues = 1 + random.below(12);
    let mut handles = Vec::new();
    for owner_slot in 0..n_queues {
        let weight = 1 + random.below(4);
        let options =
            QueueOptions { owner_slot, weight: Weight::new(weight).unwrap(), ..Default::default() };
        handles.push(scheduler.add(&mut limits, options).unwrap());
        textbook.queues.push(Entry { weight: u64::from(weight), ..Entry::default() });
    }
    for number in 0..1_500 {
        let slot = random.below(n_queues);
        let at = slot as usize;
        match random.below(20) {
            0..5 => {
                let (head, cost) = match random.below(8) {
                    0 | 1 => (Head::None, None),
                    2 => (Head::Unknown, Some(0)),
                    // Up to four times the smallest quantum.
                    _ => {
                        let cost = 1 + random.below(4 * QUANTUM);
                        (Head::Cost(cost), Some(u64::from(cost)))
                    }
                };
                scheduler.set_head(&mut limits, handles[at], head).unwrap();
                textbook.set_head(at, cost);
            }
            5 => {
                scheduler.pause(&mut limits, handles[at]).unwrap();
                textbook.pause(at, true);
            }
            6 | 7 => {
                scheduler.resume(handles[at]).unwrap();
                textbook.pause(at, false);
            }
            9 if random.below(4) == 0 => {
                let quantum = 1 + random.below(4 * QUANTUM);
                scheduler.set_quantum(quantum).unwrap();
                textbook.set_quantum(u64::from(quantum));
            }
            8 => {
                let entry = &textbook.queues[at];
                let head = entry.head.filter(|cost| *cost > 0 && !entry.paused);
                let gives_back = random.below(2) == 0;
                take_one(&mut scheduler, &mut limits, handles[at], head, gives_back)
                    .map_err(|why| format!("step {number}: {why}"))?;
            }
            _ => {
                let expected = textbook.pick();
                let mut calls = 0..AGAIN_MAX;
                let picked = loop {
                    calls.next().ok_or("a pick finds no end")?;
                    match scheduler.pick(0, &mut limits, Heads::Read).unwrap() {
                        Pick::Again => {}
                        Pick::Serve(picked) => break Some((picked.owner_slot as usize, false)),
                        Pick::ReadHead { owner_slot, .. } => {
                            break Some((owner_slot as usize, true));
                        }
                        _ => break None,
                    }
                };
                if picked != expected {
                    return Err(format!(
                        "step {number}: {picked:?}, the textbook has {expected:?}"
                    ));
                }
            }
        }
        scheduler.audit().map_err(|why| format!("step {number}: {why}"))?;
    }
    Ok(())
}

/// A take of a head. It is no turn and takes no credit: the textbook does not notice.
fn take_one(
    scheduler: &mut Scheduler,
    limits: &mut Limits,
    queue: QueueHandle,
    head: Option<u64>,
    gives_back: bool,
) -> Result<(), String> {
    let taken = scheduler.take(0, limits, queue).unwrap();
    match (taken, head) {
        (Take::Serve(picked), Some(cost)) if u64::from(picked.cost) == cost => {
            if gives_back {
                scheduler.give_back(0, limits, picked).unwrap();
            }
            Ok(())
        }
        (Take::Paused | Take::NoHead | Take::HeadUnknown, None) => Ok(()),
        (taken, head) => Err(format!("{taken:?}, and the head is {head:?}")),
    }
}
