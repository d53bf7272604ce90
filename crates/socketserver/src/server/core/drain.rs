//! The end of a run: what is in the queues is served, what runs ends, and nobody new is let in.

use std::time::{Duration, Instant};

use super::Core;
use crate::clock::earlier;
use crate::engine::Engine;
use crate::error::Error;
use crate::live::DrainReport;
use crate::server::accept::Gate;
use crate::server::source::Admission;
use crate::wait::wait_readable;

/// How long a server that closes waits for handshakes that are under way.
const HANDSHAKE: Duration = Duration::from_millis(1);

/// How long a run waits, after it has cut off what was left, for the handlers to notice.
const FORCE_WAIT: Duration = Duration::from_secs(1);

impl Core {
    /// Serves what is in the queue, lets what runs end, and cuts off what has not in time.
    pub(super) fn drain(
        &mut self,
        engine: &dyn Engine,
        admission: &Admission,
    ) -> Result<DrainReport, Error> {
        let began = self.shared.clock.now();
        // Who comes now must not wake the loop: the queues are looked at in every turn.
        self.shut_gates();
        for gate in &mut self.gates {
            gate.source.pause(true);
            gate.begin_drain();
        }
        let mut forced_at = None;
        loop {
            self.keeper.turn()?;
            engine.service_actions();
            if !self.keeper.has_forced() {
                self.empty_queues(engine, admission)?;
            }
            let is_done = self.shared.registry.count() == 0;
            let has_queue = self.gates.iter().any(Gate::is_draining);
            if is_done && (!has_queue || self.keeper.has_forced()) {
                break;
            }
            if self.keeper.has_forced() {
                // Real time: a handler that is cut off notices without any clock of ours.
                let since = *forced_at.get_or_insert_with(Instant::now);
                if since.elapsed() >= FORCE_WAIT {
                    break;
                }
            }
            let mut timeout = self
                .shared
                .clock
                .until(earlier(self.keeper.next_deadline(), engine.deadline()));
            if let Some(since) = forced_at {
                let left = FORCE_WAIT.saturating_sub(since.elapsed());
                timeout = Some(timeout.map_or(left, |timeout| timeout.min(left)));
            }
            let mut ready = std::mem::take(&mut self.ready);
            self.wait(engine, &mut ready, timeout)?;
            self.ready = ready;
        }
        let report = self.shared.registry.end_drain();
        let elapsed = self.shared.clock.now().saturating_duration_since(began);
        Ok(DrainReport { elapsed, ..report })
    }

    /// Drains what runs, and lets nobody new in.
    pub(in crate::server) fn close(&mut self, engine: &dyn Engine) -> Result<DrainReport, Error> {
        self.refuse_queued();
        if self.shared.registry.count() == 0 {
            return Ok(DrainReport::default());
        }
        self.shared.begin_run();
        self.shared.handle().shutdown();
        let report = self
            .prepare(engine)
            .and_then(|admission| self.drain(engine, &admission));
        engine.stop();
        self.keeper.end_run();
        self.shared.end_run();
        report
    }

    /// Ends in good order who waits in a queue; nobody is let in after them.
    pub(in crate::server) fn refuse_queued(&mut self) {
        for gate in self
            .gates
            .iter_mut()
            .filter(|gate| gate.source.owns_queue())
        {
            gate.source.retire();
            gate.refuse_all(&self.shared.telemetry);
            // A handshake that was under way ends now; its client would be reset.
            let _ = wait_readable(gate.source.fd(), Some(HANDSHAKE));
            gate.refuse_all(&self.shared.telemetry);
        }
    }
}
