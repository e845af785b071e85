//! An element of HTML or SVG, with what is in it. What comes from a file goes in as text, and text is escaped.

use std::fmt::Write;

/// HTML's elements that have no end, and SVG's shapes, which need none.
const WITHOUT_END: [&str; 2] = ["meta", "br"];
const SHAPES: [&str; 5] = ["path", "circle", "rect", "line", "use"];

#[derive(Clone, Debug)]
pub(crate) struct Element {
    tag: &'static str,
    attributes: String,
    content: String,
}

impl Element {
    pub(crate) const fn new(tag: &'static str) -> Self {
        Self { tag, attributes: String::new(), content: String::new() }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        write!(self.attributes, " {name}=\"{}\"", escaped(value.as_ref())).expect("text grows");
        self
    }

    pub(crate) fn class(self, names: impl AsRef<str>) -> Self {
        self.with("class", names)
    }

    pub(crate) fn text(mut self, text: impl AsRef<str>) -> Self {
        self.content.push_str(&escaped(text.as_ref()));
        self
    }

    pub(crate) fn child(mut self, child: Self) -> Self {
        self.content.push_str(&child.render());
        self
    }

    pub(crate) fn children(self, children: impl IntoIterator<Item = Self>) -> Self {
        children.into_iter().fold(self, Self::child)
    }

    /// Style and script, which are ours: only what is known when this is compiled can be given.
    pub(crate) fn verbatim(mut self, ours: &'static str) -> Self {
        self.content.push_str(ours);
        self
    }

    pub(crate) fn render(&self) -> String {
        let Self { tag, attributes, content } = self;
        if WITHOUT_END.contains(tag) {
            format!("<{tag}{attributes}>")
        } else if SHAPES.contains(tag) && content.is_empty() {
            format!("<{tag}{attributes}/>")
        } else {
            format!("<{tag}{attributes}>{content}</{tag}>")
        }
    }
}

/// Cannot leave the text or the attribute that it is put in, and cannot change how its neighbours are drawn.
pub(crate) fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' => safe.push(' '),
            // Overrides of the direction of writing would turn round what stands beside them.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => safe.push('\u{fffd}'),
            _ if letter.is_control() => safe.push('\u{fffd}'),
            _ => safe.push(letter),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_attributes_cannot_become_markup() {
        let hostile = "</td><script>alert('1' & \"2\")</script>";
        let cell = Element::new("td").with("title", hostile).text(hostile).render();
        assert_eq!(cell.matches('<').count(), 2, "{cell}");
        assert_eq!(cell.matches('"').count(), 2, "{cell}");
        assert!(cell.contains("&lt;script&gt;alert(&#39;1&#39; &amp; &quot;2&quot;)"), "{cell}");
    }

    #[test]
    fn letters_that_are_not_seen_are_replaced() {
        assert_eq!(escaped("a\0b\u{202e}c\nd\u{1b}"), "a\u{fffd}b\u{fffd}c d\u{fffd}");
    }

    #[test]
    fn elements_end_as_html_wants_it() {
        assert_eq!(Element::new("br").render(), "<br>");
        assert_eq!(Element::new("path").with("d", "M0 0").render(), "<path d=\"M0 0\"/>");
        let list = Element::new("ul").children(["a", "b"].map(|it| Element::new("li").text(it)));
        assert_eq!(list.render(), "<ul><li>a</li><li>b</li></ul>");
    }
}
