use crate::domain::Template;
use bytes::Bytes;
pub fn cut(form: crate::dialect::Form, streamed: bool, frames: &[Bytes], model: &str) -> Option<Template> {
    let _ = (streamed, frames, model);
    todo!()
}
