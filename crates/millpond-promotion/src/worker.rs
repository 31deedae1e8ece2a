//! What a thread of the pool does.

use crate::exits::Exit;
use crate::request::Request;
use crate::rules::Mutation;
use crate::shared::Shared;

/// Serves until the pool is closed and nothing can come any more.
pub(crate) fn serve<R: Request>(shared: &Shared<R>, worker: usize) {
    let _exit = Exit(&shared.exits);
    loop {
        while shared.serve_one() {}
        let seen = shared.gate.fall_asleep(worker);
        // It only looks. If it took a request now, a producer could wake it, who is not asleep, for another
        // one, which then would wait beside a worker that is.
        let is_over = seen.is_final();
        let looks = !shared.rules.lacks(Mutation::NoLastLook);
        if shared.rules.lacks(Mutation::LastLookTakes) && shared.serve_one() {
            shared.gate.rise(worker);
            continue;
        }
        if (shared.nothing_waits() || !looks) && !is_over {
            shared.parkers[worker].park();
        }
        shared.gate.rise(worker);
        if is_over && shared.nothing_waits() {
            return;
        }
    }
}
