//! Why a request failed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The line was not JSON.
pub const PARSE_ERROR: i32 = -32700;
/// The JSON was no request.
pub const INVALID_REQUEST: i32 = -32600;
/// There is no such method.
pub const METHOD_NOT_FOUND: i32 = -32601;
/// A parameter is missing, unknown or not valid; [`ErrorData::param`] names it.
pub const INVALID_PARAMS: i32 = -32602;
/// The method itself failed; [`ErrorData::code`] says how.
pub const FAILED: i32 = -32000;
/// The connection has to give its token first.
pub const UNAUTHORIZED: i32 = -32001;

/// The `error` object of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// A code of JSON-RPC: -32700, -32600, -32601, -32602 or, where the method itself failed, -32000.
    pub code: i32,
    /// One sentence for people.
    pub message: String,
    /// More for programs.
    #[serde(default)]
    pub data: Box<ErrorData>,
}

/// What programs need to know of an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ErrorData {
    /// A name such as `not_found` or `key_changed`; `usage` for a request that makes no sense.
    pub code: String,
    /// The exit code of a command that failed with this error.
    pub exit: u8,
    /// What to do about it.
    pub hint: Option<String>,
    /// After how many milliseconds it is worth to try again.
    pub retry_after_ms: Option<u64>,
    /// What exactly was wrong, where the node has refused something: a name such as `which_device` or `outbox_full`. More are added.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The parameter that was wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

impl Error {
    /// An error with what programs need to know of it.
    pub fn new(code: i32, message: impl Into<String>, data: ErrorData) -> Self {
        Self { code, message: message.into(), data: Box::new(data) }
    }

    /// An error of the request itself: exit code 2, and nothing was done.
    fn of_request(code: i32, message: String, param: Option<String>) -> Self {
        let data = ErrorData { code: "usage".into(), exit: 2, param, ..ErrorData::default() };
        Self::new(code, message, data)
    }

    /// The line was not JSON.
    pub fn parse(error: &serde_json::Error) -> Self {
        Self::of_request(PARSE_ERROR, format!("not JSON: {error}"), None)
    }

    /// The JSON was no request.
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::of_request(INVALID_REQUEST, message.into(), None)
    }

    /// There is no method of this name.
    pub fn method_not_found(method: &str) -> Self {
        let message = format!("there is no method “{}”", method.escape_debug());
        let mut error = Self::of_request(METHOD_NOT_FOUND, message, None);
        error.data.hint = Some("the method rpc.discover lists all".into());
        error
    }

    /// A parameter is not valid.
    pub fn invalid_param(param: &str, why: impl std::fmt::Display) -> Self {
        let message = format!("the parameter “{}”: {why}", param.escape_debug());
        Self::of_request(INVALID_PARAMS, message, Some(param.to_owned()))
    }

    /// The parameters are not valid, and it is not known which.
    pub fn invalid_params(why: impl std::fmt::Display) -> Self {
        Self::of_request(INVALID_PARAMS, format!("parameters: {why}"), None)
    }

    /// Whether the node does not know the method, or one of its parameters.
    pub fn is_unknown(&self) -> bool {
        // serde's words: a node has never had others for it.
        self.code == METHOD_NOT_FOUND || (self.code == INVALID_PARAMS && self.message.contains("unknown field `"))
    }

    /// The connection has not given the token that it needs.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        let data = ErrorData { code: "unauthorized".into(), exit: 6, ..ErrorData::default() };
        Self::new(UNAUTHORIZED, message, data)
    }
}
