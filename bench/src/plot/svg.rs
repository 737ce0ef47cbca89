//! Shapes and text of a figure.

use std::fmt::Write as _;

use super::scale::{Axis, shown};

const WIDTH: f64 = 820.0;
const HEIGHT: f64 = 440.0;
/// The room around what is drawn: axes' labels, the title above, the legend to the right.
const LEFT: f64 = 84.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 64.0;
/// Between a mark and its text.
const GAP: f64 = 8.0;
const LINE_HEIGHT: f64 = 22.0;
/// Most characters of a name in a line of the legend.
const LEGEND_CHARS: usize = 26;
/// Colours that most eyes tell apart (Okabe and Ito, 2008).
const COLOURS: [&str; 7] = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555"];

/// An SVG document under way. Places are between 0 and 1, from the lower left corner of what is drawn.
pub(super) struct Canvas {
    text: String,
}

impl Canvas {
    pub(super) fn new(title: &str, x: &str, y: &str) -> Self {
        let mut canvas = Self { text: String::new() };
        canvas.add(format_args!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" \
             role=\"img\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"13\" fill=\"#222222\">"
        ));
        canvas.add(format_args!("<title>{}</title>", escaped(title)));
        canvas.add(format_args!("<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>"));
        canvas.write(LEFT, TOP / 2.0 + 4.0, "start", "font-size=\"16\" font-weight=\"bold\"", title);
        canvas.write(horizontal(0.5), HEIGHT - 16.0, "middle", "", x);
        let (left, middle) = (18.0, vertical(0.5));
        let turned = format!("transform=\"rotate(-90 {left} {middle})\"");
        canvas.write(left, middle, "middle", &turned, y);
        canvas
    }

    /// The vertical axis, with a fine line across at each tick.
    pub(super) fn vertical(&mut self, axis: &Axis) {
        for tick in &axis.ticks {
            let at = vertical(axis.place(*tick));
            let (from, to) = (horizontal(0.0), horizontal(1.0));
            self.add(format_args!(
                "<line x1=\"{from}\" y1=\"{at:.1}\" x2=\"{to}\" y2=\"{at:.1}\" stroke=\"#dddddd\"/>"
            ));
            self.write(from - GAP, at + 4.0, "end", "", &shown(*tick));
        }
        self.frame();
    }

    /// The horizontal axis of lines.
    pub(super) fn horizontal(&mut self, axis: &Axis) {
        for tick in &axis.ticks {
            let (at, floor) = (horizontal(axis.place(*tick)), vertical(0.0));
            self.add(format_args!(
                "<line x1=\"{at:.1}\" y1=\"{floor}\" x2=\"{at:.1}\" y2=\"{}\" stroke=\"#222222\"/>",
                floor + 5.0
            ));
            self.write(at, floor + 20.0, "middle", "", &shown(*tick));
        }
    }

    /// The horizontal axis of bars.
    pub(super) fn groups(&mut self, names: &[String]) {
        for (number, name) in names.iter().enumerate() {
            let at = horizontal((number as f64 + 0.5) / names.len() as f64);
            self.write(at, vertical(0.0) + 20.0, "middle", "", name);
        }
    }

    fn frame(&mut self) {
        let (left, right, top, floor) = (horizontal(0.0), horizontal(1.0), vertical(1.0), vertical(0.0));
        self.add(format_args!(
            "<path d=\"M{left} {top} V{floor} H{right}\" fill=\"none\" stroke=\"#222222\"/>"
        ));
    }

    pub(super) fn line(&mut self, number: usize, places: &[(f64, f64)]) {
        let colour = COLOURS[number % COLOURS.len()];
        let points: Vec<String> =
            places.iter().map(|(x, y)| format!("{:.1},{:.1}", horizontal(*x), vertical(*y))).collect();
        self.add(format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            points.join(" ")
        ));
        for (x, y) in places {
            self.marker(number, horizontal(*x), vertical(*y));
        }
    }

    pub(super) fn bar(&mut self, number: usize, left: f64, width: f64, floor: f64, top: f64, label: &str) {
        let colour = COLOURS[number % COLOURS.len()];
        let (x, across) = (horizontal(left), horizontal(left + width) - horizontal(left));
        let (y, high) = (vertical(top.max(floor)), (vertical(floor) - vertical(top)).abs());
        self.add(format_args!(
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{across:.1}\" height=\"{high:.1}\" fill=\"{colour}\"/>"
        ));
        self.write(x + across / 2.0, y - 4.0, "middle", "font-size=\"11\"", label);
    }

    /// What each colour stands for; left out when there is nothing to tell apart.
    pub(super) fn legend(&mut self, names: &[&str]) {
        if names.len() < 2 {
            return;
        }
        let (left, mut line) = (horizontal(1.0) + 20.0, vertical(1.0) + 8.0);
        for (number, name) in names.iter().enumerate() {
            self.marker(number, left, line - 4.0);
            for part in wrapped(name) {
                self.write(left + 2.0 * GAP, line, "start", "", &part);
                line += LINE_HEIGHT;
            }
        }
    }

    /// A mark whose shape differs like its colour.
    fn marker(&mut self, number: usize, x: f64, y: f64) {
        let colour = COLOURS[number % COLOURS.len()];
        let path = match number % 4 {
            0 => format!("M{:.1} {y:.1} a4 4 0 1 0 8 0 a4 4 0 1 0 -8 0", x - 4.0),
            1 => format!("M{:.1} {:.1} h8 v8 h-8 z", x - 4.0, y - 4.0),
            2 => format!("M{x:.1} {:.1} l5 9 h-10 z", y - 5.0),
            _ => format!("M{x:.1} {:.1} l5 5 l-5 5 l-5 -5 z", y - 5.0),
        };
        self.add(format_args!("<path d=\"{path}\" fill=\"{colour}\"/>"));
    }

    pub(super) fn finish(mut self) -> String {
        self.text.push_str("</svg>\n");
        self.text
    }

    fn write(&mut self, x: f64, y: f64, anchor: &str, more: &str, text: &str) {
        let text = escaped(text);
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" {more}>{text}</text>"
        ));
    }

    fn add(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{element}");
    }
}

fn horizontal(place: f64) -> f64 {
    LEFT + place * (WIDTH - LEFT - RIGHT)
}

fn vertical(place: f64) -> f64 {
    HEIGHT - BOTTOM - place * (HEIGHT - TOP - BOTTOM)
}

/// Text as XML takes it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A name in lines that fit beside what is drawn, broken at spaces.
fn wrapped(name: &str) -> Vec<String> {
    let mut lines: Vec<String> = vec![];
    for word in name.split(' ') {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= LEGEND_CHARS => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
