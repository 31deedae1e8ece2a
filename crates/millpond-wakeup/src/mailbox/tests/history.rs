//! Random histories against a model that says exactly who is woken when.

use std::collections::VecDeque;

use super::*;
use crate::backoff::splitmix64;

const N: usize = 4;
const CAPACITIES: [Capacity; N] = [
    Capacity { n_messages: UNBOUNDED, weight: UNBOUNDED },
    Capacity { n_messages: 2, weight: UNBOUNDED },
    Capacity { n_messages: UNBOUNDED, weight: 7 },
    Capacity { n_messages: 3, weight: 5 },
];
const N_SEEDS: u64 = 200;
const N_OPS: usize = 300;

/// Some weigh nothing, and some more than a class may hold.
fn weigh(message: &u32) -> usize {
    [0, 1, 2, 3, 9][*message as usize % 5]
}

/// A future that somebody has started and not finished.
struct Started<'a> {
    sending: Box<dyn Future<Output = Result<(), Closed<u32>>> + Unpin + 'a>,
    class: usize,
    message: u32,
    counter: Arc<Counter>,
    /// How often it must have been woken.
    n_wakes: usize,
    /// Its place in the order of those who had to wait.
    place: Option<u64>,
    waits: bool,
}

/// The mailbox, and what it must do.
struct World<'a> {
    sender: &'a MailboxSender<u32, N>,
    owner: MailboxOwner<u32, N>,
    started: Vec<Started<'a>>,
    queues: [VecDeque<u32>; N],
    notified: bool,
    sealed: bool,
    sleeps_for: Option<[usize; N]>,
    owner_counter: Arc<Counter>,
    n_owner_wakes: usize,
    n_places: u64,
    n_messages: u32,
    random: u64,
}

impl<'a> World<'a> {
    fn random(&mut self, below: usize) -> usize {
        self.random = splitmix64(self.random);
        usize::try_from(self.random % below as u64).expect("it is below a usize")
    }

    fn shares(&mut self) -> [usize; N] {
        std::array::from_fn(|_| self.random(4))
    }

    fn message(&mut self) -> u32 {
        self.n_messages += 1;
        self.n_messages
    }

    fn weight(&self, class: usize) -> usize {
        self.queues[class].iter().map(weigh).sum()
    }

    /// Whether there is room for one more when these have come in.
    fn has_room(&self, class: usize, coming: &[u32]) -> bool {
        let weight = self.weight(class) + coming.iter().map(weigh).sum::<usize>();
        let Capacity { n_messages: n_max, weight: weight_max } = CAPACITIES[class];
        self.queues[class].len() + coming.len() < n_max && weight < weight_max
    }

    /// Those of a class who wait and have not been woken, in order.
    fn waiting(&mut self, class: usize) -> Vec<&mut Started<'a>> {
        let mut waiting: Vec<_> =
            self.started.iter_mut().filter(|one| one.class == class && one.waits).collect();
        waiting.sort_by_key(|one| one.place);
        waiting
    }

    fn admits(&mut self, class: usize, place: Option<u64>) -> bool {
        let place = place.unwrap_or(u64::MAX);
        let first = self.waiting(class).first().and_then(|one| one.place);
        self.has_room(class, &[]) && first.is_none_or(|first| place <= first)
    }

    /// As many as `wakes` says, which learns of each what class it is in and who was woken before it.
    fn wake(&mut self, wakes: impl Fn(&Self, usize, &[u32]) -> bool) {
        for class in 0..N {
            let waiting: Vec<u32> = self.waiting(class).iter().map(|one| one.message).collect();
            let n = (0..waiting.len()).take_while(|n| wakes(self, class, &waiting[..*n])).count();
            for one in self.waiting(class).into_iter().take(n) {
                one.n_wakes += 1;
                one.waits = false;
            }
        }
    }

    fn left(&mut self, class: usize, message: u32) {
        self.queues[class].push_back(message);
        if self.sleeps_for.take_if(|shares| shares[class] > 0).is_some() {
            self.n_owner_wakes += 1;
        }
    }

    /// As [`left`](Self::left), by somebody who must not exceed a limit but by this message.
    fn sent(&mut self, class: usize, message: u32) -> Result<(), String> {
        let rest = self.owner.weights()[class] - weigh(&message) as u128;
        if rest >= CAPACITIES[class].weight as u128 {
            return Err(format!("{message} came although the class held {rest}"));
        }
        self.left(class, message);
        Ok(())
    }

    fn step(&mut self) -> Result<(), String> {
        match self.random(20) {
            0..3 => self.push(),
            3..5 => self.try_send(),
            5..8 => {
                self.start();
                let last = self.started.len() - 1;
                self.poll_send(last)
            }
            8..11 if !self.started.is_empty() => {
                let one = self.random(self.started.len());
                self.poll_send(one)
            }
            11 if !self.started.is_empty() => {
                let one = self.random(self.started.len());
                drop(self.started.swap_remove(one));
                Ok(())
            }
            12..15 => self.drain(),
            15..18 => self.sleep(),
            18 => {
                self.sender.notify();
                self.notified = true;
                self.n_owner_wakes += usize::from(self.sleeps_for.take().is_some());
                Ok(())
            }
            // Rarely, so that most of a history plays in an open mailbox.
            19 if self.random(60) == 0 => self.end(),
            _ => Ok(()),
        }?;
        self.check_wakes()
    }

    fn push(&mut self) -> Result<(), String> {
        let message = self.message();
        let class = self.random(N);
        let result = match class {
            0 => self.sender.push::<0>(message),
            1 => self.sender.push::<1>(message),
            2 => self.sender.push::<2>(message),
            _ => self.sender.push::<3>(message),
        };
        let expected = if self.sealed { Err(Closed(message)) } else { Ok(()) };
        if result.is_ok() {
            self.left(class, message);
        }
        same("push", result, expected)
    }

    fn try_send(&mut self) -> Result<(), String> {
        let message = self.message();
        let class = 1 + self.random(N - 1);
        let expected = match (self.sealed, self.admits(class, None)) {
            (true, _) => Err(TrySendError::Closed(message)),
            (false, false) => Err(TrySendError::Full(message)),
            (false, true) => Ok(()),
        };
        let result = match class {
            1 => self.sender.try_send::<1>(message),
            2 => self.sender.try_send::<2>(message),
            _ => self.sender.try_send::<3>(message),
        };
        if result.is_ok() {
            self.sent(class, message)?;
        }
        same("try_send", result, expected)
    }

    fn start(&mut self) {
        let (message, sender) = (self.message(), self.sender);
        let class = 1 + self.random(N - 1);
        let sending: Box<dyn Future<Output = _> + Unpin> = match class {
            1 => Box::new(sender.send::<1>(message)),
            2 => Box::new(sender.send::<2>(message)),
            _ => Box::new(sender.send::<3>(message)),
        };
        let counter = Arc::default();
        let one =
            Started { sending, class, message, counter, n_wakes: 0, place: None, waits: false };
        self.started.push(one);
    }

    fn poll_send(&mut self, one: usize) -> Result<(), String> {
        let Started { class, message, place, .. } = self.started[one];
        let expected = match (self.sealed, self.admits(class, place)) {
            (true, _) => Poll::Ready(Err(Closed(message))),
            (false, true) => Poll::Ready(Ok(())),
            (false, false) => Poll::Pending,
        };
        let started = &mut self.started[one];
        let result = poll(&mut started.sending, &started.counter);
        if expected.is_pending() {
            self.n_places += 1;
            started.place = place.or(Some(self.n_places));
            started.waits = true;
        } else {
            self.started.swap_remove(one);
        }
        if result == Poll::Ready(Ok(())) {
            self.sent(class, message)?;
        }
        same("send", result, expected)
    }

    fn drain(&mut self) -> Result<(), String> {
        let shares = self.shares();
        let (mut result, mut expected) = (Vec::new(), Vec::new());
        self.owner.drain(&mut result, shares);
        self.notified = false;
        for (queue, share) in self.queues.iter_mut().zip(shares) {
            expected.extend(queue.drain(..queue.len().min(share)));
        }
        self.wake(Self::has_room);
        same("drain", result, expected)
    }

    fn sleep(&mut self) -> Result<(), String> {
        let shares = self.shares();
        let has_message =
            self.queues.iter().zip(shares).any(|(queue, share)| share > 0 && !queue.is_empty());
        let expected = if self.notified || has_message { Poll::Ready(()) } else { Poll::Pending };
        let waker = self.owner_counter.waker();
        let result = self.owner.poll_ready(&mut Context::from_waker(&waker), shares);
        self.sleeps_for = result.is_pending().then_some(shares);
        if expected.is_pending() {
            self.wake(|world, class, _| world.has_room(class, &[]));
        }
        same("poll_ready", result, expected)
    }

    fn end(&mut self) -> Result<(), String> {
        self.sealed = true;
        let (mut result, mut expected) = (Vec::new(), Vec::new());
        if self.random(2) == 0 {
            self.owner.seal();
        } else {
            result = self.owner.close();
            expected = self.queues.iter_mut().flat_map(|queue| queue.drain(..)).collect();
        }
        self.wake(|_, _, _| true);
        same("close", result, expected)
    }

    fn check_wakes(&self) -> Result<(), String> {
        same("wakes of the owner", self.owner_counter.n(), self.n_owner_wakes)?;
        for one in &self.started {
            same(&format!("wakes of {}", one.message), one.counter.n(), one.n_wakes)?;
        }
        let lens = self.queues.each_ref().map(VecDeque::len);
        same("lengths", self.owner.lens(), lens)?;
        let weights = std::array::from_fn(|class| self.weight(class) as u128);
        same("weights", self.owner.weights(), weights)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, is: T, must: T) -> Result<(), String> {
    if is == must { Ok(()) } else { Err(format!("{what}: {is:?}, not {must:?}")) }
}

fn play(seed: u64, broken: Option<Mutation>) -> Result<(), String> {
    let (sender, owner) = mailbox_weighing::<u32, N>(CAPACITIES, weigh);
    owner.break_rule(broken);
    let mut world = World {
        sender: &sender,
        owner,
        started: Vec::new(),
        queues: Default::default(),
        notified: false,
        sealed: false,
        sleeps_for: None,
        owner_counter: Arc::default(),
        n_owner_wakes: 0,
        n_places: 0,
        n_messages: 0,
        random: seed,
    };
    for n in 0..N_OPS {
        world.step().map_err(|error| format!("seed {seed}, operation {n}: {error}"))?;
    }
    Ok(())
}

#[test]
fn every_history_wakes_whom_it_must_and_nobody_else() {
    (0..N_SEEDS).try_for_each(|seed| play(seed, None)).unwrap();
}

#[test]
fn every_rule_left_out_is_missed() {
    for broken in Mutation::ALL {
        let found = (0..N_SEEDS).find_map(|seed| play(seed, Some(broken)).err());
        assert!(found.is_some(), "nobody misses {broken:?}");
    }
}
