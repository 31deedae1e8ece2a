//! Picks the next queue of a dispatch domain, fairly and in constant time, however many queues there are. It
//! holds no entries, reads no clock, performs no I/O and starts nothing: its owner says what stands at the
//! front of each queue and what time it is.
//!
//! ```
//! use millpond_scheduler::{
//!     Band, Head, Heads, Limit, Limits, Pick, QueueOptions, Scheduler, SchedulerOptions, Weight,
//! };
//!
//! let mut limits = Limits::new();
//! let tenant = limits.add(0, Limit::none().concurrency(2), None)?;
//! let mut scheduler = Scheduler::new(SchedulerOptions::new(), &mut limits)?;
//!
//! let light = QueueOptions { owner_slot: 7, resource: Some(tenant), ..QueueOptions::default() };
//! let heavy = QueueOptions { owner_slot: 8, weight: Weight::new(3)?, ..QueueOptions::default() };
//! let light = scheduler.add(&mut limits, light)?;
//! let heavy = scheduler.add(&mut limits, heavy)?;
//! scheduler.set_head(&mut limits, light, Head::Cost(1))?;
//! scheduler.set_head(&mut limits, heavy, Head::Cost(1))?;
//! assert_eq!(scheduler.eligible_weight(Band::FIRST), 4);
//!
//! let mut order = Vec::new();
//! let mut permits = Vec::new();
//! for _ in 0..12 {
//!     let Pick::Serve(picked) = scheduler.pick(0, &mut limits, Heads::Read)? else { break };
//!     order.push(picked.owner_slot);
//!     permits.extend(picked.permit); // kept until the work has ended
//! }
//! // Three for one, until the tenant of the light queue has no permit left.
//! assert_eq!(order, [7, 8, 8, 8, 7, 8, 8, 8, 8, 8, 8, 8]);
//!
//! limits.release(0, permits[0])?;
//! let woken = limits.poll_woken();
//! assert_eq!(woken, Some(scheduler.domain()));
//! let Pick::Serve(picked) = scheduler.pick(0, &mut limits, Heads::Read)? else { panic!() };
//! assert_eq!(picked.owner_slot, 7, "its turn had come before, and goes on");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Algorithm
//!
//! *Deficit round robin* (M. Shreedhar and G. Varghese, "Efficient Fair Queueing Using Deficit Round Robin",
//! SIGCOMM 1995). The queues with a head stand in a ring. When the turn of a queue comes it is granted its
//! *quantum*, which is the quantum of the scheduler times its weight, as credit. It is served while its credit
//! covers the cost of its head, then the turn ends and the next queue's begins. What is left, less than
//! the cost of one entry, is kept for the next turn, unless the queue has run empty.
//!
//! Costs are in whatever unit the owner chooses: 1 for each entry, or bytes. One pick serves one entry. It
//! takes constant time if no entry costs more than a quantum of weight 1; a dearer one takes as many turns as
//! quanta are missing.
//!
//! *A turn can be interrupted*: its head has to be read first, a resource has nothing left, the queue
//! is paused. Then the queue leaves the ring and keeps its credit; when it can go on, it goes on with the
//! same turn, before the turns that come later, and is granted nothing again. Interrupted turns stand in a
//! list of their own, in the order in which they can go on. A queue cannot gain by it, because every turn in
//! that list was granted in the ring.
//!
//! *A queue can be [taken](Scheduler::take) from* by somebody who asks for it in particular. That needs the same
//! permits and tokens, and is no turn: it takes no credit and leaves the queue where it is. If it has to wait,
//! the queue leaves its place. Once woken it stands among the interrupted turns, so that its promise
//! is used or given up soon; but if its turn had not come, it has none there, and the pick that finds it
//! sends it to the back of the ring.
//!
//! There are four strict *bands*, each with a ring of its own. With
//! [`ageing`](SchedulerOptions::ageing) a band that was passed over for so many picks gets the next one.
//!
//! # Invariants
//!
//! * **S1** A queue is in one place: in the ring of its band, among the interrupted turns of its band (also when
//!   it was woken for a take), waiting at one resource, with its owner for its head to be read, or nowhere. It is
//!   nowhere exactly if it has no head or is paused.
//! * **S2** A quantum is granted when a turn comes that stood in the ring, once. Whoever joins, or joins
//!   again, joins behind all others.
//! * **S3** Therefore the service of two queues of a band that both have work and are not blocked,
//!   divided by their weights, never differs by more than one quantum and the cost of an entry each.
//! * **S4** Credit is below one quantum plus the cost of the head, but for what was given back, and a queue that
//!   has run empty has none. After a [change of the quantum](Scheduler::set_quantum) this holds when a queue is
//!   looked at next.
//! * **S5** Whatever leaves its place has used what was promised to it, or gives it back.
//!
//! # Limits
//!
//! [`Limits`] is a thing of its own, so that one number can hold over several schedulers. A *resource* has a
//! concurrency, a rate, or both, and at most one resource around it, at most four deep: a queue's own, its
//! tenant's, the plan's. A queue names the innermost that it is subject to, a domain another one. A pick takes
//! one permit of each, and tokens where there is a rate, or nothing at all. The owner decides which queues
//! belong to a tenant, by a prefix of their keys or otherwise.
//!
//! * **L1** A permit counts in all its resources from the pick, the take or the [adoption](Limits::adopt) until its
//!   [release](Limits::release), whatever happens to limits, queues and schedulers meanwhile; only
//!   [`rebase`](Limits::rebase) makes it count in others. Therefore lowering a limit revokes nothing. What is adopted
//!   or rebased counts beyond a limit, too.
//! * **L2** A queue waits at one resource: the first that lacked something, those of the domain before its own,
//!   the innermost first. What it is woken for is *promised* to it: nobody of its band or a later one can
//!   take it. Therefore k released permits wake at most k that wait.
//! * **L3** Nobody waits for what is there. For tokens there is a
//!   [deadline](Limits::next_deadline_ns); nothing is polled.
//! * **L4** All that comes before it in the chain is promised to a queue that waits. Nobody is kept from anything
//!   by that, for whoever needs an inner resource needs the outer ones too; and as everybody takes them in the same
//!   order, no two wait for each other, and no two pass promises to and fro.
//! * **L5** A promise that is not used goes to the next: when a queue goes away, when its domain has
//!   nothing to pick or is blocked or paused, when a pick finds that no take came, and when the owner has nobody
//!   to serve and [stands back](Scheduler::stand_back).
//!
//! Who waits is served by band, and inside a band in the order of arrival, except that a queue in the middle of
//! its turn goes before those whose turn has not begun. Without that, weights would mean nothing among the
//! queues of a tenant that uses all its permits.
//!
//! A *token bucket* (J. Turner, "New Directions in Communications", IEEE Communications Magazine 24(10), 1986)
//! is exact: it counts in tokens times nanoseconds of the period and rounds nothing. What costs more
//! than the burst passes when the bucket is full, and leaves a debt.
//! [Giving a pick back](Scheduler::give_back) leaves the bucket as if nothing had been taken, and never lets
//! more through than the rate allows. A refund remembers 32 moments at which the bucket was nearly full; beyond
//! that it may put back less.
//!
//! # Several schedulers
//!
//! Where the queues of a topic are spread over partitions, each partition has a scheduler, and all name the same
//! resources of one [`Limits`], behind a lock or in the hands of one of them.
//! [`poll_woken`](Limits::poll_woken) says whom to tell. The credits of a consumer go to the partitions in
//! proportion to [`eligible_weight`](Scheduler::eligible_weight), band by band: a [`Split`] divides them, in
//! whole numbers and with an error that does not grow with time.
//!
//! # Restarts and changes of rules
//!
//! Permits and buckets are not durable. After a restart the owner [adopts](Limits::adopt) a permit for all work
//! that is under way still, and [adds](Limits::add_since) resources with a rate as of the time at which
//! their buckets can be taken for empty. Where another rule is to hold for a queue, a resource is
//! [replaced](Limits::replace), its queues are [moved](Scheduler::set_resource), and the permits that are out
//! are [rebased](Scheduler::rebase). A resource that is [at rest](Limits::is_at_rest) need not be kept.
//!
//! Two things are not promised across schedulers: bands (a promise to the low band of one keeps
//! a permit from a low band of another until it is used or given up) and order among the schedulers beyond
//! that of arrival.
//!
//! # What it costs
//!
//! 56 bytes per queue, whether it has work or not, and 8 for the handle; 48 more while it waits; 40 for each
//! permit that is out. A resource takes 128 bytes, and with a rate some 250 more, up to 2 KiB for a bucket that
//! was close to full at many takes. With a million queues each turn needs a queue that no cache holds: those of
//! the next 32 turns are read at once, so that they arrive together, and the benchmark `scheduler` of
//! `millpond-bench` says what is left of it. No call works in proportion to the number of queues, but for
//! [`close`](Scheduler::close): a pick looks at 64 queues, a release or a deadline wakes 64 per resource, and
//! the next call goes on.
//!
//! The rules are indispensable one by one: the test suite leaves out each of them (`src/rules.rs`), and
//! shows that a property then fails.

mod arena;
mod bands;
mod config;
mod error;
mod explain;
mod limits;
mod links;
mod news;
mod pick;
mod queue;
mod ring;
mod rules;
mod scheduler;
mod split;
mod take;

#[cfg(test)]
mod tests;

pub use config::{Band, Charge, Limit, QueueOptions, Rate, SchedulerOptions, Weight};
pub use error::{Invalid, Refused};
pub use explain::{Explanation, PausedBy};
pub use limits::{DomainId, Limits, Permit, ResourceId, Usage};
pub use news::Woken;
pub use pick::{Heads, Pick, Picked};
pub use queue::{Head, QueueHandle};
pub use scheduler::Scheduler;
pub use split::Split;
pub use take::Take;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeDoctests;
