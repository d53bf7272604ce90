//! The library's behaviour, told in sentences: lifecycle, hooks, drain, limits, faults, outboxes,
//! telemetry, transports, and the defects that must not come back.

#[cfg(test)]
mod support;

#[cfg(test)]
mod batches;
#[cfg(test)]
mod busy;
#[cfg(test)]
mod closing;
#[cfg(test)]
mod codecs;
#[cfg(test)]
mod defects;
#[cfg(test)]
mod drain;
#[cfg(test)]
mod faults;
#[cfg(test)]
mod gone;
#[cfg(test)]
mod handle_request;
#[cfg(test)]
mod hooks;
#[cfg(test)]
mod lifecycle;
#[cfg(test)]
mod limits;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod outbox;
#[cfg(test)]
mod overflow;
#[cfg(test)]
mod panics;
#[cfg(test)]
mod processes;
#[cfg(test)]
mod reading;
#[cfg(test)]
mod robustness;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod timeouts;
#[cfg(test)]
mod traces;
#[cfg(test)]
mod transports;
#[cfg(test)]
mod unix;
