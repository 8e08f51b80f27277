//! The people that we know, and how somebody becomes one of them.

pub mod connect;
mod invites;
mod person;

pub(crate) use person::Person;
