//! What a request says of how its model is loaded, and for how long.

use super::decode::ends_stay;
use crate::dialect::Form;
use crate::dialect::fields::{Object, Text};
use crate::domain::Operation;
use serde_json::{Value, json};

/// How a request would have its model stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residence {
    pub manner: Manner,
    /// Where the request says how long, and that is neither nothing nor for ever.
    pub keep_alive: Option<Value>,
}

/// How a model is loaded: for a request of another manner the upstream may load it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manner {
    embeds: bool,
    options: Vec<(&'static str, Value)>,
}

/// The options that are the runner's, and not of one answer.
const OF_THE_RUNNER: [&str; 6] = ["num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread"];

impl Residence {
    /// Of a request that could be read. Only native ones can say anything.
    pub fn of(form: Form, body: &[u8]) -> Self {
        let manner = Manner { embeds: form.operation() == Operation::Embed, options: Vec::new() };
        let mut residence = Residence { manner, keep_alive: None };
        if !matches!(form, Form::Generate | Form::Chat | Form::Embed | Form::Embeddings) {
            return residence;
        }
        let text = Text::of(body);
        let fields = Object::read(text.as_str()).map(|object| object.fields).unwrap_or_default();
        for field in fields.iter().filter(|field| field.value != "null") {
            match field.folded() {
                "options" => residence.manner.options = of_the_runner(field.value),
                "keep_alive" if !ends_stay(field.value) => {
                    residence.keep_alive = serde_json::from_str(field.value).ok();
                }
                _ => {}
            }
        }
        residence
    }
}

impl Manner {
    /// A request that asks `model` for nothing: where it goes, and its body.
    pub fn touch(&self, model: &str, keep_alive: Option<&Value>) -> (&'static str, String) {
        // A model for vectors knows no `/api/generate`.
        let (path, mut body) = match self.embeds {
            true => ("/api/embed", json!({ "model": model, "input": [] })),
            false => ("/api/generate", json!({ "model": model, "stream": false })),
        };
        for (name, value) in &self.options {
            body["options"][name] = value.clone();
        }
        if let Some(keep_alive) = keep_alive {
            body["keep_alive"] = keep_alive.clone();
        }
        (path, body.to_string())
    }
}

fn of_the_runner(options: &str) -> Vec<(&'static str, Value)> {
    let Some(options) = Object::read(options) else { return Vec::new() };
    let given = OF_THE_RUNNER.into_iter().filter_map(|name| Some((name, options.exact(name)?)));
    given.filter_map(|(name, value)| Some((name, serde_json::from_str(value).ok()?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(form: Form, body: &str) -> (&'static str, Value) {
        let Residence { manner, keep_alive } = Residence::of(form, body.as_bytes());
        let (path, body) = manner.touch("m", keep_alive.as_ref());
        (path, serde_json::from_str(&body).unwrap())
    }

    #[test]
    fn a_touch_loads_nothing_anew_and_asks_for_nothing() {
        let chat =
            r#"{"messages":[1],"options":{"num_ctx":1024,"seed":7,"num_thread":null},"keep_alive":"5m"}"#;
        let wanted =
            json!({ "model": "m", "stream": false, "options": { "num_ctx": 1024 }, "keep_alive": "5m" });
        assert_eq!(touch(Form::Chat, chat), ("/api/generate", wanted));
        let embed = r#"{"input":"a","keep_alive":60}"#;
        assert_eq!(
            touch(Form::Embed, embed),
            ("/api/embed", json!({ "model": "m", "input": [], "keep_alive": 60 }))
        );
        let plain = json!({ "model": "m", "stream": false });
        for (form, body) in [
            (Form::Generate, r#"{"prompt":"a","keep_alive":0}"#),
            (Form::Generate, r#"{"prompt":"a","keep_alive":"-1m","options":null}"#),
            (Form::OpenAiChat, r#"{"options":{"num_ctx":1},"keep_alive":"5m"}"#),
        ] {
            assert_eq!(touch(form, body), ("/api/generate", plain.clone()), "{body}");
        }
    }
}
