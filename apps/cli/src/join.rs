//! `socketserver join`: the client.

use chat::client::{self, Options};

use crate::Failure;
use crate::arguments::JoinArguments;

pub(crate) fn run(arguments: &JoinArguments) -> Result<(), Failure> {
    if arguments.endpoint.scheme().is_datagram() {
        return Err(Failure::usage(format!(
            "cannot join {}: a chat needs a connection, tcp:// or unix://",
            arguments.endpoint
        )));
    }
    let options = Options::default()
        .nick(arguments.nick.clone())
        .reconnect(!arguments.no_reconnect);
    client::run(&arguments.endpoint, &options)?;
    Ok(())
}
