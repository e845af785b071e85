//! A drawing with two axes and curves. It is SVG that needs no script, and tells the script enough to read values back.

use std::fmt::Write;

use crate::page::axis::Axis;
use crate::page::element::Element;
use crate::report::float_of;

/// As wide as a phone, so that letters have one size everywhere; wider screens have plots side by side.
pub(crate) const WIDTH: f64 = 360.0;
const LEFT: f64 = 50.0;
const RIGHT: f64 = 342.0;
const TOP: f64 = 10.0;
/// From one mark's words to the next's, at least.
const WORDS_HEIGHT: f64 = 12.0;

/// How a curve is drawn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Stroke {
    /// The main one of its target.
    Line,
    /// One that stands behind.
    Thin,
    /// Filled down to the bottom.
    Area,
    /// A vertical stroke at each point of two: how far values spread.
    Whisker,
}

#[derive(Debug)]
pub(crate) struct Curve {
    /// Index of its target: colour and dashes.
    pub(crate) target: usize,
    pub(crate) name: String,
    pub(crate) stroke: Stroke,
    pub(crate) points: Vec<(f64, f64)>,
    /// Points further apart than this are not joined: nothing was there between them.
    pub(crate) reach: f64,
    /// Whether each point is marked: it was measured, and what lies between was not.
    pub(crate) has_marks: bool,
}

/// An area of a drawing with its own vertical axis.
#[derive(Debug)]
pub(crate) struct Panel {
    pub(crate) title: String,
    pub(crate) height: f64,
    pub(crate) y: Axis,
    pub(crate) y_text: fn(f64) -> String,
    /// How values of this panel are written at a pointer: `time`, `count`.
    pub(crate) y_kind: &'static str,
    pub(crate) curves: Vec<Curve>,
}

#[derive(Debug)]
pub(crate) struct Plot {
    pub(crate) title: String,
    /// For those who do not see it.
    pub(crate) description: String,
    pub(crate) x: Axis,
    pub(crate) x_title: String,
    pub(crate) x_text: fn(f64) -> String,
    /// How a place is written at a pointer: `offered`, `percentile`, `second`.
    pub(crate) x_kind: &'static str,
    /// One below the other, over one horizontal axis.
    pub(crate) panels: Vec<Panel>,
}

impl Plot {
    pub(crate) fn svg(&self) -> Element {
        const GAP: f64 = 22.0;
        let x = self.x.placed(LEFT, RIGHT);
        let mut drawing = Vec::new();
        let mut top = TOP + 8.0;
        for panel in &self.panels {
            let bottom = top + panel.height;
            drawing.push(panel.draw(&x, top, bottom));
            top = bottom + GAP;
        }
        let bottom = top - GAP;
        drawing.extend(self.below(&x, bottom));
        let height = bottom + 36.0;
        Element::new("svg")
            .with("viewBox", format!("0 0 {WIDTH} {height}"))
            .with("role", "img")
            .with("data-x", x.described())
            .with("data-x-as", self.x_kind)
            .child(Element::new("title").text(&self.title))
            .child(Element::new("desc").text(&self.description))
            .children(drawing)
    }

    fn below(&self, x: &Axis, bottom: f64) -> Vec<Element> {
        let marks = x
            .ticks()
            .into_iter()
            .map(|tick| words(x.at(tick), bottom + 15.0, &(self.x_text)(tick)).class("x"));
        let title = words(f64::midpoint(LEFT, RIGHT), bottom + 30.0, &self.x_title).class("x of");
        marks.chain([title]).collect()
    }
}

/// So many marks, from the first on, that the words of none lie over another's.
fn thinned(ticks: &[f64], length: f64) -> Vec<f64> {
    let gap_count = ticks.len().saturating_sub(1);
    let fits = |every: &usize| float_of(gap_count.div_ceil(*every)) * WORDS_HEIGHT <= length;
    let every = (1..=ticks.len()).find(fits).unwrap_or(1);
    ticks.iter().copied().step_by(every).collect()
}

impl Panel {
    fn draw(&self, x: &Axis, top: f64, bottom: f64) -> Element {
        let y = self.y.placed(bottom, top);
        let mut grid = String::new();
        let ticks = thinned(&y.ticks(), bottom - top);
        for tick in &ticks {
            write!(grid, "M{LEFT} {:.1}H{RIGHT}", y.at(*tick)).expect("text grows");
        }
        for tick in x.ticks() {
            write!(grid, "M{:.1} {top}V{bottom}", x.at(tick)).expect("text grows");
        }
        let marks = ticks
            .into_iter()
            .map(|tick| words(LEFT - 5.0, y.at(tick) + 3.5, &(self.y_text)(tick)).class("y"));
        Element::new("g")
            .class("panel")
            .with("data-y", y.described())
            .with("data-as", self.y_kind)
            .child(words(LEFT, top - 5.0, &self.title).class("of"))
            .child(Element::new("path").class("grid").with("d", grid))
            .children(marks)
            .children(
                self.curves.iter().filter(|it| !it.points.is_empty()).map(|it| it.draw(x, &y)),
            )
    }
}

impl Curve {
    fn draw(&self, x: &Axis, y: &Axis) -> Element {
        let place = |(over, value): &(f64, f64)| (units(x.at(*over)), units(y.at(*value)));
        let pieces = self.points.chunk_by(|one, other| other.0 - one.0 <= self.reach);
        let pieces: Vec<Vec<(i64, i64)>> =
            pieces.map(|piece| piece.iter().map(place).collect()).collect();
        let class = match self.stroke {
            Stroke::Line => "line",
            Stroke::Thin => "thin",
            Stroke::Area => "area",
            Stroke::Whisker => "whisker",
        };
        let drawn = pieces.iter().map(|piece| match self.stroke {
            Stroke::Line | Stroke::Thin => path(piece),
            Stroke::Area => area(piece, units(y.ends().0)),
            Stroke::Whisker => whiskers(piece),
        });
        let data: String = drawn.collect();
        let line = Element::new("path").class(class).with("d", data);
        let mut group = Element::new("g")
            .class(format!("curve t{}", self.target))
            .with("data-name", &self.name)
            .child(line);
        if self.has_marks {
            let places = pieces.iter().flatten();
            group = group.children(places.map(|place| mark(self.target, *place)));
        }
        group
    }
}

/// A shape for each target, so that colour is never the only difference.
fn mark(target: usize, (x, y): (i64, i64)) -> Element {
    let at = |x: i64, y: i64| format!("{x} {y}");
    let data = match target % 4 {
        0 => format!("M{}a6 6 0 1 0 12 0a6 6 0 1 0-12 0", at(x - 6, y)),
        1 => format!("M{}h11v11h-11z", at(x - 5, y - 5)),
        2 => format!("M{}l7 12h-14z", at(x, y - 8)),
        _ => format!("M{}l8 8l-8 8l-8-8z", at(x, y - 8)),
    };
    Element::new("path").class("mark").with("data-at", at(x, y)).with("d", data)
}

/// Places of curves are whole halves of a pixel: short, and fine enough. The style makes them small again.
fn units(place: f64) -> i64 {
    format!("{:.0}", place * 2.0).parse().unwrap_or(0)
}

/// One place as it is, then the steps from each to the next. The first step is none, so that one place
/// alone is drawn too.
fn path(places: &[(i64, i64)]) -> String {
    let Some((first_x, first_y)) = places.first() else {
        return String::new();
    };
    let mut data = format!("M{first_x} {first_y}l0 0");
    for pair in places.windows(2) {
        let (x, y) = (pair[1].0 - pair[0].0, pair[1].1 - pair[0].1);
        // A sign separates as a space does.
        for step in [x, y] {
            let space = if step < 0 { "" } else { " " };
            write!(data, "{space}{step}").expect("text grows");
        }
    }
    data
}

fn area(places: &[(i64, i64)], bottom: i64) -> String {
    let (Some(first), Some(last)) = (places.first(), places.last()) else {
        return String::new();
    };
    let rise = format!("M{} {bottom}L{} {}", first.0, first.0, first.1);
    let along = path(places);
    let steps = along.split_once('l').map(|(_, steps)| format!("l{steps}")).unwrap_or_default();
    format!("{rise}{steps}L{} {bottom}z", last.0)
}

fn whiskers(places: &[(i64, i64)]) -> String {
    let mut data = String::new();
    for pair in places.chunks_exact(2) {
        write!(data, "M{} {}V{}", pair[0].0, pair[0].1, pair[1].1).expect("text grows");
    }
    data
}

fn words(x: f64, y: f64, text: &str) -> Element {
    let place = |value: f64| format!("{}", (value * 10.0).round() / 10.0);
    Element::new("text").with("x", place(x)).with("y", place(y)).text(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::page::axis::Scale;

    #[test]
    fn a_path_is_one_place_and_steps() {
        assert_eq!(path(&[(10, 20), (15, 18), (15, 30)]), "M10 20l0 0 5-2 0 12");
        assert_eq!(path(&[]), "");
        assert_eq!(area(&[(10, 20), (15, 18)], 99), "M10 99L10 20l0 0 5-2L15 99z");
        assert_eq!(whiskers(&[(1, 2), (1, 9), (5, 3), (5, 4)]), "M1 2V9M5 3V4");
    }

    #[test]
    fn a_low_panel_has_fewer_marks() {
        let ticks = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        assert_eq!(thinned(&ticks, 60.0), ticks);
        assert_eq!(thinned(&ticks, 46.0), [0.0, 2.0, 4.0]);
        assert_eq!(thinned(&ticks, 5.0), ticks, "no room for two");
        assert!(thinned(&[], 46.0).is_empty());
    }

    #[test]
    fn a_curve_breaks_where_points_are_too_far_apart() {
        let curve = |stroke| Curve {
            target: 0,
            name: "p50".to_owned(),
            stroke,
            points: vec![(0.5, 1.0), (1.5, 1.0), (4.5, 1.0), (5.5, 1.0)],
            reach: 1.5,
            has_marks: false,
        };
        let axis = || Axis::exact(Scale::Linear, 0.0, 10.0);
        let (x, y) = (axis().placed(0.0, 100.0), axis().placed(100.0, 0.0));
        let line = curve(Stroke::Line).draw(&x, &y).render();
        assert!(line.contains("d=\"M10 180l0 0 20 0M90 180l0 0 20 0\""), "{line}");
        let area = curve(Stroke::Area).draw(&x, &y).render();
        let [first, second] =
            ["M10 200L10 180l0 0 20 0L30 200z", "M90 200L90 180l0 0 20 0L110 200z"];
        assert!(area.contains(&format!("d=\"{first}{second}\"")), "{area}");
    }

    #[test]
    fn a_plot_has_its_words_and_each_curve_that_has_points() {
        let curve = |name: &str, points| Curve {
            target: 1,
            name: name.to_owned(),
            stroke: Stroke::Line,
            points,
            reach: f64::INFINITY,
            has_marks: true,
        };
        let plot = Plot {
            title: "a <b> c".to_owned(),
            description: "d".to_owned(),
            x: Axis::exact(Scale::Linear, 0.0, 10.0),
            x_title: "seconds".to_owned(),
            x_text: |value| format!("{value}"),
            x_kind: "second",
            panels: vec![Panel {
                title: "ms".to_owned(),
                height: 100.0,
                y: Axis::exact(Scale::Log, 1.0, 10.0),
                y_text: |value| format!("{value}"),
                y_kind: "time",
                curves: vec![curve("full", vec![(0.0, 1.0), (10.0, 10.0)]), curve("none", vec![])],
            }],
        };
        let svg = plot.svg().render();
        assert!(svg.contains("<title>a &lt;b&gt; c</title><desc>d</desc>"), "{svg}");
        assert!(svg.contains("d=\"M100 236l0 0 584-200\""), "{svg}");
        assert_eq!(svg.matches("class=\"mark\"").count(), 2, "{svg}");
        assert!(!svg.contains("none"), "{svg}");
    }
}
