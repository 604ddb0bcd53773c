//! The envelope: Varlink's call and reply objects, and the interface `org.varlink.service` that every service has.
//!
//! A call is `{"method", "parameters", "more", "oneway", "upgrade"}`, a reply `{"parameters", "continues", "error"}`.
//! Decoding goes in steps, so that the caller can put the permission check between them:
//! [`Request::decode`] (is it a call at all?), [`Request::asked`] (of what?), [`super::Verb::decode`] (with what?).
//!
//! Source: <https://varlink.org/Method-Call>, <https://varlink.org/Service>.

use super::{Answer, Call, CallError, REPLY_LIMIT, RequestKey, TooLong, Verb};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fmt;

/// Name of the daemon's interface.
pub const INTERFACE: &str = "io.rsvc.Manager";

/// Name of the interface that describes the service itself.
pub const SERVICE_INTERFACE: &str = "org.varlink.service";

/// The daemon's interface in Varlink's own words, for introspection.
pub const INTERFACE_TEXT: &str = include_str!("io.rsvc.Manager.varlink");

/// `org.varlink.service` in its own words, as the specification has it.
const SERVICE_TEXT: &str = include_str!("org.varlink.service.varlink");

/// The message is no Varlink call or reply. There is no error reply for that; the connection has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a Varlink message: {}", self.message)
    }
}

impl std::error::Error for Malformed {}

/// Errors of the protocol itself (`org.varlink.service`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // The specification's names.
pub enum ServiceError {
    InterfaceNotFound { interface: String },
    MethodNotFound { method: String },
    MethodNotImplemented { method: String },
    InvalidParameter { parameter: String },
}

impl ServiceError {
    /// Name of the error and of its one parameter, and that parameter.
    fn parts(&self) -> (&'static str, &'static str, &str) {
        match self {
            ServiceError::InterfaceNotFound { interface } => ("InterfaceNotFound", "interface", interface),
            ServiceError::MethodNotFound { method } => ("MethodNotFound", "method", method),
            ServiceError::MethodNotImplemented { method } => ("MethodNotImplemented", "method", method),
            ServiceError::InvalidParameter { parameter } => ("InvalidParameter", "parameter", parameter),
        }
    }

    fn decode(name: &str, parameters: &Map<String, Value>) -> Option<ServiceError> {
        let text = |key: &str| parameters.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
        Some(match name {
            "InterfaceNotFound" => ServiceError::InterfaceNotFound { interface: text("interface") },
            "MethodNotFound" => ServiceError::MethodNotFound { method: text("method") },
            "MethodNotImplemented" => ServiceError::MethodNotImplemented { method: text("method") },
            "InvalidParameter" => ServiceError::InvalidParameter { parameter: text("parameter") },
            _ => return None,
        })
    }
}

impl fmt::Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ServiceError::InterfaceNotFound { interface } => write!(f, "no interface `{interface}`"),
            ServiceError::MethodNotFound { method } => write!(f, "no method `{method}`"),
            ServiceError::MethodNotImplemented { method } => write!(f, "method `{method}` is not implemented"),
            ServiceError::InvalidParameter { parameter } => write!(f, "invalid parameter `{parameter}`"),
        }
    }
}

/// A call whose parameters were not looked at yet.
#[derive(Clone, Debug, Deserialize)]
pub struct Request {
    method: String,
    #[serde(default)]
    parameters: Option<Map<String, Value>>,
    /// The client takes several replies.
    #[serde(default)]
    pub more: bool,
    /// The client takes no reply, not even an error.
    #[serde(default)]
    pub oneway: bool,
    #[serde(default)]
    upgrade: bool,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `org.varlink.service.GetInfo`
    Info,
    /// `org.varlink.service.GetInterfaceDescription`
    InterfaceDescription,
    /// A verb of `io.rsvc.Manager`.
    Verb(Verb),
}

impl Request {
    /// Reads the envelope. Unknown fields of the envelope are ignored, as the protocol may grow.
    ///
    /// # Errors
    /// When the bytes are no call.
    pub fn decode(frame: &[u8]) -> Result<Request, Malformed> {
        serde_json::from_slice(frame).map_err(|error| Malformed { message: error.to_string() })
    }

    /// Which method it is.
    ///
    /// # Errors
    /// `InterfaceNotFound`, `MethodNotFound`, and `MethodNotImplemented` for a connection upgrade.
    pub fn asked(&self) -> Result<Asked, ServiceError> {
        let method = || self.method.clone();
        let Some((interface, name)) = self.method.rsplit_once('.') else {
            return Err(ServiceError::MethodNotFound { method: method() });
        };
        let asked = match (interface, name) {
            (SERVICE_INTERFACE, "GetInfo") => Some(Asked::Info),
            (SERVICE_INTERFACE, "GetInterfaceDescription") => Some(Asked::InterfaceDescription),
            (SERVICE_INTERFACE, _) => None,
            (INTERFACE, name) => Verb::from_name(name).map(Asked::Verb),
            _ => return Err(ServiceError::InterfaceNotFound { interface: interface.to_owned() }),
        };
        match asked {
            None => Err(ServiceError::MethodNotFound { method: method() }),
            Some(_) if self.upgrade => Err(ServiceError::MethodNotImplemented { method: method() }),
            Some(asked) => Ok(asked),
        }
    }

    /// The parameters, not looked at.
    pub fn into_parameters(self) -> Map<String, Value> {
        self.parameters.unwrap_or_default()
    }
}

/// Reply to `GetInfo`.
pub fn encode_info(version: &str) -> Vec<u8> {
    let parameters = json!({
        "vendor": "rsvc",
        "product": "rsvc",
        "version": version,
        "url": "",
        "interfaces": [SERVICE_INTERFACE, INTERFACE],
    });
    frame(&json!({ "parameters": parameters }))
}

/// Reply to `GetInterfaceDescription`, errors included.
pub fn encode_interface_description(parameters: &Map<String, Value>) -> Vec<u8> {
    let description = match parameters.get("interface") {
        Some(Value::String(name)) => match name.as_str() {
            INTERFACE => Ok(INTERFACE_TEXT),
            SERVICE_INTERFACE => Ok(SERVICE_TEXT),
            _ => Err(ServiceError::InterfaceNotFound { interface: name.clone() }),
        },
        _ => Err(ServiceError::InvalidParameter { parameter: "interface".to_owned() }),
    };
    match description {
        Ok(text) => frame(&json!({ "parameters": { "description": text } })),
        Err(error) => encode_service_error(&error),
    }
}

/// Error reply of the protocol.
pub fn encode_service_error(error: &ServiceError) -> Vec<u8> {
    let (name, key, value) = error.parts();
    frame(&json!({ "error": format!("{SERVICE_INTERFACE}.{name}"), "parameters": { key: value } }))
}

/// Error reply of the daemon.
pub fn encode_error(error: &CallError) -> Vec<u8> {
    frame(&json!({ "error": format!("{INTERFACE}.{}", error.name()), "parameters": error.parameters() }))
}

/// Reply of the daemon; `continues` announces another one.
///
/// # Errors
/// When it would be longer than [`REPLY_LIMIT`].
pub fn encode_answer(answer: &Answer, continues: bool) -> Result<Vec<u8>, TooLong> {
    let mut reply = json!({ "parameters": answer.parameters() });
    if continues {
        reply["continues"] = Value::Bool(true);
    }
    let bytes = frame(&reply);
    if bytes.len() - 1 > REPLY_LIMIT { Err(TooLong { limit: REPLY_LIMIT }) } else { Ok(bytes) }
}

/// How a client wants its call to be handled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    /// Several replies are welcome.
    pub more: bool,
    /// No reply is wanted.
    pub oneway: bool,
    /// For jobs: reply as soon as the job is accepted.
    pub no_wait: bool,
    /// For what cannot be done twice: what this request is called.
    pub request: Option<RequestKey>,
}

/// A client's call as it travels.
pub fn encode_call(call: &Call, options: CallOptions) -> Vec<u8> {
    let mut parameters = call.parameters();
    if options.no_wait && call.verb().is_job() {
        parameters["wait"] = Value::Bool(false);
    }
    if let Some(key) = options.request.filter(|_| call.verb().is_repeatable_by_key()) {
        parameters["request"] = Value::String(key.to_string());
    }
    let mut message = json!({ "method": format!("{INTERFACE}.{}", call.verb().name()), "parameters": parameters });
    for (name, set) in [("more", options.more), ("oneway", options.oneway)] {
        if set {
            message[name] = Value::Bool(true);
        }
    }
    frame(&message)
}

/// A reply as the client sees it.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// The answer; the flag announces another reply.
    Answer(Answer, bool),
    /// The daemon says no.
    Error(CallError),
    /// The daemon did not understand.
    Service(ServiceError),
}

/// Decodes a reply to a call of `verb`.
///
/// # Errors
/// When the bytes are no reply, or not one to this verb.
pub fn decode_reply(verb: Verb, bytes: &[u8]) -> Result<Reply, Malformed> {
    #[derive(Deserialize)]
    struct Wire {
        #[serde(default)]
        parameters: Option<Map<String, Value>>,
        #[serde(default)]
        error: Option<String>,
        #[serde(default)]
        continues: bool,
    }
    let malformed = |message: String| Malformed { message };
    let wire: Wire = serde_json::from_slice(bytes).map_err(|error| malformed(error.to_string()))?;
    let parameters = wire.parameters.unwrap_or_default();
    let Some(error) = wire.error else {
        let answer = Answer::decode(verb, parameters).map_err(|error| malformed(error.to_string()))?;
        return Ok(Reply::Answer(answer, wire.continues));
    };
    let known = match error.rsplit_once('.') {
        Some((INTERFACE, name)) => CallError::decode(name, &parameters).map(Reply::Error),
        Some((SERVICE_INTERFACE, name)) => ServiceError::decode(name, &parameters).map(Reply::Service),
        _ => None,
    };
    known.ok_or_else(|| malformed(format!("unknown error `{error}`")))
}

/// A JSON object and its NUL. JSON text escapes every NUL of a string, so none can be inside.
fn frame(value: &Value) -> Vec<u8> {
    let mut bytes = value.to_string().into_bytes();
    bytes.push(0);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &str) -> Result<Asked, ServiceError> {
        Request::decode(text.as_bytes()).expect("a call").asked()
    }

    #[test]
    fn errors_of_the_protocol_are_the_specifications() {
        assert_eq!(asked(r#"{"method":"io.rsvc.Manager.Start"}"#), Ok(Asked::Verb(Verb::Start)));
        assert_eq!(
            asked(r#"{"method":"io.rsvc.Manager.Nope"}"#),
            Err(ServiceError::MethodNotFound { method: "io.rsvc.Manager.Nope".into() })
        );
        assert_eq!(
            asked(r#"{"method":"io.example.X","parameters":{}}"#),
            Err(ServiceError::InterfaceNotFound { interface: "io.example".into() })
        );
        assert_eq!(asked(r#"{"method":"x"}"#), Err(ServiceError::MethodNotFound { method: "x".into() }));
        assert_eq!(
            asked(r#"{"method":"io.rsvc.Manager.List","upgrade":true}"#),
            Err(ServiceError::MethodNotImplemented { method: "io.rsvc.Manager.List".into() })
        );
        let error = ServiceError::InvalidParameter { parameter: "unit".into() };
        let text = String::from_utf8(encode_service_error(&error)).unwrap();
        assert_eq!(
            text,
            "{\"error\":\"org.varlink.service.InvalidParameter\",\"parameters\":{\"parameter\":\"unit\"}}\0"
        );
    }

    #[test]
    fn what_is_no_call_is_malformed() {
        for text in
            ["", "[]", "{}", "null", r#"{"method":5}"#, r#"{"method":"a.B","more":1}"#, "{\"method\":\"\u{0}\"}"]
        {
            assert!(Request::decode(text.as_bytes()).is_err(), "{text}");
        }
        assert!(Request::decode(&[0xff, 0xfe]).is_err());
        assert!(Request::decode("[".repeat(60_000).as_bytes()).is_err(), "deep nesting neither passes nor overflows");
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>, text in "[{}\\[\\]\":,a-z0-9.]{0,60}") {
            for bytes in [bytes.as_slice(), text.as_bytes()] {
                if let Ok(request) = Request::decode(bytes) && let Ok(Asked::Verb(verb)) = request.asked() {
                    let _ = verb.decode(request.into_parameters());
                }
                for (verb, _) in Verb::ALL {
                    let _ = decode_reply(verb, bytes);
                }
            }
        }
    }

    #[test]
    fn a_call_travels_with_its_options() {
        let call = Call::Start { unit: "web".into() };
        let request = Some(RequestKey::new([9; 16]));
        let bytes = encode_call(&call, CallOptions { more: false, oneway: true, no_wait: true, request });
        let read = Request::decode(bytes.strip_suffix(&[0]).unwrap()).unwrap();
        assert!(read.oneway && !read.more);
        assert_eq!(read.asked(), Ok(Asked::Verb(Verb::Start)));
        let manner = crate::control::Manner { wait: false, request };
        assert_eq!(Verb::Start.decode(read.into_parameters()), Ok((call, manner)));
    }

    #[test]
    fn replies_come_back_as_they_were_sent() {
        let bytes = encode_answer(&Answer::Plan(vec!["one".into(), "two\0".into()]), true).unwrap();
        assert_eq!(bytes.iter().filter(|b| **b == 0).count(), 1, "only the terminator");
        assert_eq!(
            decode_reply(Verb::Plan, &bytes[..bytes.len() - 1]),
            Ok(Reply::Answer(Answer::Plan(vec!["one".into(), "two\0".into()]), true))
        );
        let error = CallError::JobFailed { unit: "web".into(), message: "step EXEC".into() };
        let bytes = encode_error(&error);
        assert_eq!(decode_reply(Verb::Start, &bytes[..bytes.len() - 1]), Ok(Reply::Error(error)));
        assert!(decode_reply(Verb::Start, br#"{"error":"io.other.Bad"}"#).is_err());
        assert!(decode_reply(Verb::Plan, br#"{"parameters":{}}"#).is_err());
    }

    #[test]
    fn an_answer_past_the_limit_is_an_error_and_not_half_a_reply() {
        let long = Answer::Plan(vec!["x".repeat(REPLY_LIMIT)]);
        assert_eq!(encode_answer(&long, false), Err(TooLong { limit: REPLY_LIMIT }));
    }

    #[test]
    fn descriptions_are_given_for_both_interfaces_and_no_other() {
        let reply = |name: Value| {
            let map = Map::from_iter([("interface".to_owned(), name)]);
            let bytes = encode_interface_description(&map);
            serde_json::from_slice::<Value>(&bytes[..bytes.len() - 1]).unwrap()
        };
        assert_eq!(reply(json!(INTERFACE))["parameters"]["description"], json!(INTERFACE_TEXT));
        assert_eq!(reply(json!(SERVICE_INTERFACE))["parameters"]["description"], json!(SERVICE_TEXT));
        assert_eq!(reply(json!("a.b"))["error"], json!("org.varlink.service.InterfaceNotFound"));
        assert_eq!(reply(json!(5))["error"], json!("org.varlink.service.InvalidParameter"));
    }
}
