//! The requests, and the table of them from which a node serves and a client calls.

pub mod calls;
pub mod chats;
pub mod contacts;
pub mod devices;
pub mod groups;
pub mod messages;
pub mod node;
pub mod profile;
pub mod screen;

use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use tracing::Instrument as _;

use crate::Error;

/// How long a client waits for the answer to a request that the node can give at once.
pub const AT_ONCE: Duration = Duration::from_secs(30);
/// The same where the node asks others first.
pub const ASKS_OTHERS: Duration = Duration::from_secs(120);

/// A request: the struct holds its parameters.
pub trait Method: Serialize + DeserializeOwned + JsonSchema + Send + 'static {
    /// Its name.
    const NAME: &'static str;
    /// What the node answers.
    type Answer: Serialize + DeserializeOwned + JsonSchema + Send + 'static;

    /// How long a client waits for the answer before it takes the node for stopped.
    fn time_limit(&self) -> Duration {
        AT_ONCE
    }
}

/// Serves a request.
pub trait Serve<M: Method> {
    /// Gives the answer.
    fn serve(&self, request: M) -> impl Future<Output = Result<M::Answer, Error>> + Send;
}

/// The answer to a request that was done and has nothing to tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Done {}

/// Defines requests. Parameters that are not known are refused; those of type `Option` may be left out or null.
macro_rules! requests {
    ($(
        $(#[$meta:meta])*
        $name:ident = $method:literal -> $answer:ty $(, within $limit:expr)? => {
            $($(#[$field_meta:meta])* $field:ident: $type:ty),* $(,)?
        }
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $crate::methods::Method for $name {
            const NAME: &'static str = $method;
            type Answer = $answer;
            $(
                fn time_limit(&self) -> std::time::Duration {
                    ($limit)(self)
                }
            )?
        }
    )*};
}
use requests;

/// Reads a parameter that may be left out, but is not `null` where it is given.
fn not_null<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(value: D) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// Makes the functions that know all methods.
macro_rules! table {
    ($($method:ty,)*) => {
        /// Serves every method.
        pub trait ServeAll: $(Serve<$method> +)* Sync {}
        impl<S: $(Serve<$method> +)* Sync> ServeAll for S {}

        /// Serves the method of this name.
        ///
        /// # Errors
        /// If there is no such method, its parameters are not valid, or it fails.
        pub async fn dispatch<S: ServeAll>(server: &S, method: &str, params: Map<String, Value>) -> Result<Value, Error> {
            match method {
                $(<$method as Method>::NAME => Box::pin(serve::<$method, S>(server, params)).await,)*
                _ => Err(Error::method_not_found(method)),
            }
        }

        /// Describes every method.
        pub(crate) fn describe(generator: &mut SchemaGenerator) -> Vec<Description> {
            vec![$(Description::of::<$method>(generator),)*]
        }
    };
}

table! {
    node::Status,
    node::Events,
    node::Flush,
    node::Subscribe,
    node::Stop,
    node::Discover,
    node::Authenticate,
    contacts::List,
    contacts::Find,
    contacts::Requests,
    contacts::Add,
    contacts::Accept,
    contacts::Decline,
    contacts::Rename,
    contacts::Verify,
    contacts::Trust,
    contacts::Block,
    contacts::Unblock,
    contacts::Remove,
    contacts::Invite,
    contacts::OpenCode,
    contacts::UseCode,
    chats::List,
    chats::Find,
    chats::Set,
    chats::Arrange,
    chats::SetDraft,
    chats::Clear,
    groups::List,
    groups::Show,
    groups::Audit,
    groups::Former,
    groups::Links,
    groups::NewLink,
    groups::EndLink,
    groups::Look,
    groups::Join,
    groups::Requests,
    groups::Approve,
    groups::Refuse,
    groups::Report,
    groups::Reports,
    groups::New,
    groups::Invite,
    groups::StopInviting,
    groups::Remove,
    groups::Ban,
    groups::Unban,
    groups::Set,
    groups::SetRole,
    groups::Rename,
    groups::SetTopic,
    groups::RemoveChannel,
    groups::Accept,
    groups::Decline,
    groups::Leave,
    messages::Send,
    messages::Edit,
    messages::Delete,
    messages::React,
    messages::Read,
    messages::Typing,
    messages::History,
    messages::Back,
    messages::Search,
    messages::Wait,
    devices::List,
    devices::Link,
    devices::AnswerLink,
    devices::SetRights,
    devices::Remove,
    devices::Recovery,
    devices::Recover,
    devices::History,
    devices::GiveHistory,
    devices::GetHistory,
    devices::CancelHistory,
    profile::SetName,
    profile::SetUsername,
    profile::SetRendezvous,
    profile::SetPrivacy,
    profile::ListStorage,
    profile::DeleteStorage,
    profile::SetAvailability,
    screen::Get,
    screen::Set,
    calls::Start,
    calls::Answer,
    calls::HangUp,
    calls::Transfer,
    calls::Take,
    calls::Elsewhere,
    calls::Record,
    calls::AgreeToRecording,
    calls::Attend,
    calls::List,
    calls::Stats,
    calls::Set,
    calls::Want,
    calls::Share,
    calls::Unshare,
    calls::Hand,
    calls::Type,
    calls::Devices,
    calls::Test,
    calls::Watch,
}

async fn serve<M: Method, S: Serve<M>>(server: &S, params: Map<String, Value>) -> Result<Value, Error> {
    let span = tracing::debug_span!("request", method = M::NAME);
    let answer = server.serve(read(params)?).instrument(span).await?;
    serde_json::to_value(answer).map_err(|error| Error::invalid_request(format!("the answer is no JSON: {error}")))
}

/// Reads the parameters of a request.
///
/// # Errors
/// If one is missing, unknown or not valid; the error names it.
pub fn read<M: Method>(params: Map<String, Value>) -> Result<M, Error> {
    let given: Vec<String> = params.keys().cloned().collect();
    serde_path_to_error::deserialize(Value::Object(params)).map_err(|error| {
        let (path, why) = (error.path().to_string(), error.inner());
        if path != "." {
            return Error::invalid_param(&path, why);
        }
        let required = required(&SchemaGenerator::default().into_root_schema_for::<M>());
        match required.iter().find(|name| !given.contains(name)) {
            Some(missing) => Error::invalid_param(missing, "it is missing"),
            None => Error::invalid_params(why),
        }
    })
}

/// What a method takes and gives.
pub(crate) struct Description {
    pub name: &'static str,
    pub params: Schema,
    pub answer: Schema,
}

impl Description {
    fn of<M: Method>(generator: &mut SchemaGenerator) -> Self {
        Self { name: M::NAME, params: M::json_schema(generator), answer: generator.subschema_for::<M::Answer>() }
    }
}

/// The names of the properties that a schema requires.
pub(crate) fn required(schema: &Schema) -> Vec<String> {
    let names = schema.get("required").and_then(Value::as_array);
    names.into_iter().flatten().filter_map(|name| name.as_str().map(Into::into)).collect()
}

impl<S: Sync> Serve<node::Discover> for S {
    async fn serve(&self, _: node::Discover) -> Result<Value, Error> {
        Ok(crate::schema::openrpc())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;
    use crate::error::INVALID_PARAMS;

    fn refused<M: Method + std::fmt::Debug>(params: Value) -> String {
        let Value::Object(params) = params else { panic!("no object") };
        let error = read::<M>(params.clone()).expect_err(&format!("{params:?} was taken"));
        assert_eq!(error.code, INVALID_PARAMS);
        error.data.param.unwrap()
    }

    #[test]
    fn a_parameter_of_the_wrong_type_is_refused_by_its_name() {
        assert_eq!(refused::<contacts::Verify>(json!({ "account": "a", "verified": "false" })), "verified");
        assert_eq!(refused::<contacts::Verify>(json!({ "account": "a", "verified": null })), "verified");
        assert_eq!(refused::<node::Subscribe>(json!({ "since": 5 })), "since");
        assert_eq!(refused::<messages::Send>(json!({ "chat": "c", "text": "hi", "reply_to": 5 })), "reply_to");
        assert_eq!(refused::<messages::Send>(json!({ "chat": "c", "texts": ["a", 5, null] })), "texts[1]");
        assert_eq!(refused::<messages::Send>(json!({ "chat": ["c"], "text": "hi" })), "chat");
        assert_eq!(refused::<messages::History>(json!({ "chat": "c", "limit": -1 })), "limit");
        assert_eq!(refused::<profile::SetAvailability>(json!({ "availability": "gone" })), "availability");
        assert_eq!(refused::<calls::Start>(json!({ "chat": "c", "video": 1 })), "video");
    }

    #[test]
    fn a_parameter_that_is_missing_or_not_known_is_refused_by_its_name() {
        assert_eq!(refused::<contacts::Verify>(json!({ "verified": true })), "account");
        assert_eq!(refused::<messages::Edit>(json!({ "chat": "c", "message": "m" })), "text");
        assert_eq!(refused::<contacts::Verify>(json!({ "account": "a", "verfied": false })), "verfied");
        assert_eq!(refused::<contacts::List>(json!({ "limit": 5 })), "limit");
    }

    #[test]
    fn what_a_node_does_not_know_is_told_from_what_is_not_valid() {
        let refused = |params: Value| read::<contacts::List>(params.as_object().unwrap().clone()).unwrap_err();
        assert!(refused(json!({ "of_the_future": null })).is_unknown());
        assert!(!refused(json!({ "safety_numbers": "no" })).is_unknown());
        assert!(Error::method_not_found("of.the.future").is_unknown());
    }

    #[test]
    fn optional_parameters_may_be_left_out_or_null() {
        let Value::Object(params) = json!({ "chat": "c", "text": "hi", "reply_to": null }) else { panic!("no object") };
        let send: messages::Send = read(params).unwrap();
        assert_eq!((send.text.as_deref(), send.reply_to, send.texts), (Some("hi"), None, None));
    }
}
