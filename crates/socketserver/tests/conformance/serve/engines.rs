//! The engine of a server under test, as its type or in a box.

use std::sync::Arc;

use socketserver::transport::Transport;
use socketserver::{
    BlockingEngine, Engine as AnyEngine, Forking, Handler, IntoAddress, Pool, Reactor, RequestOf,
    RunsOn, Sequential, Served, Server, SharedMemory, Threading,
};

use super::{Settings, on_engine};
use crate::Outcome;
use crate::case::Engine;
use crate::serve::stage::Stage;

fn forking(settings: &Settings) -> Forking {
    Forking::default().max_children(settings.number("children").unwrap_or(40))
}

fn pool(settings: &Settings) -> Pool {
    let pool = Pool::new(settings.number("threads").unwrap_or(4));
    pool.greeting(settings.is("greets", "yes"))
}

fn reactor(settings: &Settings) -> Reactor {
    let reactor = Reactor::new(settings.engine.loops());
    #[cfg(feature = "uring")]
    if settings.engine == Engine::ReactorUring {
        return reactor.driver(socketserver::Driver::Uring);
    }
    reactor
}

/// Serves by handlers that run on every engine.
pub(super) fn on_any<T, H, K>(
    transport: T,
    settings: &Arc<Settings>,
    make: fn(Arc<Stage>) -> H,
) -> Outcome
where
    T: Transport,
    T::Accepted: Served,
    String: IntoAddress<T>,
    H: Handler<RequestOf<T>, K>,
    K: RunsOn<Sequential> + RunsOn<Threading> + RunsOn<Forking> + RunsOn<Pool> + RunsOn<Reactor>,
    K: RunsOn<Box<dyn AnyEngine>> + RunsOn<Box<dyn BlockingEngine>>,
    K: RunsOn<Box<dyn SharedMemory>>,
{
    match settings.get("boxed") {
        Some("any") => {
            let engine: Box<dyn AnyEngine> = match settings.engine {
                Engine::Sequential => Box::new(Sequential),
                Engine::Threading => Box::new(Threading::default()),
                Engine::Forking => Box::new(forking(settings)),
                Engine::Pool => Box::new(pool(settings)),
                _ => Box::new(reactor(settings)),
            };
            on_engine(transport, engine, settings, make, None)
        }
        Some("shared") => {
            let engine: Box<dyn SharedMemory> = match settings.engine {
                Engine::Sequential => Box::new(Sequential),
                Engine::Threading => Box::new(Threading::default()),
                Engine::Forking => return Err("a child shares no memory".into()),
                Engine::Pool => Box::new(pool(settings)),
                _ => Box::new(reactor(settings)),
            };
            on_engine(transport, engine, settings, make, None)
        }
        _ if settings.engine.is_reactor() => {
            on_engine(transport, reactor(settings), settings, make, None)
        }
        _ => on_blocking(transport, settings, make),
    }
}

/// Serves by handlers that may wait, on an engine on which they may.
pub(super) fn on_blocking<T, H, K>(
    transport: T,
    settings: &Arc<Settings>,
    make: fn(Arc<Stage>) -> H,
) -> Outcome
where
    T: Transport,
    T::Accepted: Served,
    String: IntoAddress<T>,
    H: Handler<RequestOf<T>, K>,
    K: RunsOn<Sequential> + RunsOn<Threading> + RunsOn<Forking> + RunsOn<Pool>,
    K: RunsOn<Box<dyn BlockingEngine>>,
{
    let no_engine = "a handler that may wait is nothing for this engine";
    if settings.is("boxed", "blocking") {
        let engine: Box<dyn BlockingEngine> = match settings.engine {
            Engine::Sequential => Box::new(Sequential),
            Engine::Threading => Box::new(Threading::default()),
            Engine::Forking => Box::new(forking(settings)),
            Engine::Pool => Box::new(pool(settings)),
            _ => return Err(no_engine.into()),
        };
        return one(transport, engine, settings, make);
    }
    match settings.engine {
        Engine::Sequential => one(transport, Sequential, settings, make),
        Engine::Threading => one(transport, Threading::default(), settings, make),
        Engine::Forking => one(transport, forking(settings), settings, make),
        Engine::Pool => one(transport, pool(settings), settings, make),
        _ => Err(no_engine.into()),
    }
}

fn one<T, E, H, K>(
    transport: T,
    engine: E,
    settings: &Arc<Settings>,
    make: fn(Arc<Stage>) -> H,
) -> Outcome
where
    T: Transport,
    T::Accepted: Served,
    String: IntoAddress<T>,
    E: BlockingEngine,
    H: Handler<RequestOf<T>, K>,
    K: RunsOn<E>,
{
    on_engine(
        transport,
        engine,
        settings,
        make,
        Some(Server::handle_request),
    )
}
