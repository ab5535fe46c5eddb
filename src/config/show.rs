//! Every setting with where it came from, secrets masked.

use super::Loaded;
use serde_json::json;

impl Loaded {
    /// A line a setting, in TOML that could be read again, its origin in a comment at the end.
    pub fn as_text(&self) -> String {
        let assignment = |setting: &super::Setting| format!("{} = {}", setting.key.path(), setting.masked());
        let lines: Vec<String> = self.settings.iter().map(assignment).collect();
        let usual = lines.iter().map(|line| line.chars().count()).filter(|width| *width <= 60).max();
        let width = usual.unwrap_or(0);
        let origins = self.settings.iter().map(|setting| &setting.origin);
        lines.iter().zip(origins).map(|(line, origin)| format!("{line:width$}  # {origin}\n")).collect()
    }

    /// `{"server.listen": {"value": …, "origin": "default"}, …}`
    pub fn as_json(&self) -> serde_json::Value {
        let entry = |setting: &super::Setting| {
            let shown = json!({ "value": setting.masked(), "origin": setting.origin.to_string() });
            (setting.key.path(), shown)
        };
        serde_json::Value::Object(self.settings.iter().map(entry).collect())
    }
}
