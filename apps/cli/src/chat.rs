//! `socketserver chat`: the room.

use crate::Failure;
use crate::arguments::ChatArguments;

pub(crate) fn run(_arguments: &ChatArguments) -> Result<(), Failure> {
    Err(Failure::usage("not yet"))
}
