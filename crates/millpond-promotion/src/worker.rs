//! What a thread of the pool does.

use crate::core::Core;
use crate::exits::Exit;
use crate::request::Request;

/// Serves until the pool is closed and nothing can come any more.
pub(crate) fn serve<R: Request>(core: &Core<R>, worker: usize) {
    let _exit = Exit(&core.exits);
    loop {
        while core.serve_one() {}
        let seen = core.gate.fall_asleep(worker);
        // It only looks. If it took a request now, a producer could wake it, who is not asleep, for another
        // one, which then would wait beside a worker that is.
        let is_over = seen.is_final();
        if core.nothing_waits() && !is_over {
            core.parkers[worker].park();
        }
        core.gate.rise(worker);
        if is_over && core.nothing_waits() {
            return;
        }
    }
}
