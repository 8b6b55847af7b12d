//! Which topics there are, how large their messages may be, and which one a message goes to.

mod inquiry;
mod known;
pub(crate) mod name;

pub(crate) use inquiry::forbidden;
pub(crate) use known::{Limit, Topic, TopicIndex, Topics};
