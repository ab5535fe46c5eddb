//! A bar chart in plain characters, for a page that is read in a terminal as often as in a browser.

const WIDTH: f64 = 40.0;
const EIGHTHS: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];

/// One line a row: label, bar, figure. All bars share one scale.
pub fn bars(rows: &[(&str, f64)]) -> String {
    let most = rows.iter().map(|(_, figure)| *figure).fold(0.0, f64::max);
    let label_width = rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|(label, figure)| {
            format!("{label:<label_width$}  {} {}\n", bar(figure / most), thousands(*figure))
        })
        .collect()
}

/// `part` (0 to 1) of the full width, to an eighth of a character.
fn bar(part: f64) -> String {
    let eighths = (part * WIDTH * 8.0).round().max(1.0) as usize;
    let mut bar = "█".repeat(eighths / 8);
    if let Some(rest) = (eighths % 8).checked_sub(1) {
        bar.push(EIGHTHS[rest]);
    }
    bar
}

/// A whole number with its thousands apart.
pub fn thousands(figure: f64) -> String {
    let digits = format!("{figure:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
