//! The envelope: JSON-RPC 2.0 (<https://www.jsonrpc.org/specification>), one object or batch a line.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// The most requests in one batch.
pub const MAX_BATCH: usize = 1_000;

/// What the client calls a request; its response carries the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// `null`: of a request whose id could not be read.
    #[default]
    Null,
}

/// One request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Its id; none for a notification, which has no response.
    pub id: Option<Id>,
    /// The name of the method.
    pub method: String,
    /// The parameters by name; empty if there were none.
    pub params: Map<String, Value>,
}

/// One line from a client.
#[derive(Debug, PartialEq)]
pub enum Line {
    /// One request.
    One(Result<Request, Response>),
    /// Several, whose responses go back in one line.
    Batch(Vec<Result<Request, Response>>),
}

/// Why a line could not be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Unreadable {
    /// It is not JSON at all: probably not a client of this interface.
    NotJson(Response),
    /// It is JSON, and no request.
    NoRequest(Response),
}

/// A response.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Response {
    jsonrpc: &'static str,
    /// The id of the request.
    pub id: Id,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The method's answer.
    Result(Value),
    /// Why there is none.
    Error(Error),
}

impl Response {
    /// The response to a request.
    pub fn new(id: Id, result: Result<Value, Error>) -> Self {
        let outcome = match result {
            Ok(result) => Outcome::Result(result),
            Err(error) => Outcome::Error(error),
        };
        Self { jsonrpc: "2.0", id, outcome }
    }

    /// The response to what was no request.
    pub fn error(error: Error) -> Self {
        Self::new(Id::Null, Err(error))
    }
}

impl Line {
    /// Reads a line.
    ///
    /// # Errors
    /// If it is not JSON, is neither an object nor a batch, or the batch is empty or too long: the one response to send.
    pub fn parse(line: &[u8]) -> Result<Self, Unreadable> {
        let value =
            serde_json::from_slice(line).map_err(|error| Unreadable::NotJson(Response::error(Error::parse(&error))))?;
        let refused = |message: String| Unreadable::NoRequest(Response::error(Error::invalid_request(message)));
        match value {
            Value::Object(object) => Ok(Self::One(request(object))),
            Value::Array(items) if items.is_empty() => Err(refused("the batch is empty".into())),
            Value::Array(items) if items.len() > MAX_BATCH => {
                Err(refused(format!("a batch has at most {MAX_BATCH} requests")))
            }
            Value::Array(items) => Ok(Self::Batch(items.into_iter().map(item).collect())),
            _ => Err(refused("a request is an object".into())),
        }
    }
}

fn item(value: Value) -> Result<Request, Response> {
    match value {
        Value::Object(object) => request(object),
        _ => Err(Response::error(Error::invalid_request("a request is an object"))),
    }
}

/// Reads a request object. The response to a wrong one carries its id where that can be read.
fn request(mut object: Map<String, Value>) -> Result<Request, Response> {
    let id = match object.remove("id") {
        None => None,
        Some(Value::Null) => Some(Id::Null),
        Some(Value::Number(number)) => Some(Id::Number(number)),
        Some(Value::String(text)) => Some(Id::Text(text)),
        Some(_) => return Err(Response::error(Error::invalid_request("“id” is a number or a text"))),
    };
    let refuse = |error| Err(Response::new(id.clone().unwrap_or_default(), Err(error)));
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return refuse(Error::invalid_request("“jsonrpc” is not \"2.0\""));
    }
    let Some(Value::String(method)) = object.remove("method") else {
        return refuse(Error::invalid_request("“method” is missing or no text"));
    };
    match object.remove("params") {
        None | Some(Value::Null) => Ok(Request { id, method, params: Map::new() }),
        Some(Value::Object(params)) => Ok(Request { id, method, params }),
        Some(Value::Array(items)) if items.is_empty() => Ok(Request { id, method, params: Map::new() }),
        Some(Value::Array(_)) => refuse(Error::invalid_params("they are given by name, in an object")),
        Some(_) => refuse(Error::invalid_request("“params” is no object")),
    }
}

/// A request as a client writes it.
#[derive(Serialize)]
pub(crate) struct Outgoing<'a, P> {
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    method: &'a str,
    params: P,
}

impl<'a, P: Serialize> Outgoing<'a, P> {
    pub(crate) fn new(id: Option<u64>, method: &'a str, params: P) -> Self {
        Self { jsonrpc: "2.0", id, method, params }
    }
}

/// The notification that carries an event, as one line without its end.
pub fn event_line(event: &crate::Event) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Outgoing::new(None, EVENT, event))
}

/// The method of the notification that carries an event.
pub const EVENT: &str = "event";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use serde_json::json;

    use super::*;

    /// The response to a line that cannot be served.
    fn refusal(line: &str) -> Value {
        let response = match Line::parse(line.as_bytes()) {
            Err(Unreadable::NotJson(response) | Unreadable::NoRequest(response)) => response,
            Ok(Line::One(Err(response))) => response,
            other => panic!("{line} was taken: {other:?}"),
        };
        serde_json::to_value(response).unwrap()
    }

    #[test]
    fn a_line_that_is_not_json_is_a_parse_error() {
        for line in
            ["", "GET / HTTP/1.1", "{", "{\"jsonrpc\": \"2.0\", \"method\": \"foobar, \"params\": \"bar\"]", "\u{fffd}"]
        {
            let refusal = refusal(line);
            assert_eq!((&refusal["error"]["code"], &refusal["id"]), (&json!(PARSE), &Value::Null), "{line}");
        }
    }
    const PARSE: i32 = crate::error::PARSE_ERROR;

    #[test]
    fn json_that_is_no_request_is_an_invalid_request() {
        let lines = [
            "42",
            "\"x\"",
            "null",
            "true",
            "[]",
            "{}",
            r#"{"jsonrpc":"2.0","method":1,"params":"bar"}"#,
            r#"{"jsonrpc":"2.0","method":"status","params":"bar"}"#,
            r#"{"jsonrpc":"2.0","method":"status","id":{}}"#,
            r#"{"jsonrpc":"1.0","method":"status"}"#,
            r#"{"method":"status"}"#,
        ];
        for line in lines {
            let refusal = refusal(line);
            assert_eq!((&refusal["error"]["code"], &refusal["id"]), (&json!(-32600), &Value::Null), "{line}");
        }
        assert_eq!(refusal(r#"{"id":7,"method":"status"}"#)["id"], 7);
        assert_eq!(refusal(r#"{"jsonrpc":"2.0","id":7,"method":"status","params":[1]}"#)["error"]["code"], -32602);
    }

    #[test]
    fn a_batch_keeps_what_can_be_served_of_it() {
        let line =
            r#"[1, {"jsonrpc":"2.0","id":"a","method":"status"}, {"jsonrpc":"2.0","method":"typing","params":{}}]"#;
        let Ok(Line::Batch(items)) = Line::parse(line.as_bytes()) else { panic!("no batch") };
        assert!(items[0].is_err());
        assert_eq!(items[1].as_ref().unwrap().id, Some(Id::Text("a".into())));
        assert_eq!(items[2].as_ref().unwrap().id, None);
        let long = format!("[{}1]", "1,".repeat(MAX_BATCH));
        assert_eq!(refusal(&long)["error"]["code"], -32600);
    }

    #[test]
    fn an_id_of_null_is_no_notification() {
        let Ok(Line::One(Ok(request))) = Line::parse(br#"{"jsonrpc":"2.0","id":null,"method":"status"}"#) else {
            panic!("refused")
        };
        assert_eq!(request.id, Some(Id::Null));
    }
}
