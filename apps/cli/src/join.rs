//! `socketserver join`: the client.

use crate::Failure;
use crate::arguments::JoinArguments;

pub(crate) fn run(_arguments: &JoinArguments) -> Result<(), Failure> {
    Err(Failure::usage("not yet"))
}
