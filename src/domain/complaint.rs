//! What an upstream says is wrong, in words of the house's own: its words may hold a client's.

use super::numbered::numbered;

/// Why an upstream would not, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub enum Complaint {
    /// None, or one that is not known here.
    #[default]
    Unknown = 0,
    NoSuchModel = 1,
    /// The model cannot do what was asked for.
    Unable = 2,
    /// The question is longer than the model's context.
    TooLong = 3,
    /// The model needs more memory than there is.
    NoMemory = 4,
    /// The model's process ended, or does not come up.
    Crashed = 5,
    Busy = 6,
    Unauthorized = 7,
    Picture = 8,
    /// The request is not as it should be.
    BadRequest = 9,
}

numbered!(Complaint);

/// What stands in a complaint in small letters, what it means, and the first that fits is it: as Ollama, llama.cpp and
/// the services that are like OpenAI's say it.
const WORDS: [(&str, Complaint); 24] = [
    ("unauthorized", Complaint::Unauthorized),
    ("api key", Complaint::Unauthorized),
    ("image", Complaint::Picture),
    ("does not support", Complaint::Unable),
    ("not supported", Complaint::Unable),
    ("context length", Complaint::TooLong),
    ("context size", Complaint::TooLong),
    ("context window", Complaint::TooLong),
    ("too many tokens", Complaint::TooLong),
    ("not found", Complaint::NoSuchModel),
    ("no such model", Complaint::NoSuchModel),
    ("does not exist", Complaint::NoSuchModel),
    ("memory", Complaint::NoMemory),
    ("runner", Complaint::Crashed),
    ("unable to load", Complaint::Crashed),
    ("failed to load", Complaint::Crashed),
    ("error loading", Complaint::Crashed),
    ("unexpected eof", Complaint::Crashed),
    ("busy", Complaint::Busy),
    ("rate limit", Complaint::Busy),
    ("overloaded", Complaint::Busy),
    ("invalid", Complaint::BadRequest),
    ("missing", Complaint::BadRequest),
    ("required", Complaint::BadRequest),
];
/// No upstream needs more bytes for it.
pub const LONGEST_COMPLAINT: usize = 4 << 10;

impl Complaint {
    pub const ALL: [Complaint; 10] = [
        Complaint::Unknown,
        Complaint::NoSuchModel,
        Complaint::Unable,
        Complaint::TooLong,
        Complaint::NoMemory,
        Complaint::Crashed,
        Complaint::Busy,
        Complaint::Unauthorized,
        Complaint::Picture,
        Complaint::BadRequest,
    ];

    /// Of an error as it came, in whatever dialect.
    pub fn of(error: &[u8]) -> Self {
        let error = error[..error.len().min(LONGEST_COMPLAINT)].to_ascii_lowercase();
        let stands = |words: &str| memchr::memmem::find(&error, words.as_bytes()).is_some();
        WORDS.into_iter().find(|(words, _)| stands(words)).map_or(Complaint::Unknown, |(_, meant)| meant)
    }

    /// `None` where nothing is known.
    pub fn message(self) -> Option<&'static str> {
        Some(match self {
            Complaint::Unknown => return None,
            Complaint::NoSuchModel => "there is no such model",
            Complaint::Unable => "the model does not support it",
            Complaint::TooLong => "longer than the model's context",
            Complaint::NoMemory => "the model needs more memory than there is",
            Complaint::Crashed => "the model's process ended, or does not come up",
            Complaint::Busy => "too busy",
            Complaint::Unauthorized => "unauthorized",
            Complaint::Picture => "a picture cannot be used",
            Complaint::BadRequest => "the request is not as it should be",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ollama_says_is_understood() {
        for (error, meant) in [
            (r#"{"error":"model 'nope' not found"}"#, Complaint::NoSuchModel),
            (
                r#"{"error":{"message":"model 'nope' not found","type":"not_found_error"}}"#,
                Complaint::NoSuchModel,
            ),
            (
                r#"{"error":"registry.ollama.ai/library/smollm2:135m does not support tools"}"#,
                Complaint::Unable,
            ),
            (r#"{"error":"the input length exceeds the context length"}"#, Complaint::TooLong),
            (
                r#"{"error":"model requires more system memory (5.6 GiB) than is available (3 GiB)"}"#,
                Complaint::NoMemory,
            ),
            (r#"{"error":"llama runner process has terminated: signal: killed"}"#, Complaint::Crashed),
            (
                r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#,
                Complaint::Busy,
            ),
            (r#"{"error":"unauthorized"}"#, Complaint::Unauthorized),
            (
                r#"{"error":{"message":"image URLs are not currently supported, please use base64"}}"#,
                Complaint::Picture,
            ),
            (r#"{"error":"missing request body"}"#, Complaint::BadRequest),
            (r#"{"error":"no"}"#, Complaint::Unknown),
            ("", Complaint::Unknown),
        ] {
            assert_eq!(Complaint::of(error.as_bytes()), meant, "{error}");
        }
        for (number, complaint) in Complaint::ALL.into_iter().enumerate() {
            assert_eq!(Complaint::numbered(number as i64), Some(complaint));
            assert_eq!(complaint.message().is_none(), number == 0);
        }
    }
}
