//! Rust source as tidy looks at it: line by line, code and comments apart.
//!
//! Strings and characters are emptied, so that no rule trips over text. It knows only as much of
//! Rust's grammar as that takes.

/// One line of a file.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    /// Without comments, and with empty strings.
    pub(crate) code: String,
    pub(crate) comment: String,
}

impl Line {
    pub(crate) fn is_code(&self) -> bool {
        !self.code.trim().is_empty()
    }

    /// The identifiers and keywords of the code.
    pub(crate) fn words(&self) -> impl Iterator<Item = &str> {
        self.code
            .split(|character: char| !character.is_alphanumeric() && character != '_')
            .filter(|word| !word.is_empty())
    }
}

/// A whole file. Lines are counted from 0.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) lines: Vec<Line>,
    /// Where `mod tests` begins; the number of lines if there is none.
    tests_at: usize,
}

impl Source {
    pub(crate) fn parse(text: &str) -> Self {
        let mut lexer = Lexer { state: State::Code, lines: vec![Line::default()] };
        let characters: Vec<char> = text.chars().collect();
        let mut at = 0;
        while at < characters.len() {
            at += lexer.step(&characters[at..]);
        }
        let lines = lexer.lines;
        let tests_at = lines
            .iter()
            .position(|line| is_test_attribute(line.code.trim()))
            .filter(|at| lines.iter().skip(*at).any(|line| line.code.contains("mod tests")))
            .unwrap_or(lines.len());
        Self { lines, tests_at }
    }

    /// The lines before the unit tests.
    pub(crate) fn before_tests(&self) -> &[Line] {
        &self.lines[..self.tests_at]
    }

    /// The unit tests.
    pub(crate) fn tests(&self) -> &[Line] {
        &self.lines[self.tests_at..]
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Code,
    LineComment,
    /// How deep block comments lie in each other.
    BlockComment(usize),
    String,
    /// How many `#` end it.
    RawString(usize),
}

struct Lexer {
    state: State,
    lines: Vec<Line>,
}

impl Lexer {
    /// Takes one token's worth of characters, and says how many.
    fn step(&mut self, rest: &[char]) -> usize {
        if rest[0] == '\n' {
            if self.state == State::LineComment {
                self.state = State::Code;
            }
            self.lines.push(Line::default());
            return 1;
        }
        match self.state {
            State::Code => self.code(rest),
            State::LineComment => self.comment(rest, 1),
            State::BlockComment(depth) if rest.starts_with(&['*', '/']) => {
                self.state = if depth == 1 { State::Code } else { State::BlockComment(depth - 1) };
                2
            }
            State::BlockComment(depth) if rest.starts_with(&['/', '*']) => {
                self.state = State::BlockComment(depth + 1);
                2
            }
            State::BlockComment(_) => self.comment(rest, 1),
            State::String if rest[0] == '\\' => {
                // What is escaped may be the newline, which must still be counted.
                if rest.get(1) == Some(&'\n') { 1 } else { 2 }
            }
            State::String => {
                if rest[0] == '"' {
                    self.emit("\"");
                    self.state = State::Code;
                }
                1
            }
            State::RawString(hashes) => {
                let ends = rest[0] == '"'
                    && rest[1..].iter().take_while(|it| **it == '#').count() >= hashes;
                if !ends {
                    return 1;
                }
                self.emit("\"");
                self.state = State::Code;
                1 + hashes
            }
        }
    }

    fn code(&mut self, rest: &[char]) -> usize {
        if rest.starts_with(&['/', '/']) {
            self.state = State::LineComment;
            return 2;
        }
        if rest.starts_with(&['/', '*']) {
            self.state = State::BlockComment(1);
            return 2;
        }
        if let Some(hashes) = raw_string(rest)
            && !self.ends_in_word()
        {
            self.emit("\"");
            self.state = State::RawString(hashes);
            return 2 + hashes;
        }
        if rest[0] == '"' {
            self.emit("\"");
            self.state = State::String;
            return 1;
        }
        if let Some(length) = character(rest) {
            self.emit("''");
            return length;
        }
        self.emit(&rest[0].to_string());
        1
    }

    /// Whether an `r` here would be the end of a longer name; `b` is the prefix of bytes.
    fn ends_in_word(&self) -> bool {
        let code = &self.lines[self.lines.len() - 1].code;
        code.strip_suffix('b')
            .unwrap_or(code)
            .ends_with(|it: char| it.is_alphanumeric() || it == '_')
    }

    fn comment(&mut self, rest: &[char], length: usize) -> usize {
        let last = self.lines.len() - 1;
        self.lines[last].comment.extend(&rest[..length]);
        length
    }

    fn emit(&mut self, code: &str) {
        let last = self.lines.len() - 1;
        self.lines[last].code.push_str(code);
    }
}

/// `#[cfg(test)]`, or a longer condition with `test` in it.
fn is_test_attribute(code: &str) -> bool {
    code == "#[cfg(test)]" || code.starts_with("#[cfg(all(test,")
}

/// The number of `#` if a raw string begins here.
fn raw_string(rest: &[char]) -> Option<usize> {
    if rest[0] != 'r' {
        return None;
    }
    let hashes = rest[1..].iter().take_while(|it| **it == '#').count();
    (rest.get(1 + hashes) == Some(&'"')).then_some(hashes)
}

/// The length of a character literal, if one begins here; a lifetime is none.
fn character(rest: &[char]) -> Option<usize> {
    if rest[0] != '\'' {
        return None;
    }
    if rest.get(1) == Some(&'\\') {
        let end = rest.iter().skip(3).position(|it| *it == '\'')?;
        return Some(end + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod tests {
    use super::Source;

    #[track_caller]
    fn check(text: &str, code: &[&str], comments: &[&str]) {
        let source = Source::parse(text);
        assert_eq!(source.lines.iter().map(|it| it.code.trim()).collect::<Vec<_>>(), code);
        assert_eq!(source.lines.iter().map(|it| it.comment.trim()).collect::<Vec<_>>(), comments);
    }

    #[test]
    fn code_and_comments_are_apart_and_strings_are_empty() {
        check("a(); // b \"c\"", &["a();"], &["b \"c\""]);
        check("a(\"// b\"); /* c /* d */ */ e", &["a(\"\");  e"], &["c  d"]);
        check(
            "r#\"unsafe \" \"# b\"x\\\"y\" 'a' '\\'' &'a str",
            &["\"\" b\"\" '' '' &'a str"],
            &[""],
        );
        check("for\"x\"", &["for\"\""], &[""]);
        check("\"a\\\n b\" c", &["\"", "\" c"], &["", ""]);
    }

    #[test]
    fn the_unit_tests_begin_at_their_attribute() {
        let source = Source::parse("a\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(source.before_tests().len(), 1);
        assert_eq!(source.tests().len(), 4);
    }
}
