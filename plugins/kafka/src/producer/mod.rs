//! The client: what is under way, and what became of it.

mod contact;
mod deliveries;
mod endings;
mod lane;
mod reports;
mod ticket;

pub(crate) use contact::contact;
pub(crate) use deliveries::{Deliveries, Failure, Trouble};
pub(crate) use endings::former_have_ended;
pub(crate) use lane::{Lane, Living, Manner};
pub(crate) use reports::Log;
pub(crate) use ticket::Ticket;
