//! The driver with an alarm that stands in for tokio's, and the rules it cannot do without.

use super::super::mutation::Mutation;
use super::*;

/// An alarm that goes off when the test has moved the time there, once for each time it is set.
#[derive(Debug, Default)]
struct TestAlarm {
    now: Nanos,
    set_to: Option<Nanos>,
    n_sets: usize,
}

impl Alarm for TestAlarm {
    fn now(&self) -> Nanos {
        self.now
    }

    fn set(&mut self, deadline: Option<Nanos>) {
        self.set_to = deadline;
        self.n_sets += usize::from(deadline.is_some());
    }

    fn poll(&mut self, _context: &mut Context<'_>) -> Poll<()> {
        match self.set_to.take_if(|deadline| *deadline <= self.now) {
            Some(_) => Poll::Ready(()),
            None => Poll::Pending,
        }
    }
}

/// What a history of calls needs: how often the driver was woken and the alarm set, and what was due.
struct World {
    receiver: Receiver<Timers<u32>, TestAlarm>,
    counter: Arc<Counter>,
    due: Vec<u32>,
    ended: bool,
}

impl World {
    fn new(broken: Option<Mutation>) -> Self {
        let shared = Shared::new(Timers::new(100));
        shared.break_rule(broken);
        let receiver = Receiver::new(shared, TestAlarm::default());
        let mut world = Self { receiver, counter: Arc::default(), due: Vec::new(), ended: false };
        world.poll();
        world
    }

    fn poll(&mut self) {
        let mut batch = Vec::new();
        let waker = self.counter.waker();
        let ready = self.receiver.poll(&mut Context::from_waker(&waker), &mut batch, 10);
        self.ended = ready == Poll::Ready(None);
        self.due.extend(batch.into_iter().map(|due| due.value));
    }

    fn change<R>(&self, change: impl FnOnce(&mut Timers<u32>) -> R) -> R {
        self.receiver.shared.change(change)
    }

    fn check(&self, what: &str, n_wakes: usize, n_sets: usize) -> Result<(), String> {
        let is = (self.counter.n(), self.receiver.alarm.n_sets);
        let must = (n_wakes, n_sets);
        if is == must {
            Ok(())
        } else {
            Err(format!("{what}: wakes and sets {is:?}, not {must:?}"))
        }
    }
}

fn at(ms: u64) -> Nanos {
    Nanos::from_millis(ms)
}

/// A history in which every rule counts.
fn play(broken: Option<Mutation>) -> Result<(), String> {
    let mut world = World::new(broken);
    let first = world.change(|timers| timers.insert(at(100), 1)).map_err(|e| e.to_string())?;
    world.check("the first deadline wakes", 1, 0)?;
    world.poll();
    world.check("it sets the alarm", 1, 1)?;
    let second = world.change(|timers| timers.insert(at(200), 2)).map_err(|e| e.to_string())?;
    world.check("a later one wakes nobody", 1, 1)?;
    world.poll();
    world.check("and leaves the alarm alone", 1, 1)?;
    world.change(|timers| timers.reset(second, at(50)));
    world.check("an earlier one wakes", 2, 1)?;
    world.poll();
    world.check("and sets the alarm", 2, 2)?;
    world.change(|timers| timers.reset(second, at(60)));
    world.receiver.alarm.now = at(50);
    world.poll();
    world.check("one that was put off sets the alarm when it goes off", 2, 3)?;
    world.change(|timers| timers.reset(second, at(70)));
    world.change(|timers| timers.reset(first, at(60)));
    world.receiver.alarm.now = at(55);
    world.poll();
    world.check("the alarm is right already", 2, 3)?;
    world.change(|timers| (timers.cancel(first), timers.cancel(second)));
    world.check("the removal of the last wakes", 3, 3)?;
    world.poll();
    if world.receiver.alarm.set_to.is_some() {
        return Err("the alarm is on for nothing".to_owned());
    }
    world.change(Timers::shutdown);
    world.check("the end wakes", 4, 3)?;
    world.poll();
    if world.ended && world.due.is_empty() { Ok(()) } else { Err("no end".to_owned()) }
}

/// An alarm that went off before the time, as one does that cannot be set so far ahead.
fn ring_early(broken: Option<Mutation>) -> Result<(), String> {
    let mut world = World::new(broken);
    let timer = world.change(|timers| timers.insert(at(10), 1)).map_err(|e| e.to_string())?;
    world.poll();
    world.receiver.alarm.set_to = Some(at(5));
    world.receiver.alarm.now = at(5);
    world.poll();
    let is_set = world.receiver.alarm.set_to == Some(at(10));
    world.change(|timers| timers.cancel(timer));
    if is_set { Ok(()) } else { Err("the alarm is not set again".to_owned()) }
}

fn play_both(broken: Option<Mutation>) -> Result<(), String> {
    play(broken).and_then(|()| ring_early(broken))
}

#[test]
fn it_wakes_and_sets_the_alarm_when_it_must_and_never_else() {
    play_both(None).unwrap();
}

#[test]
fn every_rule_left_out_is_missed() {
    for broken in Mutation::ALL {
        // Only another thread can come in between: `models` has that one.
        let found = broken == Mutation::SayTooLate || play_both(Some(broken)).is_err();
        assert!(found, "nobody misses {broken:?}");
    }
}
