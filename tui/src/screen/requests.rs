//! Requests of the screen to the node. Each says which [`Answer`] its result becomes; answers come back to the screen as events do.

use std::{fmt, sync::Arc};

use futures::{FutureExt, future::BoxFuture};
use starling_control::{
    Method,
    methods::{
        contacts::{Account, Code, Invitation},
        devices::LinkCode,
        messages::Found,
        screen::Kept,
    },
    objects::{
        AuditLog, Call, Chat, ChatId, Contact, Device, Group, GroupLink, GroupPreview, GroupReport, History,
        JoinRequest, Message, Privacy, Request, Status,
    },
};
use starling_node::MessageId;

use super::{
    app::{App, Effect},
    model::{Place, Wants},
};
use crate::{error::CliResult, rpc::Client};

/// What came of a request.
#[derive(Debug)]
pub enum Answer {
    Status(CliResult<Status>),
    /// All of them, without safety numbers.
    Contacts(CliResult<Vec<Contact>>),
    /// One with its safety number.
    Contact(CliResult<Contact>),
    Chats(CliResult<Vec<Chat>>),
    Requests(CliResult<Vec<Request>>),
    Groups(CliResult<Vec<Group>>),
    /// The audit log of a group.
    Audit(ChatId, CliResult<AuditLog>),
    /// Contacts were invited into a group.
    Invited(CliResult),
    /// Calls that are not over.
    Calls(CliResult<Vec<Call>>),
    /// Messages of a chat, for this place in it.
    History(ChatId, Target, CliResult<Vec<Message>>),
    /// Messages that have the words.
    Found(String, CliResult<Vec<Found>>),
    /// What was kept from the last run, and whether something was kept for the next.
    Kept(CliResult<Kept>),
    Keep(CliResult),
    /// Whether a text of a chat was sent, or took the place of another.
    Sent(ChatId, String, CliResult),
    /// Something that is shown was changed.
    Changed(CliResult),
    Read(CliResult),
    Cleared(ChatId, CliResult),
    Invite(CliResult<Invitation>),
    Code(CliResult<Code>),
    Devices(CliResult<Vec<Device>>),
    /// One of our devices was changed.
    DeviceChanged(CliResult),
    /// What is copied between our devices.
    Copy(CliResult<History>),
    /// What is said if it was done.
    Said(String, CliResult),
    Link(CliResult<LinkCode>),
    /// A link into a group that was made.
    GroupLink(CliResult<GroupLink>),
    /// Where a link leads, with the link.
    GroupPreview(String, CliResult<GroupPreview>),
    /// Those who ask to be let into a group; one of them may be named, with whether they are let in.
    JoinRequests(ChatId, Option<(String, bool)>, CliResult<Vec<JoinRequest>>),
    /// What was reported in a group.
    Reports(ChatId, CliResult<Vec<GroupReport>>),
    /// A call was handed over.
    Transferred(CliResult),
    /// With the line that is put back if it fails.
    Added(String, CliResult<Account>),
    Privacy(CliResult<Privacy>),
    /// What has no other outcome than that it was done.
    Done(CliResult),
}

/// Which messages of a chat are fetched.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// The newest.
    Newest,
    /// Those that the view lacks.
    Page(Wants),
    /// Those around a message, which is then selected.
    Around(MessageId),
    /// Those around the place where the user was in the last run.
    Place(Place),
}

/// A request, and what becomes of its result.
pub trait PendingRequest: Send {
    /// The name of the method.
    fn method(&self) -> &'static str;

    /// Calls it.
    fn send(self: Box<Self>, client: Arc<Client>) -> BoxFuture<'static, Answer>;
}

impl fmt::Debug for dyn PendingRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.method())
    }
}

struct Pending<M, F> {
    request: M,
    answer: F,
}

impl<M: Method, F: FnOnce(CliResult<M::Answer>) -> Answer + Send + 'static> PendingRequest for Pending<M, F> {
    fn method(&self) -> &'static str {
        M::NAME
    }

    fn send(self: Box<Self>, client: Arc<Client>) -> BoxFuture<'static, Answer> {
        async move { (self.answer)(client.call(self.request).await) }.boxed()
    }
}

impl App {
    /// Makes a request.
    pub fn ask<M: Method>(&mut self, request: M, answer: impl FnOnce(CliResult<M::Answer>) -> Answer + Send + 'static) {
        self.effects.push(Effect::Request(Box::new(Pending { request, answer })));
    }

    /// Makes a request for what the user writes: it reaches the node in the order in which it was written.
    pub fn ask_in_order<M: Method>(
        &mut self,
        request: M,
        answer: impl FnOnce(CliResult<M::Answer>) -> Answer + Send + 'static,
    ) {
        self.effects.push(Effect::RequestInOrder(Box::new(Pending { request, answer })));
    }

    /// Makes a request that changes something that is shown.
    pub fn change<M: Method>(&mut self, request: M) {
        self.ask(request, |result| Answer::Changed(result.map(drop)));
    }

    /// The same, in the order in which it was written.
    pub fn change_in_order<M: Method>(&mut self, request: M) {
        self.ask_in_order(request, |result| Answer::Changed(result.map(drop)));
    }

    /// Makes a request whose effect comes as an event, if it has one.
    pub fn tell<M: Method>(&mut self, request: M) {
        self.ask(request, |result| Answer::Done(result.map(drop)));
    }

    /// The same, in the order in which it was written.
    pub fn tell_in_order<M: Method>(&mut self, request: M) {
        self.ask_in_order(request, |result| Answer::Done(result.map(drop)));
    }
}
