//! Taking one permit of every resource of two chains, or waiting at the first that lacks something.

use super::line::{Kind, Stage, Waiter};
use super::{DEPTH_MAX, DomainId, Held, Limits, Permit};
use crate::Band;
use crate::arena::NONE;
use crate::rules::Mutation;

/// What is asked for, and for whom.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request {
    pub(crate) domain: DomainId,
    pub(crate) queue: u32,
    pub(crate) band: Band,
    pub(crate) cost: u32,
    /// The resources of the domain, and of the queue.
    pub(crate) domain_leaf: u32,
    pub(crate) leaf: u32,
    /// What was promised to them.
    pub(crate) domain_ticket: u32,
    pub(crate) ticket: u32,
    /// The queue is in the middle of its turn: it waits before those whose turn has not begun.
    pub(crate) is_mid_turn: bool,
}

/// A queue or a domain, and the chain of resources it needs.
struct Asker {
    queue: u32,
    leaf: u32,
    ticket: u32,
    band: Band,
    cost: u32,
    is_mid_turn: bool,
}

/// What is short: of the n-th resource of a chain.
struct Short {
    resource: u32,
    n: usize,
    kind: Kind,
}

/// Something is missing. The ticket that was asked with is replaced by this one.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Denied {
    /// The domain waits.
    Domain(u32),
    /// The queue waits; the domain keeps its ticket.
    Queue(u32),
}

impl Limits {
    /// Takes all or nothing. Both tickets are used up by a success.
    pub(crate) fn acquire(&mut self, request: &Request) -> Result<Option<Permit>, Denied> {
        let Request { domain_leaf, leaf, domain_ticket, ticket, band, cost, .. } = *request;
        if domain_leaf == NONE && leaf == NONE {
            return Ok(None);
        }
        let of_domain = Asker {
            queue: NONE,
            leaf: domain_leaf,
            ticket: domain_ticket,
            band: Band::FIRST,
            cost,
            is_mid_turn: false,
        };
        let is_mid_turn = request.is_mid_turn && !self.rules.lacks(Mutation::MidTurnAtBack);
        let of_queue = Asker { queue: request.queue, leaf, ticket, band, cost, is_mid_turn };
        if let Some(short) = self.first_short(&of_domain) {
            return Err(Denied::Domain(self.wait(request.domain, &of_domain, short)));
        }
        if let Some(short) = self.first_short(&of_queue) {
            return Err(Denied::Queue(self.wait(request.domain, &of_queue, short)));
        }
        self.dissolve(domain_ticket);
        self.dissolve(ticket);
        self.n_takes += 1;
        self.count_held([domain_leaf, leaf]);
        self.take_tokens([domain_leaf, leaf], cost);
        let held = Held { leaf, domain_leaf, cost, take: self.n_takes };
        let (slot, generation) = self.held.insert(held);
        // More may have been promised than was taken.
        for (ticket, leaf) in [(domain_ticket, domain_leaf), (ticket, leaf)] {
            if ticket != NONE {
                self.settle_chain(leaf);
            }
        }
        Ok(Some(Permit { slot, generation }))
    }

    /// Whoever waits or was promised something goes away; what was promised goes to the next.
    pub(crate) fn cancel(&mut self, ticket: u32) {
        if ticket == NONE {
            return;
        }
        let leaf = self.waiters[ticket].leaf;
        self.dissolve(ticket);
        if !self.rules.lacks(Mutation::PromiseLost) {
            self.settle_chain(leaf);
        }
    }

    /// Another head stands before a queue that waits.
    pub(crate) fn reprice(&mut self, ticket: u32, cost: u32) {
        let Waiter { resource, kind, stage, n_steps, .. } = self.waiters[ticket];
        if kind == Kind::Tokens && stage == Stage::Waiting {
            let n_tokens = self.resources[resource].n_tokens(cost);
            self.waiters[ticket].tokens[usize::from(n_steps / 2)] = n_tokens;
            self.settle(resource);
        }
    }

    /// Whether a ticket stands in line: nothing more was promised to it since.
    pub(crate) fn is_in_line(&self, ticket: u32) -> bool {
        ticket != NONE && self.waiters[ticket].stage == Stage::Waiting
    }

    /// What a ticket is for.
    pub(crate) fn waits_for(&self, ticket: u32) -> (u32, Kind) {
        let Waiter { resource, kind, .. } = self.waiters[ticket];
        (resource, kind)
    }

    /// Permits of a resource that are out, and how many may be.
    pub(crate) fn permits_of(&self, resource: u32) -> (u32, Option<u32>) {
        let resource = &self.resources[resource];
        (resource.n_held, resource.concurrency())
    }

    /// When a queue that waits for tokens can have them at the earliest, as far as is known.
    pub(crate) fn armed_ns(&self, resource: u32) -> Option<u64> {
        self.resources[resource].armed_ns
    }

    /// The first thing that a chain lacks, the innermost resource first.
    fn first_short(&mut self, asker: &Asker) -> Option<Short> {
        let barges = self.rules.lacks(Mutation::Barges);
        let band = if self.rules.lacks(Mutation::LowBandHolds) { Band::LAST } else { asker.band };
        let (mut at, mut n) = (asker.leaf, 0);
        while at != NONE {
            let own = match asker.ticket {
                NONE => [None; 2],
                ticket => self.waiters[ticket].promised(n, self.rules),
            };
            let resource = &mut self.resources[at];
            if let Some(bucket) = resource.bucket() {
                bucket.refill(self.now_ns);
            }
            if let Some(kind) = resource.lacks(band, asker.cost, own, barges) {
                return Some(Short { resource: at, n, kind });
            }
            at = if self.rules.lacks(Mutation::ParentsUnasked) { NONE } else { resource.parent };
            n += 1;
        }
        None
    }

    /// Stands in line for what is short. All before it in the chain is promised from now on: it is of no use
    /// to others, who need the outer resources as well, and were it given up, those who have the one and
    /// those who have the other could pass them to and fro for ever.
    fn wait(&mut self, domain: DomainId, asker: &Asker, short: Short) -> u32 {
        let Asker { queue, leaf, band, cost, .. } = *asker;
        let Short { resource, n, kind } = short;
        let is_at = |waiter: &Waiter| (waiter.resource, waiter.kind) == (resource, kind);
        let had_it = asker.ticket != NONE && is_at(&self.waiters[asker.ticket]);
        self.dissolve(asker.ticket);
        let mut tokens = [0; DEPTH_MAX as usize];
        for (amount, slot) in tokens.iter_mut().zip(self.chain(leaf)) {
            *amount = self.resources[slot].n_tokens(cost);
        }
        let step = 2 * n + usize::from(kind == Kind::Tokens);
        let waiter = Waiter {
            previous: NONE,
            next: NONE,
            domain: domain.slot,
            queue,
            leaf,
            resource,
            tokens,
            n_steps: u8::try_from(step).expect("a chain is short"),
            band,
            kind,
            stage: Stage::Waiting,
        };
        self.count_promises(&waiter, true);
        let (ticket, _) = self.waiters.insert(waiter);
        let line = self.resources[resource].line_mut(kind);
        line.n_waiting += 1;
        let list = &mut line.lists[band.index()];
        if asker.is_mid_turn || had_it {
            list.push_front(&mut self.waiters, ticket);
        } else {
            list.push_back(&mut self.waiters, ticket);
        }
        self.settle_chain(leaf);
        ticket
    }

    /// Ends a ticket. The resources of its chain are to be settled.
    fn dissolve(&mut self, ticket: u32) {
        if ticket == NONE {
            return;
        }
        let waiter = self.waiters[ticket];
        let Waiter { domain, resource, band, kind, stage, .. } = waiter;
        match stage {
            Stage::Waiting => {
                let line = self.resources[resource].line_mut(kind);
                line.lists[band.index()].remove(&mut self.waiters, ticket);
                line.n_waiting -= 1;
            }
            Stage::Woken => self.domains[domain].woken.remove(&mut self.waiters, ticket),
            Stage::Told => self.domains[domain].told.remove(&mut self.waiters, ticket),
        }
        self.count_promises(&waiter, false);
        self.waiters.remove(ticket);
    }

    fn count_promises(&mut self, waiter: &Waiter, comes: bool) {
        let (mut at, mut n) = (waiter.leaf, 0);
        while at != NONE && 2 * n < usize::from(waiter.n_steps) {
            let promised = waiter.promised(n, self.rules);
            self.resources[at].promise(waiter.band, promised, comes);
            at = self.resources[at].parent;
            n += 1;
        }
    }

    fn settle_chain(&mut self, leaf: u32) {
        let mut at = leaf;
        while at != NONE {
            self.settle(at);
            at = self.resources[at].parent;
        }
    }
}
