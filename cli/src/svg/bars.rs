//! Stacked bars over time, one chart below the other: data in, a document out.

use super::scale::Scale;
use super::{Canvas, at, escape, shorten};
use crate::output::size;

/// One bar.
#[derive(Debug, Clone, Default)]
pub struct Bar {
    /// What stands below it.
    pub label: String,
    /// What a pointer on it is told.
    pub title: String,
    /// Its stacks, from the bottom, in the order of the legend.
    pub parts: Vec<u64>,
    /// What it is a part of: drawn behind it.
    pub whole: u64,
}

/// Bars with one axis.
#[derive(Debug, Clone, Default)]
pub struct Chart {
    /// What they are of.
    pub title: String,
    /// From left to right.
    pub bars: Vec<Bar>,
}

/// A document.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// What is shown.
    pub title: String,
    /// More of it, smaller.
    pub subtitle: String,
    /// What the axis counts, after its unit.
    pub axis: String,
    /// What stacks are called, from the bottom. The place gives the colour; one that no bar has is not shown.
    pub legend: Vec<String>,
    /// What is behind the bars.
    pub whole: String,
    /// From the top.
    pub charts: Vec<Chart>,
}

const WIDTH: f64 = 800.0;
const LEFT: f64 = 64.0;
const RIGHT: f64 = 24.0;
/// Above the first chart, without the legend's rows.
const TOP: f64 = 78.0;
const LEGEND_ROW: f64 = 24.0;
/// Of a chart: above its plot, its plot, below it.
const ABOVE: f64 = 70.0;
const PLOT: f64 = 210.0;
const BELOW: f64 = 44.0;
/// Charts beyond these are only counted.
const MAX_CHARTS: usize = 24;
/// Bars of a chart; the last ones.
const MAX_BARS: usize = 120;
/// Room that a label takes at least.
const LABEL: f64 = 76.0;
/// A bar with so much room says its share, too.
const SHARE: f64 = 110.0;

const STYLE: &str = "
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif;fill:#1f2328}
.h1{font-size:20px;font-weight:600}.h2{font-size:14px;font-weight:600}.s{font-size:13px;fill:#59636e}
.t{font-size:12px;fill:#59636e}.v{font-size:12px;font-weight:600}.l{font-size:13px}
.middle{text-anchor:middle}.end{text-anchor:end}
.bg{fill:#fff}.grid{stroke:#d1d9e0;stroke-width:1}.axis{stroke:#818b98;stroke-width:1}.whole{fill:#eaeef2}
.p0{fill:#3b75af}.p1{fill:#e8863a}.p2{fill:#4f9d5d}.p3{fill:#9467bd}.p4{fill:#d1495b}.p5{fill:#8c959f}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.s,.t{fill:#9198a1}.bg{fill:#0d1117}.grid{stroke:#2b3138}.axis{stroke:#656c76}.whole{fill:#21262d}
.p0{fill:#6ca6dd}.p1{fill:#f0a066}.p2{fill:#71bd80}.p3{fill:#b795d8}.p4{fill:#e97b88}.p5{fill:#9aa2ab}
}
";
/// Colours there are.
const COLOURS: usize = 6;

/// The whole document.
pub fn draw(picture: &Picture) -> String {
    let mut canvas = Canvas { text: String::new() };
    let bottom = legend(&mut canvas, picture);
    let mut y = bottom;
    let shown = &picture.charts[..picture.charts.len().min(MAX_CHARTS)];
    for chart in shown {
        self::chart(&mut canvas, chart, &picture.axis, y);
        y += ABOVE + PLOT + BELOW;
    }
    let left_out = picture.charts.len() - shown.len();
    if left_out > 0 {
        y += 28.0;
        canvas.words("s", LEFT, y, &format!("and {left_out} more, which are not drawn"));
    }
    let height = at(y + 20.0);
    let (title, subtitle) = (escape(&picture.title), escape(&picture.subtitle));
    let (body, width) = (canvas.text, at(WIDTH));
    format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img" aria-labelledby="title desc">
<title id="title">{title}</title>
<desc id="desc">{subtitle}</desc>
<style>{STYLE}</style>
<rect class="bg" x="0" y="0" width="{width}" height="{height}"/>
{body}</svg>
"#
    )
}

/// Headings and legend; gives where they end.
fn legend(canvas: &mut Canvas, picture: &Picture) -> f64 {
    canvas.words("h1", 24.0, 38.0, &shorten(&picture.title, 70));
    canvas.words("s", 24.0, 60.0, &shorten(&picture.subtitle, 110));
    let (mut x, mut y) = (24.0, TOP + 8.0);
    let whole = (!picture.whole.is_empty()).then_some(("whole".to_owned(), &picture.whole));
    let bars = || picture.charts.iter().flat_map(|chart| &chart.bars);
    let has = |part: usize| bars().any(|bar| bar.parts.get(part).is_some_and(|bytes| *bytes > 0));
    let parts = picture.legend.iter().enumerate().filter(|(n, _)| has(*n));
    let parts = parts.map(|(n, word)| (format!("p{}", n % COLOURS), word));
    for (class, word) in parts.chain(whole) {
        // No font is known: about what a letter takes.
        let room = 42.0 + 7.2 * word.chars().count() as f64;
        if x + room > WIDTH - RIGHT && x > 24.0 {
            (x, y) = (24.0, y + LEGEND_ROW);
        }
        canvas.rect(&class, [x, y, 13.0, 13.0], None);
        canvas.words("l", x + 20.0, y + 11.0, word);
        x += room;
    }
    y + 13.0
}

fn chart(canvas: &mut Canvas, chart: &Chart, axis: &str, top: f64) {
    let bars = &chart.bars[chart.bars.len().saturating_sub(MAX_BARS)..];
    let sum = |bar: &Bar| bar.parts.iter().fold(0, |sum: u64, part| sum.saturating_add(*part));
    let scale = Scale::to(bars.iter().map(|bar| sum(bar).max(bar.whole)).max().unwrap_or(0));
    let (start, end, base) = (LEFT, WIDTH - RIGHT, top + ABOVE + PLOT);
    canvas.words("h2", 24.0, top + 34.0, &shorten(&chart.title, 96));
    canvas.words("t", 24.0, top + ABOVE - 14.0, format!("{} {axis}", scale.unit).trim_end());
    for (share, text) in scale.marks() {
        let y = base - PLOT * share;
        canvas.line(if share == 0.0 { "axis" } else { "grid" }, [start, y, end, y]);
        canvas.words("t end", LEFT - 8.0, y + 4.0, &text);
    }
    let slot = (end - start) / bars.len().max(1) as f64;
    // As many labels as there is room for, the last one among them.
    let every = (LABEL / slot).ceil().max(1.0) as usize;
    let width = (slot * 0.62).clamp(1.0, 72.0);
    for (n, bar) in bars.iter().enumerate() {
        let middle = start + slot * (n as f64 + 0.5);
        let x = middle - width / 2.0;
        let whole = PLOT * scale.share(bar.whole);
        canvas.rect("whole", [x, base - whole, width, whole], Some(&bar.title));
        let mut below = 0;
        for (part, bytes) in bar.parts.iter().enumerate().filter(|(_, bytes)| **bytes > 0) {
            let (from, to) = (scale.share(below), scale.share(below.saturating_add(*bytes)));
            let place = [x, base - PLOT * to, width, PLOT * (to - from)];
            canvas.rect(&format!("p{}", part % COLOURS), place, Some(&bar.title));
            below = below.saturating_add(*bytes);
        }
        if every == 1 {
            let y = base - PLOT * scale.share(below);
            let share = match bar.whole {
                whole if whole > 0 && below > 0 && slot >= SHARE => {
                    format!(" · {:.0} %", below as f64 * 100.0 / whole as f64)
                }
                _ => String::new(),
            };
            canvas.words("v middle", middle, y - 6.0, &(size(below) + &share));
        }
        if (bars.len() - 1 - n).is_multiple_of(every) {
            canvas.words("t middle", middle, base + 20.0, &shorten(&bar.label, 24));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(bars: usize, charts: usize) -> Picture {
        let bar = |n: usize| Bar {
            label: format!("2026-03-{n:02}"),
            title: "a & b".into(),
            parts: vec![1 << 20, 0, 3 << 20],
            whole: 10 << 20,
        };
        let chart = Chart { title: "/models/<x>.safetensors".into(), bars: (0..bars).map(bar).collect() };
        Picture {
            title: "Models".into(),
            subtitle: "</desc><script>alert(1)</script>".into(),
            axis: "stored".into(),
            legend: vec!["embeddings".into(), "attention".into(), "mlp".into()],
            whole: "file size".into(),
            charts: vec![chart; charts],
        }
    }

    /// Tags are closed in the order in which they were opened, and nothing stands there unescaped.
    fn assert_well_formed(text: &str) {
        let mut open = Vec::new();
        for tag in text.split('<').skip(1) {
            let (tag, after) = tag.split_once('>').expect(tag);
            assert!(!after.contains('&') || after.contains(';'), "{after}");
            if let Some(name) = tag.strip_prefix('/') {
                assert_eq!(open.pop(), Some(name.to_owned()));
            } else if !tag.ends_with('/') {
                open.push(tag.split(' ').next().unwrap().to_owned());
            }
            assert!(tag.matches('"').count().is_multiple_of(2), "{tag}");
        }
        assert!(open.is_empty(), "{open:?}");
    }

    #[test]
    fn a_document_that_needs_nothing_else() {
        for (bars, charts) in [(0, 0), (0, 1), (1, 1), (4, 2), (52, 1), (500, 30)] {
            let text = draw(&picture(bars, charts));
            assert_well_formed(&text);
            assert!(!text.contains("<script") && !text.contains("url(") && !text.contains("href"), "{text}");
            assert!(text.contains("&lt;x&gt;") == (charts > 0));
            assert!(!text.contains("attention"), "no bar has it");
            assert_eq!(text.contains(">mlp</text>"), bars > 0 && charts > 0);
            assert!(!text.contains("NaN") && !text.contains("inf"), "every place is a number");
            assert_eq!(text.matches(" more, which are not drawn").count(), usize::from(charts > MAX_CHARTS));
            assert!(text.matches(r#"class="p2""#).count() <= 1 + MAX_BARS * MAX_CHARTS);
        }
    }

    #[test]
    fn bars_stand_on_one_another() {
        let text = draw(&picture(1, 1));
        let rect = |class: &str| -> (f64, f64) {
            let from = text.rfind(&format!(r#"<rect class="{class}""#)).unwrap();
            let value = |name: &str| -> f64 {
                let from = from + text[from..].find(&format!(" {name}=\"")).unwrap() + name.len() + 3;
                text[from..].split('"').next().unwrap().parse().unwrap()
            };
            (value("y"), value("height"))
        };
        let (whole, first, third) = (rect("whole"), rect("p0"), rect("p2"));
        assert!((first.1 * 3.0 - third.1).abs() < 0.2 && (first.1 * 10.0 - whole.1).abs() < 0.6);
        assert!((third.0 + third.1 - first.0).abs() < 0.11, "the third stands on the first");
        assert!((first.0 + first.1 - whole.0 - whole.1).abs() < 0.11, "all of them on the axis");
        assert!(text.contains(">4.0 MiB · 40 %</text>") && text.contains(">2026-03-00</text>"));
    }

    #[test]
    fn labels_have_room() {
        let labels = |bars| draw(&picture(bars, 1)).matches(">2026-03-").count();
        assert_eq!((labels(4), labels(9)), (4, 9));
        assert!((5..10).contains(&labels(52)), "{}", labels(52));
        assert!(draw(&picture(52, 1)).contains(">2026-03-51</text>"), "the last has one");
    }
}
